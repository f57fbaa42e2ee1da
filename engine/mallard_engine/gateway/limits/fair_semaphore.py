"""Limits concurrent work and shares it fairly between order services."""

import asyncio
from collections import OrderedDict, deque


class FairSemaphore:
    """A semaphore whose waiters are served round-robin by service.

    One service with a thousand waiting requests delays a request of another service by a few.

    Args:
        limit_of_one: requests of one service that may run at a time.
        limit: requests of all services that may run at a time.
    """

    def __init__(self, limit_of_one: int, limit: int) -> None:
        self._limit_of_one = limit_of_one
        self._limit = limit
        self._running: dict[str, int] = {}
        self._total = 0
        # The first service is served next.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        """Number of requests that run or wait."""
        return self._total + sum(map(len, self._waiting.values()))

    async def acquire(self, service: str) -> None:
        """Wait until a request of this service may run."""
        if service not in self._waiting and self._has_room(service):
            self._start(service)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(service, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(service)  # acquired just before the cancellation
            raise

    def release(self, service: str) -> None:
        """End a request of this service and start those that now may run."""
        self._total -= 1
        self._running[service] -= 1
        if not self._running[service]:
            del self._running[service]
        for name in list(self._waiting):
            if self._total >= self._limit:
                return
            if self._has_room(name):
                self._start_next(name)

    def _has_room(self, service: str) -> bool:
        return self._total < self._limit and self._running.get(service, 0) < self._limit_of_one

    def _start(self, service: str) -> None:
        self._total += 1
        self._running[service] = self._running.get(service, 0) + 1

    def _start_next(self, service: str) -> None:
        queue = self._waiting[service]
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                self._start(service)
                waiter.set_result(None)
                break
        if queue:
            self._waiting.move_to_end(service)
        else:
            del self._waiting[service]
