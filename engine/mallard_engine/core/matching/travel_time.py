"""Travel time: how long a driver needs from here to there.

One port, :class:`TravelTime`. It is asked in the midst of ranking, so it answers at once. A source
that is better asked for many ways at a time, or that has to be waited for, is asked ahead of the
ranking (:class:`mallard_engine.ports.TravelAhead`), and what it said is a
:class:`mallard_engine.core.matching.travel_matrix.Told`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from mallard_engine.core.places.geo import haversine_m, haversine_matrix_m

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

HOURS_A_DAY = 24
# Offsets from UTC are whole quarters of an hour, and change on one: within it the hour is the same.
_QUARTER_MS = 900_000


class Points(NamedTuple):
    """n places as two arrays of shape (n,), in degrees."""

    lats: NDArray[np.float64]
    lons: NDArray[np.float64]

    @classmethod
    def of(cls, places: Iterable[tuple[float, float]]) -> Points:
        """The (lat, lon) pairs as arrays."""
        both = np.array(list(places), dtype=np.float64).reshape(-1, 2)
        return cls(both[:, 0], both[:, 1])


class TravelTime(Protocol):
    """A source of travel times. Degrees in, seconds out; `at_ms` is when the driver sets off.

    Whoever derives from it owes `seconds` alone.
    """

    @abstractmethod
    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        ...

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Seconds from each of n points to each of m: shape (n, m)."""
        return np.array(
            [
                [self.seconds(*here, *there, at_ms) for there in zip(*tos, strict=True)]
                for here in zip(*froms, strict=True)
            ],
            dtype=np.float64,
        ).reshape(len(froms.lats), len(tos.lats))


class SpeedPolicy(Protocol):
    """What of a market's policy says how fast its roads are; see ``MarketPolicy``."""

    @property
    def circuity(self) -> float:
        """The way on the road over the straight line."""
        ...

    @property
    def speed_mps(self) -> float:
        """The mean speed on the road."""
        ...

    @property
    def speed_by_hour(self) -> tuple[float, ...]:
        """The same in each hour of the day; empty: always alike."""
        ...


@dataclass(frozen=True, slots=True)
class SpeedByHour:
    """The mean speed, in metres a second: `usual_mps`, or where `table` has its 24 figures that of
    the local hour of day in `time_zone`.

    Raises `ValueError` for a speed that is not above 0 or a table that is not 24 long.
    """

    usual_mps: float
    table: tuple[float, ...] = ()
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.table and len(self.table) != HOURS_A_DAY:
            raise ValueError(f"speed_by_hour has {len(self.table)} figures, not 24")
        if not all(0 < speed < np.inf for speed in (self.usual_mps, *self.table)):
            raise ValueError("a speed must be above 0 m/s")

    @classmethod
    def of(cls, policy: SpeedPolicy, time_zone: str) -> SpeedByHour:
        """A market's speeds."""
        return cls(policy.speed_mps, policy.speed_by_hour, time_zone)

    def mps(self, at_ms: int) -> float:
        """The speed at that moment."""
        if not self.table:
            return self.usual_mps
        return self.table[_local_hour(at_ms // _QUARTER_MS, self.time_zone)]

    def slowness(self, at_ms: int) -> float:
        """How many times as long as usual a way takes at that moment."""
        return self.usual_mps / self.mps(at_ms)


class StraightLine(TravelTime):
    """Great circle × circuity ÷ speed.

    `circuity` is the way on the road over the straight line: 4/π = 1.27 is the mean of a square
    street grid, and rivers and motorways add to it. `speed_by_hour` gives the speed for each local
    hour of day in `time_zone` in place of `speed_mps`; see :class:`SpeedByHour`.

    Raises `ValueError` for a circuity below 1, or a speed that cannot be.
    """

    __slots__ = ("_circuity", "_s_per_m", "_speed")

    def __init__(
        self,
        circuity: float = 1.3,
        speed_mps: float = 11.0,
        speed_by_hour: tuple[float, ...] = (),
        time_zone: str = "UTC",
    ) -> None:
        if not circuity >= 1:
            raise ValueError(f"circuity {circuity} is below 1, the straight line's")
        self._circuity = circuity
        self._speed = SpeedByHour(speed_mps, speed_by_hour, time_zone)
        # Where every hour is alike: this stands on the way of every offer.
        self._s_per_m = None if speed_by_hour else circuity / speed_mps

    @classmethod
    def of(cls, policy: SpeedPolicy, time_zone: str) -> StraightLine:
        """A market's straight lines."""
        return cls(policy.circuity, policy.speed_mps, policy.speed_by_hour, time_zone)

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        straight_m = haversine_m(from_lat, from_lon, to_lat, to_lon)
        return straight_m * (self._s_per_m or self._circuity / self._speed.mps(at_ms))

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Seconds from each of n points to each of m: shape (n, m)."""
        return haversine_matrix_m(*froms, *tos) * (self._circuity / self._speed.mps(at_ms))

    def road_s(self, straight_m: float, at_ms: int) -> float:
        """Seconds for a way that is so long in a straight line."""
        return straight_m * self._circuity / self._speed.mps(at_ms)


@lru_cache(maxsize=256)
def _local_hour(quarter: int, time_zone: str) -> int:
    return datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, ZoneInfo(time_zone)).hour
