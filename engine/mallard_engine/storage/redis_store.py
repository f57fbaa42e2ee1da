"""The store: Redis (or Valkey), through one script a transition."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import structlog

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import NO_QUOTAS, Quotas
from mallard_engine.storage import schema
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.deadline_calls import UpkeepCalls
from mallard_engine.storage.fitness import inspect
from mallard_engine.storage.policy_agreement import disagreements, fingerprint
from mallard_engine.storage.scripts import load_commands

_log = structlog.get_logger(__name__)


class RedisStore(UpkeepCalls):
    """Keeps :class:`mallard_engine.ports.Store` on one Redis.

    ``policies``: every market's, by id. ``now_ms``: a simulation's clock, None for Redis's own.
    ``observe``: hears each call's name and seconds; ``on_refusal``: the code of each refusal.
    ``embedded``: this process started the server, and syncs its log. ``node``: the name under which
    this node's policies are compared with those of others; empty: they are not.
    ``on_alert``: the kind of each alert that a call raised, also one that was refused.
    ``quotas``: of each service in each market; ``on_quota`` hears which one refused a job.
    ``on_up``: called when the line is open, again after each outage.
    """

    def __init__(
        self,
        url: str,
        policies: Mapping[str, MarketPolicy],
        *,
        now_ms: Callable[[], int] | None = None,
        observe: Callable[[str, float], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
        on_alert: Callable[[str], None] | None = None,
        embedded: bool = False,
        node: str = "",
        quotas: Quotas = NO_QUOTAS,
        on_quota: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(
            Link(url, greeting=load_commands(), on_up=self._opened),
            policies,
            now_ms=now_ms,
            observe=observe,
            on_refusal=on_refusal,
            on_alert=on_alert,
        )
        self.on_up: Callable[[], None] | None = None
        self._tail = Link(url, name="mallard-tail")
        self._embedded = embedded
        self._node = node
        self._quotas = quotas
        self._on_quota = on_quota
        self._warnings: Sequence[str] = ()

    def use(self, policies: Mapping[str, MarketPolicy]) -> None:
        """See `Calls.use`. The next `inspect` tells the other nodes."""
        super().use(policies)
        self._prints = {market: fingerprint(policy) for market, policy in policies.items()}

    @property
    def outage(self) -> str | None:
        """See :attr:`mallard_engine.ports.Store.outage`."""
        outage = super().outage
        if outage is None and self._tail.is_away:
            return f"the store's pushes cannot be read: {self._tail.why_down}"
        return outage

    @property
    def warnings(self) -> Sequence[str]:
        """See :attr:`mallard_engine.ports.Store.warnings`."""
        return self._warnings

    async def connect(self) -> None:
        """Open both lines and leave this version's mark. Raises `StoreUnavailable`."""
        await asyncio.gather(self._link.connect(), self._tail.connect())
        # A full or read-only store can still be read, and drivers with work may finish it: the
        # mark is left at a later start.
        with contextlib.suppress(LinkReplyError):
            await schema.mark(self._link)
        self._heard(await self._server_ms())
        await self.inspect()

    async def inspect(self) -> None:
        """Look at how the store is set up, and log what has come up since. :raises
        StoreUnavailable:"""
        found = await inspect(self._link.call, embedded=self._embedded)
        texts = [finding.text for finding in found]
        if self._node:
            now_ms = await self._server_ms()
            with contextlib.suppress(LinkReplyError):  # it refuses writes, which is said elsewhere
                texts += await disagreements(self._link.call, self._node, self._prints, now_ms)
        before, self._warnings = self._warnings, tuple(texts)
        for text in self._warnings:
            if text not in before:
                _log.warning("the store is not set up well", why=text)

    def _opened(self) -> None:
        self._line += 1
        if self.on_up is not None:
            self.on_up()

    async def close(self) -> None:
        """Hang up."""
        await asyncio.gather(self._link.close(), self._tail.close())

    async def _server_ms(self) -> int:
        seconds, micros = await self._link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000
