"""Reads the pushes of other nodes for the sessions of this node."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import PushEntry, PushStream, StoreUnavailable
from mallard_engine.tasks import cancel, without_end

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

# Upper bound of the delay until a newly followed market is read.
_BLOCK_MS: Final = 200
_RETRY_S: Final = 0.2


class Relay:
    """Delivers what other nodes push to drivers of this node to the hub, in stream order."""

    def __init__(
        self,
        pushes: PushStream,
        hub: Hub,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pushes = pushes
        self._hub = hub
        self._sleep = sleep
        # The position up to which each market's stream was read.
        self._cursors: dict[str, str] = {}
        self._followed = asyncio.Event()
        # Set, and replaced, whenever cursors have moved.
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reading."""
        self._task = asyncio.create_task(without_end(self._tail, "relay"), name="relay")

    async def stop(self) -> None:
        """Stop reading."""
        await cancel(self._task)
        self._task = None

    async def follow(self, market: str) -> None:
        """Read the stream of this market from now on. Call it after adding the session to the hub.

        Raises:
            StoreUnavailable: the end of the stream could not be read.
        """
        if market not in self._cursors:
            self._cursors.setdefault(market, await self._pushes.head(market))
        self._followed.set()

    async def rewind(self, market: str) -> None:
        """Continue from the end of the market's stream.

        Redis has lost writes, so the old cursor may lie ahead of new pushes. Call it while the
        market's sessions hold pushes back.

        Raises:
            StoreUnavailable: the end of the stream could not be read.
        """
        if market in self._cursors:
            self._cursors[market] = await self._pushes.head(market)
            self._note_moved()

    async def settled(self, market: str) -> None:
        """Wait until the pushes of all transitions so far have been delivered.

        The pushes of this node's own transitions come before the reply of `PushStream.head`, and
        those of other nodes are in the stream by then. Waits while the stream cannot be read.

        Raises:
            StoreUnavailable: the end of the stream could not be read.
        """
        head = await self._pushes.head(market)
        while _is_behind(self._cursors.get(market), head):
            await self._moved.wait()

    async def _tail(self) -> None:
        while True:
            self._drop_empty_markets()
            if not self._cursors:
                self._followed.clear()
                await self._followed.wait()
            read_from = dict(self._cursors)
            try:
                entries = await self._pushes.read(read_from, _BLOCK_MS)
            except StoreUnavailable as problem:
                # The cursors stay, so pushes made meanwhile are read afterwards.
                _often.warning("relay waits for Redis", reason=str(problem))
                await self._sleep(_RETRY_S)
                continue
            self._deliver(entries, read_from)

    def _deliver(self, entries: Sequence[PushEntry], read_from: Mapping[str, str]) -> None:
        rewound = {market for market in read_from if self._cursors[market] != read_from[market]}
        for entry in entries:
            if entry.market not in rewound:
                self._cursors[entry.market] = entry.cursor
                self._hub.deliver(entry.market, (entry.push,))
        if entries:
            self._note_moved()

    def _note_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _drop_empty_markets(self) -> None:
        held = self._hub.markets
        dropped = [market for market in self._cursors if market not in held]
        for market in dropped:
            del self._cursors[market]
        if dropped:
            self._note_moved()


def _is_behind(cursor: str | None, head: str) -> bool:
    """Whether entries up to this end are still unread; None: nothing reads them."""
    return cursor is not None and _place(cursor) < _place(head)


def _place(cursor: str) -> tuple[int, int]:
    ms, _, number = cursor.partition("-")
    return int(ms), int(number)
