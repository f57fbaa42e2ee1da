"""How often an app should report its position: less often where nothing depends on it.

A driver who is parked, or is too far from every mall to be offered anything, saves its battery; who
moves, is offered something or holds a job reports at the usual interval. Slowing down waits until
it is certain, speeding up never does, so that a phone whose fixes jump is told seldom.
"""

from collections.abc import Sequence
from typing import Final

from mallard_engine.core.places.geo import haversine_m

PARKED_AFTER_S: Final = 180.0
# Indoors fixes jump by tens of metres.
MOVED_M: Final = 75.0
# Of the radius in which a mall's jobs are offered: out of it, and well inside of it again.
FAR: Final = 1.2
NEAR: Final = 1.05
# How far a driver may go until its distance from the malls is looked up anew.
_LOOK_AGAIN_M: Final = 500.0
_LEAST_BETWEEN_S: Final = 60.0


class Reporting:
    """The interval of one socket. Times are seconds of the caller's monotonic clock.

    ``slow_ms``: at most a third of the time for which a position is good, so that two may be lost.
    ``malls``: the (lat, lon) of the market's malls; ``radius_m``: how far their jobs are offered.
    """

    __slots__ = (
        "_anchor",
        "_changed_s",
        "_far",
        "_looked",
        "_malls",
        "_radius_m",
        "_since_s",
        "_slow_ms",
        "_usual_ms",
        "now_ms",
    )

    def __init__(
        self,
        usual_ms: int,
        stale_after_s: float,
        malls: Sequence[tuple[float, float]],
        radius_m: float,
    ) -> None:
        self._usual_ms = self.now_ms = usual_ms
        self._slow_ms = max(usual_ms, int(stale_after_s * 1000 / 3))
        self._malls = malls
        self._radius_m = radius_m
        self._anchor: tuple[float, float] | None = None
        self._looked: tuple[float, float] | None = None
        self._since_s = 0.0
        self._changed_s = -_LEAST_BETWEEN_S
        self._far = False

    def heard(self, lat: float, lon: float, at_s: float, *, busy: bool) -> int | None:
        """A fix came. Return the interval to tell, None: it stays. ``busy``: offered, on a run."""
        if self._slow_ms == self._usual_ms:
            return None
        here = lat, lon
        if self._anchor is None or haversine_m(*self._anchor, *here) > MOVED_M:
            self._anchor, self._since_s = here, at_s
        self._look(here)
        is_idle = self._far or at_s - self._since_s >= PARKED_AFTER_S
        if busy or not is_idle:
            return self.speed_up(at_s)
        if self.now_ms == self._slow_ms or at_s - self._changed_s < _LEAST_BETWEEN_S:
            return None
        self.now_ms, self._changed_s = self._slow_ms, at_s
        return self.now_ms

    def speed_up(self, at_s: float) -> int | None:
        """The driver moves or is busy. Return the interval to tell, None if it stays."""
        if self.now_ms == self._usual_ms:
            return None
        self.now_ms, self._changed_s = self._usual_ms, at_s
        return self.now_ms

    def _look(self, here: tuple[float, float]) -> None:
        if self._looked is not None and haversine_m(*self._looked, *here) < _LOOK_AGAIN_M:
            return
        self._looked = here
        nearest_m = min((haversine_m(*mall, *here) for mall in self._malls), default=0.0)
        self._far = nearest_m > self._radius_m * (NEAR if self._far else FAR)
