"""The position reporting interval of a driver app: longer while its position matters little.

A driver who is parked, or too far from every mall for an offer, reports rarely, to save the
battery; a driver who moves, has an offer or holds a job reports at the usual interval. Slowing down
is delayed and rate limited, speeding up is immediate, so that jumping fixes cause few changes.
"""

from collections.abc import Sequence
from typing import Final

from mallard_engine.core.places.geo import haversine_m

PARKED_AFTER_S: Final = 180.0
# Indoors fixes jump by tens of metres.
MOVED_M: Final = 75.0
# Hysteresis, as shares of the offer radius: beyond `FAR` a driver is far, within `NEAR` no longer.
FAR: Final = 1.2
NEAR: Final = 1.05
# How far a driver may move until its distance to the malls is computed again.
_LOOK_AGAIN_M: Final = 500.0
_LEAST_BETWEEN_S: Final = 60.0


class Reporting:
    """The reporting interval of one socket; times are seconds of the caller's monotonic clock.

    Args:
        usual_ms: The usual interval.
        stale_after_s: How long a position is valid. The slow interval is a third of it, so that two
            reports may be lost.
        malls: The (lat, lon) of the market's malls in degrees.
        radius_m: The radius in which their jobs are offered.
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

    def on_fix(self, lat: float, lon: float, at_s: float, *, busy: bool) -> int | None:
        """Record a fix; return the new interval to send in ms, or None if it is unchanged.

        `busy`: the driver has an offer or holds a job.
        """
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
        """Return to the usual interval; return it in ms, or None if it is unchanged."""
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
