"""Batches items that arrive within a short time into one call to Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and makes one call for all of them.

    Args:
        call: Makes the call; it returns a result for each item, in their order.
        within_s: How long the first item waits for others.
        most: The most items of one call.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        within_s: float,
        most: int,
    ) -> None:
        self._call = call
        self._within_s = within_s
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    def add(self, item: Item) -> asyncio.Future[Result]:
        """Return a future of the item's result.

        If the call fails, the futures of all items in it fail with its error.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, result))
        if len(self._waiting) >= self._most:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_later(self._within_s, self._begin)
        return result

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        items, self._waiting = self._waiting, []
        call = asyncio.create_task(self._run(items), name="batched call")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _run(self, items: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._call([item for item, _ in items])
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for _, result in items:
                if not result.done():
                    # A copy for each caller: a traceback grows with every raise.
                    result.set_exception(copy(error))
            return
        for (_, result), value in zip(items, results, strict=True):
            if not result.done():
                result.set_result(value)
