"""Draws random orders: drop-offs by the households of ZIP codes, or anywhere near a mall."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

from mallard_engine.core.places.mall import Mall, Market
from mallard_engine.core.places.markets import Places
from mallard_engine.input_files import Row, read_rows
from mallard_engine.workload.random_points import point_around
from mallard_engine.workload.road import Point, distance_m
from mallard_protocol.resources import (
    DropoffRequest,
    JobRequest,
    ParcelsRequest,
    Pickup,
    PickupStore,
)

_TABLE: Final = Path("places") / "zips_az_nv_va_dc_md.csv"
# Households beyond this distance order elsewhere; nearer ones order more.
_CATCHMENT_M: Final = 14_000.0
_FADES_OVER_M: Final = 6_000.0
_M2_PER_SQ_MI: Final = 2_589_988.0
_LARGEST_SQ_MI: Final = 100_000
_MOST_HOUSEHOLDS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Zip:
    """A ZIP code area, as a circle of the same size."""

    centre: Point
    radius_m: float
    households: float


@dataclass(frozen=True, slots=True)
class Catchment:
    """A mall and the ZIP codes that order from it, with cumulated weights for drawing."""

    market: Market
    mall: Mall
    zips: tuple[Zip, ...]
    cumulated: tuple[float, ...]

    @property
    def weight(self) -> float:
        """The weighted number of households that order from the mall."""
        return self.cumulated[-1] if self.cumulated else 1.0


class Demand:
    """Draws jobs. `weighted`: whether by households; `source` describes it for the user."""

    def __init__(self, places: Places, zips: Sequence[Zip]) -> None:
        malls = [mall for mall in places.malls.values() if mall.kind == "mall"]
        self.catchments = [_catchment(places.market_of_mall(m.id), m, zips) for m in malls]
        self.weighted = all(catchment.zips for catchment in self.catchments)
        self.source = (
            f"drop-offs by households of {len(zips)} ZIP codes"
            if self.weighted
            else "drop-offs anywhere near the malls, as there is no ZIP table (MALLARD_DATASETS)"
        )
        weights = (c.weight if self.weighted else 1.0 for c in self.catchments)
        self._cumulated = tuple(accumulate(weights))

    def draw_catchment(self, rng: random.Random) -> Catchment:
        """Draw a mall in proportion to its households."""
        return rng.choices(self.catchments, cum_weights=self._cumulated)[0]

    def job(self, number: int, rng: random.Random) -> JobRequest:
        """Draw an order that is ready now."""
        catchment = self.draw_catchment(rng)
        lat, lon = self.dropoff(catchment, rng)
        parcels = rng.choices((1, 2, 3), (6, 3, 1))[0]
        store = rng.choice(tuple(catchment.mall.stores))
        return JobRequest(
            pickup=Pickup(catchment.mall.id, (PickupStore(store, parcels=parcels),)),
            dropoff=DropoffRequest(round(lat, 6), round(lon, 6)),
            external_id=order_name(number),
            parcels=ParcelsRequest(parcels, weight_g=700 * parcels, volume_l=4.0 * parcels),
        )

    def dropoff(self, catchment: Catchment, rng: random.Random) -> Point:
        """Draw the drop-off of an order from that mall."""
        while True:
            centre, radius_m = (catchment.mall.lat, catchment.mall.lon), _CATCHMENT_M
            if self.weighted:
                area = rng.choices(catchment.zips, cum_weights=catchment.cumulated)[0]
                centre, radius_m = area.centre, area.radius_m
            point = point_around(centre, radius_m, rng)
            if catchment.market.holds(*point):
                return point


def order_name(number: int) -> str:
    """Return the `external_id` of an order."""
    return f"DEMO-{number}"


def load_zips(environ: Mapping[str, str]) -> tuple[Zip, ...]:
    """Read the ZIP table from the folder that `MALLARD_DATASETS` names; empty without a table."""
    folder = environ.get("MALLARD_DATASETS")
    if not folder or not (table := Path(folder) / _TABLE).is_file():
        return ()
    return tuple(read_rows(table, _zip, key="zip"))


def _zip(row: Row) -> Zip:
    square_miles = row.number("land_area_sq_mi", 0, _LARGEST_SQ_MI, empty=1)
    return Zip(
        row.position("lat", "lon"),
        math.sqrt(square_miles * _M2_PER_SQ_MI / math.pi),
        row.number("households", 0, _MOST_HOUSEHOLDS, empty=0),
    )


def _catchment(market: Market, mall: Mall, zips: Sequence[Zip]) -> Catchment:
    centre = (mall.lat, mall.lon)
    near = [area for area in zips if distance_m(centre, area.centre) < _CATCHMENT_M]
    near = [area for area in near if market.holds(*area.centre)]
    weights = (
        area.households * math.exp(-distance_m(centre, area.centre) / _FADES_OVER_M)
        for area in near
    )
    return Catchment(market, mall, tuple(near), tuple(accumulate(weights)))
