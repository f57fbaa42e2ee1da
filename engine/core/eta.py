"""Travel time: how long a driver needs from here to there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

import numpy as np

from engine.core.geo import haversine_m, haversine_matrix_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOURS_A_DAY = 24


class TravelTime(Protocol):
    """A source of travel times. Degrees in, seconds out; `at_ms` is when the driver sets off."""

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        ...


@runtime_checkable
class TravelMatrix(Protocol):
    """A source that also answers for many pairs at once."""

    def matrix(
        self,
        from_lats: NDArray[np.float64],
        from_lons: NDArray[np.float64],
        to_lats: NDArray[np.float64],
        to_lons: NDArray[np.float64],
        at_ms: int,
    ) -> NDArray[np.float64]:
        """Seconds from each of n points to each of m: shape (n, m)."""
        ...


def travel_matrix(
    travel: TravelTime,
    from_lats: NDArray[np.float64],
    from_lons: NDArray[np.float64],
    to_lats: NDArray[np.float64],
    to_lons: NDArray[np.float64],
    at_ms: int,
) -> NDArray[np.float64]:
    """Seconds from each of n points to each of m, shape (n, m), from whatever source there is."""
    if isinstance(travel, TravelMatrix):
        return travel.matrix(from_lats, from_lons, to_lats, to_lons, at_ms)
    return np.array(
        [
            [travel.seconds(*here, *there, at_ms) for there in zip(to_lats, to_lons, strict=True)]
            for here in zip(from_lats, from_lons, strict=True)
        ],
        dtype=np.float64,
    ).reshape(len(from_lats), len(to_lats))


@dataclass(frozen=True, slots=True)
class StraightLine:
    """Great circle × circuity ÷ speed.

    `circuity` is the way on the road over the straight line: 4/π = 1.27 is the mean of a square
    street grid, and rivers and motorways add to it. `speed_by_hour` gives the speed for each local
    hour of day in `time_zone` (24 figures, metres a second) in place of `speed_mps`.

    Raises `ValueError` for a circuity below 1, a speed that is not above 0 or a table that is not
    24 long.
    """

    circuity: float = 1.3
    speed_mps: float = 11.0
    speed_by_hour: tuple[float, ...] = ()
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if not self.circuity >= 1:
            raise ValueError(f"circuity {self.circuity} is below 1, the straight line's")
        if self.speed_by_hour and len(self.speed_by_hour) != HOURS_A_DAY:
            raise ValueError(f"speed_by_hour has {len(self.speed_by_hour)} figures, not 24")
        if not all(speed > 0 for speed in (self.speed_mps, *self.speed_by_hour)):
            raise ValueError("a speed must be above 0 m/s")

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        straight_m = haversine_m(from_lat, from_lon, to_lat, to_lon)
        return straight_m * self.circuity / self._speed_mps(at_ms)

    def matrix(
        self,
        from_lats: NDArray[np.float64],
        from_lons: NDArray[np.float64],
        to_lats: NDArray[np.float64],
        to_lons: NDArray[np.float64],
        at_ms: int,
    ) -> NDArray[np.float64]:
        """Seconds from each of n points to each of m: shape (n, m)."""
        straight_m = haversine_matrix_m(from_lats, from_lons, to_lats, to_lons)
        return straight_m * (self.circuity / self._speed_mps(at_ms))

    def _speed_mps(self, at_ms: int) -> float:
        if not self.speed_by_hour:
            return self.speed_mps
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.time_zone))
        return self.speed_by_hour[local.hour]
