"""Draws the drivers of a benchmark with the density of a real or an invented metro area.

A ZIP code is drawn by its households, then a point within √(area/π) of its centre.
"""

import csv
import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from load_tests.benchmarks.benches import CannotMeasure

# Corners as (longitude, latitude), as in GeoJSON.
Ring: TypeAlias = Sequence[tuple[float, float]]
Column: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.float64]  # (n, 2): latitude, longitude

_TABLE: Final = Path("places") / "zips_az_nv_va_dc_md.csv"
_ROOT: Final = Path(__file__).parent.parent.parent
_M_PER_DEGREE: Final = 111_195.0
_M2_PER_SQ_MI: Final = 2_589_988.11
# Drivers stay inside the area although they move a little during a benchmark.
_MARGIN_DEG: Final = 0.001
# The invented area: homes around the mall, sparser outwards.
_INVENTED_WITHIN_M: Final = 20_000.0
_DRAWN: Final = 65_536


class Zips(NamedTuple):
    """ZIP codes: centres, radii in metres, households."""

    lat: Column
    lon: Column
    radius_m: Column
    households: Column


def read_zips() -> Zips:
    """Read the ZIP table of the datasets' folder. Raises `CannotMeasure` without it."""
    named = os.environ.get("MALLARD_DATASETS")
    table = (Path(named) if named else _ROOT.parent / "shared" / "data") / _TABLE
    if not table.is_file():
        raise CannotMeasure(
            f"no {_TABLE}: it is in the datasets, whose folder MALLARD_DATASETS names "
            "(default: ../shared/data beside the project)"
        )
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines, strict=True))
    columns = ("lat", "lon", "land_area_sq_mi", "households")
    try:
        lat, lon, area, homes = (np.array([float(r[c] or 0) for r in rows]) for c in columns)
    except (KeyError, ValueError, TypeError) as error:  # TypeError: a truncated row
        raise CannotMeasure(f"{table}: {error!r}") from error
    if not all(np.isfinite(column).all() for column in (lat, lon, area, homes)):
        raise CannotMeasure(f"{table}: a number in it is not finite")
    return Zips(lat, lon, np.sqrt(area * _M2_PER_SQ_MI / math.pi), homes)


def real_metro(count: int, area: Ring, zips: Zips, seed: int = 1) -> Points:
    """Draw drivers within the area: shape `(count, 2)`, latitudes and longitudes.

    The drivers of a small count are the first ones of a larger count."""
    within = is_inside(zips.lat, zips.lon, area)
    lat, lon, radius_m, homes = (column[within] for column in zips)
    rng = np.random.default_rng(seed)

    def draw() -> Points:
        of = rng.choice(len(homes), _DRAWN, p=homes / homes.sum())
        away_m = radius_m[of] * np.sqrt(rng.random(_DRAWN))
        return _moved(lat[of], lon[of], away_m, rng.uniform(0, math.tau, _DRAWN))

    return _filled(count, area, draw)


def invented_metro(count: int, area: Ring, centre: tuple[float, float], seed: int = 1) -> Points:
    """Draw homes around a centre (latitude, longitude), uniformly over the radius."""
    rng = np.random.default_rng(seed)

    def draw() -> Points:
        away_m = _INVENTED_WITHIN_M * rng.random(_DRAWN)
        lat, lon = (np.full(_DRAWN, degrees) for degrees in centre)
        return _moved(lat, lon, away_m, rng.uniform(0, math.tau, _DRAWN))

    return _filled(count, area, draw)


def is_inside(lat: Column, lon: Column, area: Ring) -> NDArray[np.bool_]:
    """Return whether each point is inside: its ray crosses the ring an odd number of times."""
    inside = np.zeros(len(lat), dtype=np.bool_)
    for (lon_a, lat_a), (lon_b, lat_b) in zip(area, [*area[1:], area[0]], strict=True):
        if lat_a != lat_b:
            crosses = lon_a + (lat - lat_a) / (lat_b - lat_a) * (lon_b - lon_a)
            inside ^= ((lat_a > lat) != (lat_b > lat)) & (lon < crosses)
    return inside


def _filled(count: int, area: Ring, draw: Callable[[], Points]) -> Points:
    """Draw until enough points lie inside the area with a margin."""
    kept: list[Points] = []
    while sum(map(len, kept)) < count:
        points = draw()
        inside = np.ones(len(points), dtype=np.bool_)
        for north, east in itertools.product((-_MARGIN_DEG, _MARGIN_DEG), repeat=2):
            inside &= is_inside(points[:, 0] + north, points[:, 1] + east, area)
        kept.append(points[inside])
    return np.concatenate(kept)[:count]


def _moved(lat: Column, lon: Column, away_m: Column, heading: Column) -> Points:
    north, east = away_m * np.cos(heading), away_m * np.sin(heading)
    m_per_degree_lon = _M_PER_DEGREE * np.cos(np.radians(lat))
    return np.stack([lat + north / _M_PER_DEGREE, lon + east / m_per_degree_lon], axis=1)
