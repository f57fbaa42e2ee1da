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
    ``observe``: hears each call's name and seconds; ``on_refusal``: the code of each refusal.
    """

    def __init__(
        self,
        url: str,
        policies: Mapping[str, MarketPolicy],
        *,
        now_ms: Callable[[], int] | None = None,
        observe: Callable[[str, float], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(
            Link(url, greeting=load_commands()),
            policies,
            now_ms=now_ms,
            observe=observe,
            on_refusal=on_refusal,
        )
        self._tail = Link(url, name="mallard-tail")

    @property
    def outage(self) -> str | None:
        """See :attr:`engine.ports.Store.outage`."""
        outage = super().outage
        if outage is None and self._tail.is_away:
            return f"the store's pushes cannot be read: {self._tail.why_down}"
        return outage

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
