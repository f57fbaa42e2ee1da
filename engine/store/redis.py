"""The store: Redis (or Valkey), through one script a transition."""

import asyncio
from collections.abc import Callable, Mapping

from engine.market_policy import MarketPolicy
from engine.store.link import Link
from engine.store.scripts import load_commands
from engine.store.upkeep_calls import UpkeepCalls


class RedisStore(UpkeepCalls):
    """Keeps :class:`engine.ports.Store` on one Redis.

    ``policies``: every market's, by id. ``now_ms``: a simulation's clock, None for Redis's own.
    ``observe``: hears each call's name and seconds.
    """

    def __init__(
        self,
        url: str,
        policies: Mapping[str, MarketPolicy],
        *,
        now_ms: Callable[[], int] | None = None,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        super().__init__(
            Link(url, greeting=load_commands()), policies, now_ms=now_ms, observe=observe
        )
        self._tail = Link(url, name="mallard-tail")

    async def connect(self) -> None:
        """Open both lines. :raises StoreUnavailable:"""
        await asyncio.gather(self._link.connect(), self._tail.connect())
        self._heard(await self._server_ms())

    async def close(self) -> None:
        """Hang up."""
        await asyncio.gather(self._link.close(), self._tail.close())

    async def _server_ms(self) -> int:
        seconds, micros = await self._link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000
