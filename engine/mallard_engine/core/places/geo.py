"""Distances in metres between WGS 84 positions in degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the earth (IUGG)."""

COARSE_DEG = 0.005
"""Drop-off positions are rounded to this in offers (until accepted): 556 m north to south."""

_DEG = math.pi / 180.0


def haversine_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the great-circle distance in metres; within 0.6 % of the ellipsoid's everywhere."""
    sin_lat = math.sin((lat_b - lat_a) * _DEG / 2)
    sin_lon = math.sin((lon_b - lon_a) * _DEG / 2)
    chord = sin_lat * sin_lat + math.cos(lat_a * _DEG) * math.cos(lat_b * _DEG) * sin_lon * sin_lon
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


def haversine_matrix_m(
    from_lats: NDArray[np.float64],
    from_lons: NDArray[np.float64],
    to_lats: NDArray[np.float64],
    to_lons: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return `haversine_m` from each of n points to each of m points: shape (n, m)."""
    import numpy as np  # noqa: PLC0415 - the scalar functions need no numpy

    lat_a, lat_b = from_lats[:, None] * _DEG, to_lats[None, :] * _DEG
    # In place: with a million pairs, another temporary array costs as much as its arithmetic.
    chord = lat_b - lat_a
    chord /= 2
    np.sin(chord, out=chord)
    chord *= chord
    sin_lon = to_lons[None, :] - from_lons[:, None]
    sin_lon *= _DEG / 2
    np.sin(sin_lon, out=sin_lon)
    product = np.cos(lat_a) * np.cos(lat_b)
    product *= sin_lon
    product *= sin_lon
    chord += product
    np.minimum(chord, 1.0, out=chord)
    np.sqrt(chord, out=chord)
    np.arcsin(chord, out=chord)
    chord *= 2 * EARTH_RADIUS_M
    return chord


def coarse(lat: float, lon: float) -> tuple[float, float]:
    """Round a position to the nearest multiple of 0.005°: it identifies a block, not a door."""
    return round(round(lat / COARSE_DEG) * COARSE_DEG, 3), round(
        round(lon / COARSE_DEG) * COARSE_DEG, 3
    )


@dataclass(frozen=True, slots=True)
class LocalPlane:
    """A local equirectangular projection: metres east and north of an origin in degrees.

    The length of a degree is WGS 84's at the origin's latitude (the series of NIMA TR 8350.2). The
    remaining error is the change of a degree of longitude with latitude: at 33–39° of latitude a
    distance from the origin is off by less than 0.01 % at 1 km and 0.1 % at 25 km.
    """

    lat: float
    lon: float
    m_per_deg_lat: float = field(init=False)
    m_per_deg_lon: float = field(init=False)

    def __post_init__(self) -> None:
        phi = self.lat * _DEG
        north = 111_132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
        east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
        object.__setattr__(self, "m_per_deg_lat", north)
        object.__setattr__(self, "m_per_deg_lon", east)

    def xy(self, lat: float, lon: float) -> tuple[float, float]:
        """Return metres east and north of the origin."""
        return (lon - self.lon) * self.m_per_deg_lon, (lat - self.lat) * self.m_per_deg_lat

    def xy_batch(
        self, lats: ArrayLike, lons: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `xy` of n points: two arrays of shape (n,)."""
        import numpy as np  # noqa: PLC0415 - the scalar functions need no numpy

        return (
            (np.asarray(lons, dtype=np.float64) - self.lon) * self.m_per_deg_lon,
            (np.asarray(lats, dtype=np.float64) - self.lat) * self.m_per_deg_lat,
        )

    def distance_m(self, lat: float, lon: float) -> float:
        """Return the distance from the origin in metres."""
        return math.hypot(*self.xy(lat, lon))
