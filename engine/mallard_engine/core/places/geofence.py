"""Geofence with hysteresis: detects a driver's arrival at a mall and its departure from its fixes.

A fix counts towards an arrival if it is at the place and slow: a car that passes is fast, and a car
at a red light beside the mall is slow but not at an entrance. Two such fixes in a row are an
arrival; one is enough where no speed is known. A departure takes three fixes outside in a row, or
six if the driver is slow: between high walls fixes are off by a hundred metres, and several in a
row are.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from mallard_engine.core.places.mall import Mall

GATE_RADIUS_M = 25.0
"""A driver within this distance of a gate is at the mall."""
AROUND_M = 70.0
"""A driver within this distance of the mall may be in its garage, where reception is poor."""
ARRIVAL_FIXES = 2
"""This many slow fixes in a row at the place are an arrival."""
OUTSIDE_FIXES = 3
"""This many fixes in a row outside are a departure."""

_SLOW_MPS = 3.0
# A speed is computed from two fixes only if the time between them is within these bounds.
_SHORTEST_MS, _LONGEST_MS = 1_000, 15_000


def is_around(mall: Mall, lat: float, lon: float) -> bool:
    """Return whether the point is at the mall or within `AROUND_M` of it."""
    return mall.place_distance_m(lat, lon, GATE_RADIUS_M) <= AROUND_M


class Change(StrEnum):
    """What a fix changed."""

    ARRIVED = "arrived"
    LEFT = "left"


class Sighting(NamedTuple):
    """An accepted fix near a mall.

    `place_m`: metres to the mall's outline or gates, 0 at the place; `east_m`, `north_m`: position
    on the mall's plane; `speed_mps`: as reported by the driver app.
    """

    at_ms: int
    place_m: float
    east_m: float
    north_m: float
    speed_mps: float | None = None


@dataclass(slots=True)
class Presence:
    """The state of one driver at one mall that it is near."""

    mall: str
    here: bool = False
    _at_place: int = 0
    _outside: float = 0.0
    _last: Sighting | None = None

    def near(self, sighting: Sighting) -> Change | None:
        """Record a fix near the mall. After the arrival, any such fix confirms the presence."""
        self._outside = 0.0
        if self.here:
            return None
        speed_mps = self._speed_mps(sighting)
        self._last = sighting
        if sighting.place_m > 0 or (speed_mps is not None and speed_mps > _SLOW_MPS):
            self._at_place = 0
            return None
        self._at_place += 1 if speed_mps is not None else ARRIVAL_FIXES
        if self._at_place < ARRIVAL_FIXES:
            return None
        self.here = True
        return Change.ARRIVED

    def still(self) -> None:
        """Record a fix near the mall after the arrival, when its distance does not matter."""
        self._outside = 0.0

    def outside(self, speed_mps: float | None = None) -> Change | None:
        """Record a fix that is not near the mall."""
        self._at_place, self._last = 0, None
        self._outside += 1.0 if speed_mps is None or speed_mps > _SLOW_MPS else 0.5
        if self._outside < OUTSIDE_FIXES:
            return None
        was_here, self.here = self.here, False
        return Change.LEFT if was_here else None

    @property
    def is_over(self) -> bool:
        """Return whether this state can be dropped."""
        return not self.here and self._outside > 0

    def _speed_mps(self, sighting: Sighting) -> float | None:
        """Return the reported speed, else the one from the distance to the last fix."""
        if sighting.speed_mps is not None or self._last is None:
            return sighting.speed_mps
        passed_ms = sighting.at_ms - self._last.at_ms
        if not _SHORTEST_MS <= passed_ms <= _LONGEST_MS:
            return None
        east_m = sighting.east_m - self._last.east_m
        north_m = sighting.north_m - self._last.north_m
        return float((east_m * east_m + north_m * north_m) ** 0.5 * 1000 / passed_ms)
