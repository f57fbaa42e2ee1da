"""How often an app should report its position: less often while the driver waits in one place."""

from collections.abc import Sequence

from mallard_engine.core.reporting_interval import Reporting
from mallard_protocol.messages import Fix


class LocationPace:
    """The interval of one app. Methods return another interval (ms), or None to leave it."""

    __slots__ = ("_reporting",)

    def __init__(self) -> None:
        self._reporting: Reporting | None = None

    def begin(self, reporting: Reporting) -> None:
        """Begin with the interval that the `welcome` names."""
        self._reporting = reporting

    def moved(self, fixes: Sequence[Fix], now_s: float, *, is_busy: bool) -> int | None:
        """Adapt the interval to where the driver is now."""
        if not fixes or self._reporting is None:
            return None
        _, lat, lon, *_ = max(fixes, key=lambda fix: fix[0])
        return self._reporting.on_fix(lat, lon, now_s, busy=is_busy)

    def speed_up(self, now_s: float, *, is_busy: bool) -> int | None:
        """Return to the normal interval while the driver holds or is offered a job."""
        if self._reporting is None or not is_busy:
            return None
        return self._reporting.speed_up(now_s)
