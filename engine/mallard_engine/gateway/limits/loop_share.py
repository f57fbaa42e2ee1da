"""The share of each turn of the event loop that clients without a good token have together.

A hundred hostile connections that each cost little would fill the loop between them. So their input
is handled within one budget a turn, by turns of their addresses, and the rest waits. While the loop
has nothing else to do, turns follow at once and nothing is lost.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

SHARE_S: Final = 0.002
"""Of one turn, of all strangers."""
SLICE_S: Final = 0.001
"""Of one stranger, before the next has a turn."""


class LoopShare:
    """Runs pieces of work within `share_s` a turn; work that took longer counts for later turns."""

    def __init__(
        self, share_s: float = SHARE_S, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._share_s = share_s
        self._clock = clock
        self._left_s = share_s
        # By address; the one at the front is next.
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()
        self._is_armed = False

    def run(self, address: str, work: Callable[[], None]) -> None:
        """Run the work at once if something of this turn's share is left, else in a later turn."""
        if self._waiting or self._left_s <= 0:
            self.later(address, work)
        else:
            self._do(work)
            self._arm()

    def later(self, address: str, work: Callable[[], None]) -> None:
        """Run the work in a later turn."""
        self._waiting.setdefault(address, deque()).append(work)
        self._arm()

    def charge(self, seconds: float) -> None:
        """Count what a client causes elsewhere, such as a task that answers it."""
        self._left_s -= seconds
        self._arm()

    def _next_turn(self) -> None:
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
            asyncio.get_running_loop().call_soon(self._next_turn)
