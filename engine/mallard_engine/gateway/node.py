"""Composes a node. The only module of the gateway that knows how the storage is implemented."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import structlog
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from mallard_engine.config.policy_overrides import applied
from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.policy.override import PolicyOverride
from mallard_engine.core.webhooks.destinations import Destinations
from mallard_engine.dispatch.context import Tasks
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway.auth.revocations import RevokedTokens
from mallard_engine.gateway.auth.token_keys import load_token_keys
from mallard_engine.gateway.auth.tokens import Tokens
from mallard_engine.gateway.driver_recovery import Recovery
from mallard_engine.gateway.events.broadcast import Broadcast
from mallard_engine.gateway.events.streams import EventStreams
from mallard_engine.gateway.events.tail import Tail
from mallard_engine.gateway.events.views import EventViews
from mallard_engine.gateway.gc_tuning import tune_gc
from mallard_engine.gateway.http.cors import Cors
from mallard_engine.gateway.http.problems import EXCEPTION_HANDLERS
from mallard_engine.gateway.http.rate_limits import RateLimiter, RateLimitMiddleware, limits_of
from mallard_engine.gateway.http.routes import api_routes, ops_routes
from mallard_engine.gateway.limits.client_address import TrustedProxies
from mallard_engine.gateway.limits.connections import Connections, DescriptorPlan
from mallard_engine.gateway.membership.drain import drain_sockets
from mallard_engine.gateway.membership.presence import Presence
from mallard_engine.gateway.pages.routes import PageRoutes
from mallard_engine.gateway.pages.tracking import TrackingPage
from mallard_engine.gateway.proofs.bucket import BucketFiles
from mallard_engine.gateway.proofs.files import FolderFiles, ProofFiles
from mallard_engine.gateway.proofs.image_store import ImageStore
from mallard_engine.gateway.reloading import Read, restart_settings
from mallard_engine.gateway.socket.admission import Admission
from mallard_engine.gateway.socket.endpoint import DriverSocket
from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.payloads import transfer_card
from mallard_engine.gateway.socket.position_batcher import PositionBatcher
from mallard_engine.gateway.socket.push_relay import Relay
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.timers import SocketTimeouts
from mallard_engine.gateway.webhooks.sender import Sender
from mallard_engine.gateway.webhooks.worker import WebhookWorker
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Look, Quotas, StoreUnavailable
from mallard_engine.storage.client.errors import EmbeddedServerError
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.tasks import move_turns, turn, without_end
from mallard_engine.travel.sources import TravelSources, travel_sources
from mallard_protocol.codes import STORE_DOWN_CLOSE_S, Close

_log = structlog.get_logger(__name__)
_DRIVER_PATH: Final = "/v1/driver"
_CHECK_S: Final = 0.5
_INSPECT_S: Final = 15.0
_STOP_WITHIN_S: Final = 1.5
_LONGEST_ROUND_S: Final = 30.0


class StorageServer(Protocol):
    """The embedded Redis; see `mallard_engine.storage.embedded.server.EmbeddedServer`."""

    def revive(self, *, wait: bool = True) -> bool:
        """Restart the server if it has ended; return whether it had."""
        ...

    def fault(self) -> str | None:
        """Return why acknowledged writes are not persisted; None if they are."""
        ...


class Node:
    """One engine node, to be served by `server.Server`; `app` is its ASGI application.

    Args:
        settings: the settings.
        places: the markets that it serves.
        redis_url: the address of its store.
        timeouts: the timeouts of driver sockets; by default those of the contract.
        storage_server: the embedded server, supervised twice a second; None with an external store.
        store_down_close_s: drivers are disconnected when Redis is unavailable for this long.
        owns_process: nothing else runs in this process, so the node may tune its garbage collector.
    """

    def __init__(
        self,
        settings: Settings,
        places: Places,
        redis_url: str,
        *,
        timeouts: SocketTimeouts | None = None,
        storage_server: StorageServer | None = None,
        store_down_close_s: float = STORE_DOWN_CLOSE_S,
        owns_process: bool = False,
    ) -> None:
        self.id: Final = f"node-{secrets.token_hex(6)}"
        self._restart_settings = restart_settings(settings)
        self.metrics = Metrics()
        self.tokens = Tokens(load_token_keys(settings))
        self.places = places
        self._settings = settings
        policies = {market: settings.market_policy(market) for market in places.markets}
        self._policies: Mapping[str, MarketPolicy] = policies
        self.store = RedisStorage(
            redis_url,
            policies,
            observe=self.metrics.store_called,
            on_refusal=self.metrics.store_refused,
            on_alert=self.metrics.alert,
            embedded=storage_server is not None,
            node=self.id,
            quotas=Quotas(settings.service_open_jobs, settings.service_stored_bytes),
            on_quota=self.metrics.quota_exceeded,
        )
        self.hub = Hub()
        self.revoked = RevokedTokens(self.store.revocations, self.tokens)
        self.revoked.on_change.append(self.hub.end_revoked)
        self.travel = travel_sources(settings, places, self.metrics)
        self.dispatcher = Dispatcher(
            self.id,
            self.store,
            self.hub,
            places,
            policies,
            self.metrics,
            travel=self.travel.now,
            ahead=self.travel.ahead,
        )
        self.dispatcher.transfers.card = lambda mall, need, jobs: transfer_card(
            places.mall(mall), need, jobs
        )
        self.dispatcher.controls.use_policy = self._use_policy
        self.store.on_up = self.dispatcher.beat_now
        self.relay = Relay(self.store.pushes, self.hub)
        self._tasks = Tasks()
        self.dispatcher.recover = Recovery(
            self.hub, self.relay, self.dispatcher, self._tasks
        ).recover
        self.positions = PositionBatcher(
            self.dispatcher.drivers.positions,
            lambda market: self._policies[market].flush_ms,
            self.metrics,
        )
        proxies = TrustedProxies(settings.trusted_proxies)
        self.connections = Connections(
            most=settings.max_connections or DescriptorPlan.of_process().connections,
            most_per_address=settings.max_connections_per_address,
            proxies=proxies,
            refused=self.metrics.connection_refused,
        )
        self.images = ImageStore(self.store.proofs, _proof_files(settings))
        self.limiter = RateLimiter(limits_of(settings), proxies, self.metrics.request_limited)
        self.event_tail = Tail(self.store.event_log)
        public_url = (settings.public_url or "").rstrip("/")
        self.event_views = EventViews(self.store, public_url)
        self.streams = EventStreams(
            self.store.event_log,
            Broadcast(self.event_tail, self.event_views, self.metrics, self.store.now_ms),
            self.event_views,
            self.metrics,
            self.tokens.now_ms,
        )
        self.sender = Sender(Destinations.of(settings.webhook_allow))
        self.webhooks = WebhookWorker(
            self.id,
            self.store,
            tuple(places.markets),
            self.event_tail,
            self.event_views,
            self.sender,
            self.metrics,
        )
        self.revoked.on_subjects.append(self.webhooks.revoke)
        self.revoked.on_change.append(lambda: self.streams.end_revoked(self.revoked.covers))
        self.services = SocketServices(
            node=self.id,
            streams=self.streams,
            sender=self.sender,
            webhooks=self.webhooks,
            limiter=self.limiter,
            admission=Admission(
                self.tokens, places.markets.keys(), settings.allowed_origins, proxies
            ),
            tokens=self.tokens,
            images=self.images,
            public_url=public_url,
            revoked=self.revoked,
            base_policy=self.base_policy,
            dispatcher=self.dispatcher,
            store=self.store,
            places=places,
            hub=self.hub,
            relay=self.relay,
            positions=self.positions,
            metrics=self.metrics,
            connections=self.connections,
            timeouts=timeouts or SocketTimeouts(),
            weigh_earnings=_weigh_earnings(policies),
        )
        self.socket = DriverSocket(self.services)
        self.presence = Presence(
            self.store.nodes, self.id, self.hub, self.services.leaving.is_set, self.store.now_ms
        )
        self._http = Starlette(
            routes=[
                WebSocketRoute(_DRIVER_PATH, self.socket),
                *api_routes(self.services, with_metrics=settings.ops_port is None),
                *PageRoutes(map_style_url=settings.map_style_url).routes(),
                *TrackingPage(self.services).routes(),
            ],
            exception_handlers=EXCEPTION_HANDLERS,
            lifespan=self._lifespan,
        )
        # A path with an additional slash is another path: 404, not a redirect.
        self._http.router.redirect_slashes = False
        self.ops_app = Starlette(
            routes=ops_routes(self.services),
            exception_handlers=EXCEPTION_HANDLERS,
        )
        limited = RateLimitMiddleware(self._http, self.tokens, self.limiter)
        self._cors = Cors(limited, settings.allowed_origins)
        self._storage_server = storage_server
        self._store_down_close_s = store_down_close_s
        self._owns_process = owns_process
        self._is_started = False

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an ASGI scope.

        A driver's socket bypasses the framework, whose layers would hold kilobytes for the lifetime
        of the socket and forward each of its frames.
        """
        if scope["type"] == "websocket" and scope["path"] == _DRIVER_PATH:
            await self.socket(scope, receive, send)
        else:
            await self._cors(scope, receive, send)

    async def reload(self, read: Read) -> None:
        """Apply the token keys, policies and places that `read` returns.

        Running rounds finish with their old policy. Open sockets stay until their tokens expire.

        Args:
            read: reads the configuration; called in a thread.

        Raises:
            ConfigError: the configuration is invalid; then nothing has changed.
        """
        settings, places = await asyncio.to_thread(read)
        keys = await asyncio.to_thread(load_token_keys, settings)
        if lack := self.places.lack_of(places):
            raise ConfigError(f"places: {lack}: that requires a restart")
        travel = await self._travel_for(settings, places, self._effective(settings, places))
        try:
            # Operators may have changed theirs while the sources were built.
            policies = self._effective(settings, places)
        except ConfigError:
            if travel is not self.travel:
                await travel.close()
            raise
        # No failure and no await from here on, so that no request sees a partial change.
        self._settings = settings
        self.tokens.use(keys)
        self.places.use(places)
        self._use(policies, travel)
        if travel is not self.travel:
            self._tasks.start(_close_after_rounds(self.travel), "close travel sources")
            self.travel = travel
        self._tasks.start(self._inspect(), "announce policies")
        if restart_settings(settings) != self._restart_settings:
            _log.warning("other settings have changed and take effect at the next start")
        _log.info("configuration reloaded", node=self.id, malls=len(places.malls))

    def _effective(self, settings: Settings, places: Places) -> Mapping[str, MarketPolicy]:
        """Return the policies of a configuration with what operators have set."""
        controls = self.dispatcher.controls
        return {
            market: applied(settings.market_policy(market), controls.policy(market))
            for market in places.markets
        }

    def base_policy(self, market: str) -> MarketPolicy:
        """Return the policy of the configuration alone."""
        return self._settings.market_policy(market)

    def _use(self, policies: Mapping[str, MarketPolicy], travel: TravelSources) -> None:
        self._policies = policies
        self.store.use(policies)
        overrides = self.dispatcher.controls.policies
        self.store.use_versions({market: it.version for market, it in overrides.items()})
        self.dispatcher.reload(policies, travel.now, travel.ahead)
        self.services.weigh_earnings = _weigh_earnings(policies)

    async def _use_policy(self, market: str, override: PolicyOverride) -> None:
        """Use what operators have set of a market's policy, from its next round on."""
        try:
            policy = applied(self._settings.market_policy(market), override)
        except ConfigError as error:
            # It was good under the configuration of the node that took it.
            _log.error("policy refused: the old one stays in use", market=market, reason=str(error))
            return
        self._use({**self._policies, market: policy}, self.travel)
        self._tasks.start(self._inspect(), "announce policies")
        _log.info("policy changed", market=market, version=override.version, by=override.actor)

    async def _travel_for(
        self, settings: Settings, places: Places, policies: Mapping[str, MarketPolicy]
    ) -> TravelSources:
        """Return the travel-time sources; the current ones if their configuration is the same."""
        zones = {market.id: market.time_zone for market in places.markets.values()}
        in_use = {market.id: market.time_zone for market in self.places.markets.values()}
        if policies == self._policies and zones == in_use:
            return self.travel
        return await asyncio.to_thread(travel_sources, settings, places, self.metrics)

    def leave(self) -> None:
        """Report the node as not ready and answer waiting requests; keep serving."""
        if not self.services.leaving.is_set():
            self.services.leaving.set()
            self.connections.leaving = True
            self.streams.end_all()
            self.webhooks.leave()
            _log.info("node leaving", node=self.id)

    async def drain(self) -> None:
        """Refuse new sockets and close the open ones; see `drain`."""
        self.leave()
        await drain_sockets(self.services, self.socket)

    async def start(self) -> None:
        """Connect to Redis and start working. Further calls do nothing.

        The application's lifespan also starts the node. A server that calls this first gets the
        exception, of which the lifespan protocol passes only the traceback.

        Raises:
            StoreUnavailable: nothing is left running.
            LinkReplyError: nothing is left running.
        """
        if self._is_started:
            return
        try:
            await self.store.connect()
            try:
                await self.revoked.refresh()
            except StoreUnavailable as error:
                if self.store.outage is not None:
                    raise
                # A cluster's server is away: `follow` reads them once it is back.
                _log.warning("revoked tokens are not known yet", reason=str(error))
            await self.dispatcher.start()
        except BaseException:
            await self.store.close()
            await self._finish()
            raise
        self._is_started = True
        self.relay.start()
        self.event_tail.start()
        self.webhooks.start()
        lasting: dict[str, Callable[[], Awaitable[None]]] = {
            "watch store": self._watch_store,
            "remove proofs": partial(self.images.keep_removing, self._with_gone_images),
            "follow revocations": self.revoked.follow,
            "announce node": self.presence.follow,
        }
        if self._owns_process:
            lasting["tune gc"] = partial(tune_gc, lambda: len(self.socket))
        for name, work in lasting.items():
            self._tasks.start(without_end(work, name), name)
        _log.info("node up", node=self.id, markets=list(self.places.markets))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self.start()
        try:
            async with self.metrics.watching_loop():
                yield
        finally:
            await self._stop()
            _log.info("node down", node=self.id)

    async def _stop(self) -> None:
        """Finish all work, and report it to Redis if that is available."""
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._finish()
        except TimeoutError:
            _log.warning("Redis unavailable at shutdown: the leases will expire")
            await self.store.close()  # from now on every call fails at once
            await self._finish()
        finally:
            await self.store.close()

    async def _finish(self) -> None:
        await self._tasks.stop()
        await self.positions.close()
        await self.relay.stop()
        await self.webhooks.stop()
        await self.event_tail.stop()
        await self.dispatcher.stop()
        await self.presence.stop()
        await self.travel.close()
        await self.images.close()

    async def _with_gone_images(self) -> Sequence[str]:
        look = Look.GONE_IMAGES
        return (await self.store.deadlines.look(sorted(self.places.markets), (look,)))[look]

    async def _watch_store(self) -> None:
        """Disconnect drivers when Redis is unavailable for too long; inspect its set-up."""
        clock = asyncio.get_running_loop().time
        inspect_s = clock() + _INSPECT_S
        while True:
            await turn(_CHECK_S)
            # Redis handles what nodes at rest send at the same time without waking for each. With
            # drivers, each node has moments of its own: calls would wait for all nodes' leases.
            move_turns(self.store.now_ms() / 1000 if self.dispatcher.is_at_rest else None)
            if self._storage_server is not None:
                self._supervise(self._storage_server)
            if clock() >= inspect_s:
                inspect_s = clock() + _INSPECT_S
                await self._inspect()
            for market in self.hub.markets:
                down_since = self.store.down_since(market)
                if down_since is not None and clock() - down_since >= self._store_down_close_s:
                    await self.hub.end_all(Close.NO_STORE, market)

    async def _inspect(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self.store.inspect(self.dispatcher.share)
        now_ms = self.store.now_ms()
        self.metrics.archives_here(self.store.archive_lags)
        for market, lag in self.store.archive_lags.items():
            since_ms = now_ms if lag.oldest_ms is None else lag.oldest_ms
            lag_s = max(0, now_ms - since_ms) / 1000
            self.metrics.archive_behind(market, lag_s=lag_s, waiting=lag.waiting, lost=lag.lost)

    def _supervise(self, storage_server: StorageServer) -> None:
        """Restart the embedded server if it has ended, and check that it persists its writes."""
        fault = storage_server.fault()
        if fault is None:
            try:
                if storage_server.revive(wait=False):
                    _log.error("the embedded server had ended and was restarted")
            except (EmbeddedServerError, OSError) as error:
                fault = f"the embedded server did not start: {error}"
        if fault is not None and fault != self.store.fault:
            _log.error(
                "the store does not persist acknowledged writes: restart the node", reason=fault
            )
        self.store.fault = fault


def _proof_files(settings: Settings) -> ProofFiles:
    if settings.proofs_bucket is not None:
        return BucketFiles(settings.proofs_bucket, settings.proofs_endpoint)
    return FolderFiles(settings.proofs_folder)


def _weigh_earnings(policies: Mapping[str, MarketPolicy]) -> frozenset[str]:
    return frozenset(market for market, policy in policies.items() if policy.weights.earnings_s)


async def _close_after_rounds(travel: TravelSources) -> None:
    """Close sources once the running rounds that may use them have ended."""
    try:
        await asyncio.sleep(_LONGEST_ROUND_S)
    finally:
        await travel.close()
