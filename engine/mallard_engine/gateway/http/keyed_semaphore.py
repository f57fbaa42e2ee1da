"""Lets so many submissions of one mall through at a time.

A flash sale is hundreds of orders of one mall in one instant. Taken all at once they would keep the
loop busy for as long as they take together, and every other order of the node would wait for the
last of them. Those of another mall pass here as if the sale were not.
"""

import asyncio
from collections import deque
from types import TracebackType


class QueueFull(Exception):
    """More callers wait for a turn already than may wait."""


class Turnstile:
    """`async with turnstile.at(mall)`: at most `most` of each mall are within, in their order.

    At most `max_waiting` of each wait for their turn; the next one gets `QueueFull` at once.
    """

    def __init__(self, most: int, *, max_waiting: int) -> None:
        self._most = most
        self._max_waiting = max_waiting
        self._within: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """How many are within or wait."""
        return sum(self._within.values()) + sum(len(queue) for queue in self._waiting.values())

    def at(self, mall: str) -> "_Passage":
        """The way through for one of this mall."""
        return _Passage(self, mall)

    async def enter(self, mall: str) -> None:
        """Wait for a turn, unless there is room and no other waits. Raises `QueueFull`."""
        within = self._within.get(mall, 0)
        if within < self._most:
            self._within[mall] = within + 1
            return
        queue = self._waiting.setdefault(mall, deque())
        if len(queue) >= self._max_waiting:
            raise QueueFull(mall)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(mall)  # it had just got its turn: the next one has it
            raise

    def leave(self, mall: str) -> None:
        """Give the turn to the next who still waits."""
        waiting = self._waiting.get(mall)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(mall, None)
        left = self._within[mall] - 1
        if left:
            self._within[mall] = left
        else:
            del self._within[mall]


class _Passage:
    __slots__ = ("_mall", "_turnstile")

    def __init__(self, turnstile: Turnstile, mall: str) -> None:
        self._turnstile = turnstile
        self._mall = mall

    async def __aenter__(self) -> None:
        await self._turnstile.enter(self._mall)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turnstile.leave(self._mall)
