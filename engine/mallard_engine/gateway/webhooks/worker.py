"""The webhooks of a node: leases, fan-out, deliveries, and what disabling brings about.

Without endpoints it costs one read of a number a second.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Final

import structlog

from mallard_engine.core.webhooks.endpoints import Endpoint
from mallard_engine.gateway.events.tail import Tail
from mallard_engine.gateway.events.views import EventViews
from mallard_engine.gateway.webhooks.deliveries import Deliveries
from mallard_engine.gateway.webhooks.fan_out import FanOut, KnownEndpoints
from mallard_engine.gateway.webhooks.sender import Sender
from mallard_engine.logs import RateLimitedLog
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Leased, NoSuchWebhook, Revocation, Storage, StoreUnavailable
from mallard_engine.tasks import cancel, turn
from mallard_protocol.webhooks import DisabledReason

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)
_BEAT_S: Final = 1.0
# The pause after a beat for a changed endpoint. Changes during the pause share the next beat.
_CHANGES_S: Final = 0.05
# The longest delay until this node sees a delivery that another node has queued.
_POLL_S: Final = 0.1
# The delay after a call that failed, doubled for each that fails after it.
_RETRY_S: Final = 0.1
_LONGEST_RETRY_S: Final = 1.0


class WebhookWorker:
    """The webhooks of one node.

    Args:
        node: its name.
        store: the storage.
        markets: the markets that it serves.
        tail: the reader of the events.
        views: makes what readers see of events.
        sender: posts.
        metrics: counts.
    """

    def __init__(
        self,
        node: str,
        store: Storage,
        markets: Sequence[str],
        tail: Tail,
        views: EventViews,
        sender: Sender,
        metrics: Metrics,
    ) -> None:
        self._node = node
        self._store = store
        self._webhooks = store.webhooks
        self._markets = tuple(markets)
        self._sender = sender
        self._metrics = metrics
        self._endpoints = KnownEndpoints(store.webhooks)
        self._wake = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._beating = asyncio.Lock()
        self._fan_out = FanOut(
            store.webhooks,
            store.event_log,
            tail,
            self._endpoints,
            self._wake.set,
            store.now_ms,
        )
        self.deliveries = Deliveries(
            store.webhooks, views, sender, metrics, store.now_ms, self._wake.set
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._is_leaving = False
        # Whether there may be something to lease, or to give up. Without endpoints there is not.
        self._has_leases = False

    def start(self) -> None:
        """Begin to work."""
        self._tasks = [
            asyncio.create_task(self._beats(), name="webhook leases"),
            asyncio.create_task(self._lease_changed(), name="changed webhooks"),
            asyncio.create_task(self._send(), name="webhook deliveries"),
        ]

    def endpoint_changed(self) -> None:
        """Lease endpoints soon: one was created, changed or enabled, and may have no lease."""
        self._has_changed.set()

    def leave(self) -> None:
        """Begin no more deliveries; those under way continue."""
        self._is_leaving = True
        self.deliveries.work_on({})

    async def revoke(self, revocations: Collection[Revocation]) -> None:
        """Disable the endpoints whose owners' tokens were revoked.

        Every node does so: the one that was asked to revoke may have died, and one that learns of
        it late may have let a revoked token change endpoints. Those that were made or changed with
        newer tokens stay.

        Raises:
            StoreUnavailable: some may still be enabled.
        """

        def is_revoked(endpoint: Endpoint) -> bool:
            return any(
                (it.sub, it.role) == (endpoint.owner, endpoint.role.value)
                and endpoint.granted_ms <= it.until_ms
                and (not it.market or endpoint.reaches(it.market))
                for it in revocations
            )

        for endpoint in (await self._webhooks.all()).by_id.values():
            if endpoint.disabled is None and is_revoked(endpoint):
                await self._webhooks.disable(endpoint.id, DisabledReason.REVOKED)

    async def stop(self) -> None:
        """End all work and give up the leases."""
        if self._tasks:
            await cancel(*self._tasks)
            self._tasks = []
            await self._fan_out.stop()
            await self.deliveries.stop()
            with contextlib.suppress(StoreUnavailable):
                await self._webhooks.leave(self._node)
        await self._sender.close()

    async def _beats(self) -> None:
        while True:
            await self._beat()
            await turn(_BEAT_S)

    async def _lease_changed(self) -> None:
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            await self._beat()
            await asyncio.sleep(_CHANGES_S)

    async def _beat(self) -> None:
        """Renew the leases and work on what is leased. Log errors: another beat follows."""
        try:
            async with self._beating:
                await self._lease()
        except StoreUnavailable as problem:
            _often.warning("webhooks wait for Redis", reason=str(problem))
        except Exception as error:  # noqa: BLE001 - the next beat must come
            _often.error("webhook leases not renewed", example={"exc_info": error})

    async def _lease(self) -> None:
        if not self._has_leases:
            await self._endpoints.refresh(await self._webhooks.version())
            if not self._endpoints.known.by_id:
                return
        leased = await self._webhooks.beat(self._node, self._markets)
        await self._endpoints.refresh(leased.version)
        known = self._endpoints.known.by_id
        self._has_leases = bool(known or leased.endpoints or leased.markets)
        own = {name: known[name] for name in leased.endpoints if name in known}
        self.deliveries.work_on({} if self._is_leaving else own)
        await self._fan_out.work_on(leased.markets)
        if own:
            await self._fan_out.read_stored(own)
        await self._announce_disabled(leased)
        self._metrics.webhooks(len(own), leased.waiting)

    async def _announce_disabled(self, leased: Leased) -> None:
        """Write the events of endpoints that were disabled; repeated until it is done."""
        for name in leased.unannounced:
            with contextlib.suppress(NoSuchWebhook):
                endpoint = await self._webhooks.get(name)
                if endpoint.disabled is not None:
                    for market in filter(endpoint.reaches, self._markets):
                        await self._webhooks.announce_disabled(market, endpoint, endpoint.disabled)
            await self._webhooks.announced(name)

    async def _send(self) -> None:
        retry_s = _RETRY_S
        while True:
            try:
                more = await self.deliveries.send_due()
            except Exception as error:  # noqa: BLE001 - other deliveries must continue
                if isinstance(error, StoreUnavailable):
                    _often.warning("webhooks wait for Redis", reason=str(error))
                else:
                    _often.error(
                        "webhook deliveries failed unexpectedly", example={"exc_info": error}
                    )
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _LONGEST_RETRY_S)
                continue
            retry_s = _RETRY_S
            if more:
                # Deliveries that fall due meanwhile share the next call.
                await asyncio.sleep(0.01)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            self._wake.clear()
