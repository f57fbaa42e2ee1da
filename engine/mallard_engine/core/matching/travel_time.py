"""Travel times: the interface that ranking uses, and the straight-line estimate.

`TravelTime` is synchronous, as ranking calls it. A source that answers many pairs at once, or over
a network, is queried before the ranking (`mallard_engine.ports.TravelMatrixSource`); its answer is
a `mallard_engine.core.matching.travel_matrix.TravelMatrix`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.places.geo import haversine_m, haversine_matrix_m

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mallard_engine.core.policy import MarketPolicy


class Points(NamedTuple):
    """n positions as two arrays of shape (n,), in degrees."""

    lats: NDArray[np.float64]
    lons: NDArray[np.float64]

    @classmethod
    def of(cls, places: Iterable[tuple[float, float]]) -> Points:
        """Build the arrays from (lat, lon) pairs."""
        both = np.array(list(places), dtype=np.float64).reshape(-1, 2)
        return cls(both[:, 0], both[:, 1])


class TravelTime(Protocol):
    """A source of travel times in seconds between positions in degrees.

    `at_ms` is the departure in epoch milliseconds. A subclass must implement `seconds`; `matrix`
    has a default implementation.
    """

    @abstractmethod
    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Return the seconds from one point to another."""
        ...

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Return the seconds from each of n points to each of m: shape (n, m)."""
        return np.array(
            [
                [self.seconds(*here, *there, at_ms) for there in zip(*tos, strict=True)]
                for here in zip(*froms, strict=True)
            ],
            dtype=np.float64,
        ).reshape(len(froms.lats), len(tos.lats))


class StraightLine(TravelTime):
    """The straight-line estimate: great circle × circuity ÷ speed.

    `circuity` is road distance divided by straight-line distance: 4/π = 1.27 is the mean of a
    square street grid, and rivers and motorways add to it. `speed_by_hour` replaces `speed_mps` by
    24 speeds for the local hours in `time_zone`; see `SpeedByHour`.

    Raises:
        ValueError: The circuity is below 1, or a speed is not above 0.
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
        # Precomputed if the speed is constant, as every offer uses it.
        self._s_per_m = None if speed_by_hour else circuity / speed_mps

    @classmethod
    def of(cls, policy: MarketPolicy, time_zone: str) -> StraightLine:
        """Build the estimate of a market."""
        return cls(policy.circuity, policy.speed_mps, policy.speed_by_hour, time_zone)

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Return the seconds from one point to another."""
        straight_m = haversine_m(from_lat, from_lon, to_lat, to_lon)
        return straight_m * (self._s_per_m or self._circuity / self._speed.mps(at_ms))

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Return the seconds from each of n points to each of m: shape (n, m)."""
        return haversine_matrix_m(*froms, *tos) * (self._circuity / self._speed.mps(at_ms))

    def road_s(self, straight_m: float, at_ms: int) -> float:
        """Return the seconds for a trip of this straight-line distance."""
        return straight_m * self._circuity / self._speed.mps(at_ms)
