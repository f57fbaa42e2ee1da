"""Is a driver at a mall? Decided from its fixes one by one, with memory, so that noise is no news.

A fix speaks for an arrival by where it is and by how fast: on the way past, a car is fast; at a
red light on the road beside a mall it is slow, but not where one walks in. Two such fixes in a row
are an arrival; one is enough where the phone tells no speed and none can be worked out. Once there,
a driver has left when three fixes in a row say so, twice as many if it is not under way: between
high walls a fix may be off by a hundred metres, and the next ones with it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

GATE_RADIUS_M = 25.0
"""So far around a gate is its own ground: who is there is about to walk in."""
ARRIVAL_FIXES = 2
"""So many slow fixes in a row at the place are an arrival."""
OUTSIDE_FIXES = 3
"""So many fixes in a row outside are a departure."""

_SLOW_MPS = 3.0
# The speed between two fixes is a speed only if they are so far apart in time.
_SHORTEST_MS, _LONGEST_MS = 1_000, 15_000


class Change(StrEnum):
    """What a fix changed."""

    ARRIVED = "arrived"
    LEFT = "left"


class Sighting(NamedTuple):
    """A believed fix near a mall. ``place_m``: metres from where one parks and walks there, 0 at
    the place; ``east_m``, ``north_m``: on the mall's plane; ``speed_mps``: the phone's word."""

    at_ms: int
    place_m: float
    east_m: float
    north_m: float
    speed_mps: float | None = None


@dataclass(slots=True)
class Presence:
    """One driver and the mall that it is near to."""

    mall: str
    here: bool = False
    _at_place: int = 0
    _outside: float = 0.0
    _last: Sighting | None = None

    def near(self, sighting: Sighting) -> Change | None:
        """A fix near the mall. Once it is here, any such fix says that it still is."""
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
        """The same for one who is here already, whose place needs not be measured again."""
        self._outside = 0.0

    def outside(self, speed_mps: float | None = None) -> Change | None:
        """A fix that is not near the mall."""
        self._at_place, self._last = 0, None
        self._outside += 1.0 if speed_mps is None or speed_mps > _SLOW_MPS else 0.5
        if self._outside < OUTSIDE_FIXES:
            return None
        was_here, self.here = self.here, False
        return Change.LEFT if was_here else None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to remember."""
        return not self.here and self._outside > 0

    def _speed_mps(self, sighting: Sighting) -> float | None:
        """How fast it is: as the phone says, else by the way from its last fix."""
        if sighting.speed_mps is not None or self._last is None:
            return sighting.speed_mps
        passed_ms = sighting.at_ms - self._last.at_ms
        if not _SHORTEST_MS <= passed_ms <= _LONGEST_MS:
            return None
        east_m = sighting.east_m - self._last.east_m
        north_m = sighting.north_m - self._last.north_m
        return float((east_m * east_m + north_m * north_m) ** 0.5 * 1000 / passed_ms)
