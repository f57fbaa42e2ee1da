"""Limits the share of each event-loop iteration that unauthenticated clients use together.

A hundred hostile connections that each cost little would fill the loop together. So their input is
handled within one budget per iteration, round-robin by address, and the rest waits. While the loop
has nothing else to do, iterations follow each other at once and no time is lost.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

SHARE_S: Final = 0.001
"""The budget of all unauthenticated clients per loop iteration, in seconds."""
SLICE_S: Final = 0.001
"""The time of one unauthenticated client before the next one is served, in seconds."""


class LoopShare:
    """Runs work within `share_s` per iteration; an overrun is deducted from later iterations."""

    def __init__(
        self, share_s: float = SHARE_S, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._share_s = share_s
        self._clock = clock
        self._left_s = share_s
        # By address; the first is served next.
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()
        self._is_armed = False

    def run(self, address: str, work: Callable[[], None]) -> None:
        """Run the work now if the budget of this iteration allows it, else in a later iteration."""
        if self._waiting or self._left_s <= 0:
            self.later(address, work)
        else:
            self._do(work)
            self._arm()

    def later(self, address: str, work: Callable[[], None]) -> None:
        """Run the work in a later iteration."""
        self._waiting.setdefault(address, deque()).append(work)
        self._arm()

    def charge(self, seconds: float) -> None:
        """Deduct CPU time that a client causes elsewhere, such as the task that answers it."""
        self._left_s -= seconds
        self._arm()

    def _next_iteration(self) -> None:
        self._is_armed = False
        self._left_s = min(self._share_s, self._left_s + self._share_s)
        while self._waiting and self._left_s > 0:
            address, queue = next(iter(self._waiting.items()))
            work = queue.popleft()
            if queue:
                self._waiting.move_to_end(address)
            else:
                del self._waiting[address]
            self._do(work)
        self._arm()

    def _do(self, work: Callable[[], None]) -> None:
        began_s = self._clock()
        try:
            work()
        finally:
            self._left_s -= self._clock() - began_s

    def _arm(self) -> None:
        if not self._is_armed and (self._waiting or self._left_s < self._share_s):
            self._is_armed = True
            asyncio.get_running_loop().call_soon(self._next_iteration)
