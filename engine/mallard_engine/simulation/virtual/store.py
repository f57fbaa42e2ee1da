"""The real store, its scripts and all, on a simulation's clock and line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DueEntry
from mallard_engine.simulation.virtual.client import TurnLink
from mallard_engine.storage.deadline_calls import UpkeepCalls
from mallard_engine.storage.scripts import load_commands

_EVENTS_A_READ = 5_000
# There is one node, it cannot die, and its beats are rare (`day.py`).
_LEASE_MS = 3_600_000


class SimulationStore(UpkeepCalls):
    """Keeps :class:`mallard_engine.ports.Store` in virtual time; ``now_ms`` is the clock."""

    lease_ms = _LEASE_MS

    def __init__(
        self, url: str, policies: Mapping[str, MarketPolicy], now_ms: Callable[[], int]
    ) -> None:
        self._turns = TurnLink(url, greeting=load_commands())
        super().__init__(self._turns, policies, now_ms=now_ms)
        self._now_ms = now_ms
        self._tail = self._turns

    @property
    def calls(self) -> int:
        """How many commands the store was sent."""
        return self._turns.calls

    async def connect(self) -> None:
        """Open the line and empty the store. :raises StoreUnavailable:"""
        await self._turns.connect()
        await self._turns.call("FLUSHALL")
        self._turns.watch(
            *(("ZRANGE", keys.key("due"), 0, 0, "WITHSCORES") for keys in self._keys.values())
        )

    async def close(self) -> None:
        """Hang up."""
        await self._turns.close()

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        """See :meth:`mallard_engine.ports.Store.due`. Most sweeps find nothing; they need not ask,
        since
        every exchange tells when the next entry is due."""
        heads = self._turns.seen()
        if heads is not None:
            head = heads[list(self._keys).index(market)]
            if not head or float(head[1]) > self._now_ms():
                await self._turns.answer(None)
                return ()
        return await super().due(market, limit)

    async def remember(self, market: str, driver: str, history: str) -> None:
        """Give a driver who has said hello, and is not yet available, a history of former days."""
        key = self._keys[market].key("drivers")
        record = msgspec.msgpack.decode(await self._turns.call("HGET", key, driver))
        record["history"] = history
        await self._turns.call("HSET", key, driver, msgspec.msgpack.encode(record))

    async def events(self, market: str) -> list[dict[str, Any]]:
        """The market's whole event stream, in order."""
        events: list[dict[str, Any]] = []
        cursor = "-"
        while True:
            entries = await self._turns.call(
                "XRANGE", self._keys[market].key("events"), cursor, "+", "COUNT", _EVENTS_A_READ
            )
            for _, (_, packed) in entries:
                events.append(msgspec.msgpack.decode(packed))
            if len(entries) < _EVENTS_A_READ:
                return events
            cursor = "(" + entries[-1][0].decode()
