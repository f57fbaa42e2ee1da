"""The server's time, independent of changes to the device's clock.

Users and networks set a device's wall clock, so nothing here relies on it beyond one call:
a time that the app names is turned into an age at once. Between messages, time is counted by
the uptime, which is monotonic.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

# A reading may be this far ahead of the device's clock, because a GPS receiver has its own clock.
_FUTURE_MS = 5_000


def wall_clock_ms() -> int:
    """The machine's wall clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def uptime_ms() -> int:
    """Milliseconds since the machine started, sleep included where the platform counts it."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return time.monotonic_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: by the server's clock, or (`by_server` false) by the device's uptime."""

    ms: int
    by_server: bool = False


class Clock:
    """The server's clock as the app knows it.

    Before the first ``welcome`` the device's wall clock stands in for it.
    """

    def __init__(self, now_ms: Callable[[], int], uptime: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._uptime_ms = uptime
        self._offset_ms: int | None = None

    @property
    def offset_ms(self) -> int:
        """The server's clock minus the uptime."""
        if self._offset_ms is not None:
            return self._offset_ms
        return self._now_ms() - self._uptime_ms()

    def now_ms(self) -> int:
        """The device's wall clock."""
        return self._now_ms()

    def uptime_ms(self) -> int:
        """The device's uptime."""
        return self._uptime_ms()

    def server_now_ms(self) -> int:
        """The server's clock, by the last known offset."""
        return self._uptime_ms() + self.offset_ms

    def welcomed(self, server_time_ms: int, *, asked_at_ms: int | None = None) -> None:
        """Learn the offset from a ``welcome``; `asked_at_ms` is the uptime of its ``hello``.

        Assumes, as NTP does, that the server stamped it halfway between both.
        """
        now_ms = self._uptime_ms()
        stamped_ms = now_ms if asked_at_ms is None else (asked_at_ms + now_ms) // 2
        self._offset_ms = server_time_ms - stamped_ms

    def synchronise(self, server_time_ms: int) -> None:
        """Learn from the stamp of a push: the server's clock shows at least that by now.

        This catches up after a sleep that the uptime did not count.
        """
        if self._offset_ms is not None:
            self._offset_ms = max(self._offset_ms, server_time_ms - self._uptime_ms())

    def at(self, device_ms: int | None) -> Moment:
        """A time by the device's wall clock, past or future; None: now."""
        now_ms = self._uptime_ms()
        return Moment(now_ms if device_ms is None else now_ms + device_ms - self._now_ms())

    def happened(self, device_ms: int | None) -> Moment:
        """As `at`, for an event in the past: a time in the future becomes now."""
        moment = self.at(device_ms)
        now_ms = self._uptime_ms()
        return moment if moment.ms <= now_ms + _FUTURE_MS else Moment(now_ms)

    def on_server(self, moment: Moment) -> int:
        """A moment by the server's clock, epoch milliseconds."""
        return max(0, moment.ms if moment.by_server else moment.ms + self.offset_ms)

    def is_over(self, moment: Moment) -> bool:
        """Whether a moment has passed."""
        return self.on_server(moment) <= self.server_now_ms()

    def lasting(self, moment: Moment) -> Moment:
        """Return the moment by the server's clock, if known: the uptime ends with a restart."""
        if moment.by_server or self._offset_ms is None:
            return moment
        return Moment(self.on_server(moment), by_server=True)
