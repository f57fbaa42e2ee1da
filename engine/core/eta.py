"""Travel time: how long a driver needs from here to there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from engine.core.geo import haversine_m

HOURS_A_DAY = 24


class TravelTime(Protocol):
    """A source of travel times. Degrees in, seconds out; `at_ms` is when the driver sets off."""

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        ...


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

    def _speed_mps(self, at_ms: int) -> float:
        if not self.speed_by_hour:
            return self.speed_mps
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.time_zone))
        return self.speed_by_hour[local.hour]
