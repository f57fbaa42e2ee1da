"""Tails the push streams of the markets whose drivers this node holds."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import PushEntry, PushStream, StoreUnavailable

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

# How long a market that is new here may wait until it is tailed, too.
_BLOCK_MS: Final = 200
_RETRY_S: Final = 0.2


class Relay:
    """Hands every push of the followed markets to the hub, in the streams' order, none left out."""

    def __init__(
        self,
        pushes: PushStream,
        hub: Hub,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pushes = pushes
        self._hub = hub
        self._sleep = sleep
        self._cursors: dict[str, str] = {}
        self._followed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tail."""
        self._task = asyncio.create_task(self._tail(), name="relay")

    async def stop(self) -> None:
        """Tail no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def follow(self, market: str) -> None:
        """Miss no push of this market from now on. Call it with the session in the hub already.

        Raises `StoreUnavailable`.
        """
        if market not in self._cursors:
            head = await self._pushes.head(market)
            self._cursors.setdefault(market, head)
        self._followed.set()

    async def rewind(self, market: str) -> None:
        """Go on from the end of the market's stream: the store has lost writes, so the old place
        may lie ahead of what is pushed now. Call it while its sessions hold pushes back.

        Raises `StoreUnavailable`.
        """
        if market in self._cursors:
            self._cursors[market] = await self._pushes.head(market)

    async def _tail(self) -> None:
        while True:
            self._leave_empty_markets()
            if not self._cursors:
                self._followed.clear()
                await self._followed.wait()
            read_from = dict(self._cursors)
            try:
                entries = await self._pushes.read(read_from, _BLOCK_MS)
            except StoreUnavailable as problem:
                # The cursors stay: what was pushed meanwhile comes afterwards.
                _often.warning("relay waits for the store", reason=str(problem))
                await self._sleep(_RETRY_S)
                continue
            self._hand_on(entries, read_from)

    def _hand_on(self, entries: Sequence[PushEntry], read_from: Mapping[str, str]) -> None:
        rewound = {market for market in read_from if self._cursors[market] != read_from[market]}
        for entry in entries:
            if entry.market not in rewound:
                self._cursors[entry.market] = entry.cursor
                self._hub.relay(entry.market, entry.push)

    def _leave_empty_markets(self) -> None:
        held = self._hub.markets
        for market in [market for market in self._cursors if market not in held]:
            del self._cursors[market]
