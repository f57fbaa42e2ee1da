"""The timers of all sockets of a node, in slots.

Deadlines that fall into one slot share a timer of the event loop: thousands of idle sockets wake it
a few times a second, and each wake-up serves many of them while the code is in the caches.
"""

import asyncio
import heapq
import math
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)


class Timed(Protocol):
    """What has a deadline."""

    def on_timer(self) -> None:
        """Act on what is due, and schedule the next deadline."""


class TimerWheel:
    """Calls `on_timer` at a deadline, at most one slot later and never sooner."""

    def __init__(self) -> None:
        # By the end of the slot, in seconds of the event loop.
        self._slots: dict[float, dict[Timed, None]] = {}
        # The ends of the slots as a heap; those of slots that have become empty stay in it.
        self._ends: list[float] = []
        # In uvloop a timer that is already due is a plain handle, which does not know its time.
        self._timer: asyncio.Handle | None = None
        self._timer_s = math.inf
        self.wakes = 0
        """How often the event loop has been woken: a figure for benchmarks."""

    def __len__(self) -> int:
        """The number of deadlines."""
        return sum(map(len, self._slots.values()))

    def schedule(self, timed: Timed, at_s: float, slot_s: float) -> float:
        """Schedule a deadline; return its slot, for `cancel`.

        Args:
            timed: what is called, once.
            at_s: the deadline in seconds of the event loop.
            slot_s: the width of a slot.
        """
        end_s = math.ceil(at_s / slot_s) * slot_s
        members = self._slots.get(end_s)
        if members is None:
            members = self._slots[end_s] = {}
            heapq.heappush(self._ends, end_s)
            if end_s < self._timer_s:
                self._arm()
        members[timed] = None
        return end_s

    def cancel(self, timed: Timed, slot: float) -> None:
        """Cancel a deadline; unknown ones are ignored."""
        members = self._slots.get(slot)
        if members is None:
            return
        members.pop(timed, None)
        if not members:
            del self._slots[slot]
            if not self._slots:
                self._ends.clear()
                self._disarm()

    def _arm(self) -> None:
        self._disarm()
        if self._ends:
            self._timer_s = self._ends[0]
            loop = asyncio.get_running_loop()
            # uvloop rounds to milliseconds, and would wake up too early until the time has come.
            delay_s = math.ceil((self._timer_s - loop.time()) * 1000) / 1000
            self._timer = loop.call_later(max(0.0, delay_s), self._turn)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_s = None, math.inf

    def _turn(self) -> None:
        """Call what is due."""
        self._timer, self._timer_s = None, math.inf
        self.wakes += 1
        now_s = asyncio.get_running_loop().time()
        due: list[Timed] = []
        while self._ends and self._ends[0] <= now_s:
            due.extend(self._slots.pop(heapq.heappop(self._ends), ()))
        for timed in due:
            try:
                timed.on_timer()
            except Exception:  # noqa: BLE001 - one socket must not stop the timers of the others
                _log.exception("timer failed")
        if self._timer is None:
            self._arm()
