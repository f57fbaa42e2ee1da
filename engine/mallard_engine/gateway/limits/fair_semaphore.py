"""Limits concurrent work and shares it fairly between callers."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable


class FairSemaphore:
    """A semaphore whose waiters are served round-robin by caller.

    One caller with a thousand waiting requests delays a request of another by a few.

    Args:
        limit_of_one: requests of one caller that may run at a time.
        limit: requests of all callers that may run at a time.
    """

    def __init__(self, limit_of_one: int, limit: int) -> None:
        self._limit_of_one = limit_of_one
        self._limit = limit
        self._running: dict[Hashable, int] = {}
        self._total = 0
        # The first caller is served next.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        """Number of requests that run or wait."""
        return self._total + sum(map(len, self._waiting.values()))

    async def acquire(self, caller: Hashable) -> None:
        """Wait until a request of this caller may run."""
        if caller not in self._waiting and self._has_room(caller):
            self._start(caller)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(caller)  # acquired just before the cancellation
            raise

    def release(self, caller: Hashable) -> None:
        """End a request of this caller and start those that now may run."""
        self._total -= 1
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        for name in list(self._waiting):
            if self._total >= self._limit:
                return
            if self._has_room(name):
                self._start_next(name)

    def _has_room(self, caller: Hashable) -> bool:
        return self._total < self._limit and self._running.get(caller, 0) < self._limit_of_one

    def _start(self, caller: Hashable) -> None:
        self._total += 1
        self._running[caller] = self._running.get(caller, 0) + 1

    def _start_next(self, caller: Hashable) -> None:
        queue = self._waiting[caller]
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                self._start(caller)
                waiter.set_result(None)
                break
        if queue:
            self._waiting.move_to_end(caller)
        else:
            del self._waiting[caller]
