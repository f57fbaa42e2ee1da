"""A node put together: the only part of the gateway that sees the store's own class."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

import structlog
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from mallard_engine.config.settings import ConfigError, Settings
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.context import Tasks
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway.auth import Tokens
from mallard_engine.gateway.drain import drain_sockets
from mallard_engine.gateway.driver_recovery import Recovery
from mallard_engine.gateway.gc_tuning import tune_gc
from mallard_engine.gateway.http.cors import Cors
from mallard_engine.gateway.http.problems import EXCEPTION_HANDLERS
from mallard_engine.gateway.http.rate_limits import RateLimiter, RateLimitMiddleware, limits_of
from mallard_engine.gateway.http.routes import api_routes, ops_routes
from mallard_engine.gateway.limits.client_address import TrustedProxies
from mallard_engine.gateway.limits.connections import Connections, DescriptorPlan
from mallard_engine.gateway.reloading import Read, fixed
from mallard_engine.gateway.socket.admission import Admission
from mallard_engine.gateway.socket.endpoint import DriverSocket
from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.position_batcher import PositionBatcher
from mallard_engine.gateway.socket.push_relay import Relay
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.timers import SocketTimeouts
from mallard_engine.gateway.token_keys import load_token_keys
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Quotas, StoreUnavailable
from mallard_engine.storage.client.errors import EmbeddedServerError
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.travel.sources import TravelSources, travel_sources
from mallard_protocol.codes import STORE_DOWN_CLOSE_S, Close

_log = structlog.get_logger(__name__)
_DRIVER_PATH: Final = "/v1/driver"
_LOOK_S: Final = 0.5
_INSPECT_S: Final = 15.0
_STOP_WITHIN_S: Final = 1.5
_LONGEST_ROUND_S: Final = 30.0


class StorageServer(Protocol):
    """Whoever owns an embedded server: see
    `mallard_engine.storage.embedded.server.EmbeddedServer`."""

    def revive(self, *, wait: bool = True) -> bool:
        """Start the server again if it has ended."""
        ...

    def fault(self) -> str | None:
        """Why what it answers is not kept; None: it is."""
        ...


class Node:
    """One engine node, to be served by `server.Server`; `app` is its ASGI application.

    `redis_url` names its store. `pace` is the contract's unless a test is in a hurry. `keeper`: the
    embedded server, looked after twice a second. `owns_process`: the process is this node's alone,
    and its garbage collector too.
    """

    def __init__(
        self,
        settings: Settings,
        places: Places,
        redis_url: str,
        *,
        timeouts: SocketTimeouts | None = None,
        keeper: StorageServer | None = None,
        store_down_close_s: float = STORE_DOWN_CLOSE_S,
        owns_process: bool = False,
    ) -> None:
        self.id: Final = f"node-{secrets.token_hex(6)}"
        self._fixed = fixed(settings)
        self.metrics = Metrics()
        self.tokens = Tokens(load_token_keys(settings))
        self.places = places
        policies = {market: settings.market_policy(market) for market in places.markets}
        self._policies: Mapping[str, MarketPolicy] = policies
        self.store = RedisStorage(
            redis_url,
            policies,
            observe=self.metrics.store_called,
            on_refusal=self.metrics.store_refused,
            on_alert=self.metrics.alert,
            embedded=keeper is not None,
            node=self.id,
            quotas=Quotas(settings.service_open_jobs, settings.service_stored_bytes),
            on_quota=self.metrics.quota_exceeded,
        )
        self.hub = Hub()
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
        self.limiter = RateLimiter(limits_of(settings), proxies, self.metrics.request_limited)
        self.services = SocketServices(
            limiter=self.limiter,
            admission=Admission(
                self.tokens, places.markets.keys(), settings.allowed_origins, proxies
            ),
            tokens=self.tokens,
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
        self._http = Starlette(
            routes=[
                WebSocketRoute(_DRIVER_PATH, self.socket),
                *api_routes(self.services, with_metrics=settings.ops_port is None),
            ],
            exception_handlers=EXCEPTION_HANDLERS,
            lifespan=self._lifespan,
        )
        # A path with a slash too many is another path: 404, not a redirect.
        self._http.router.redirect_slashes = False
        self.ops_app = Starlette(
            routes=ops_routes(self.services),
            exception_handlers=EXCEPTION_HANDLERS,
        )
        limited = RateLimitMiddleware(self._http, self.tokens, self.limiter)
        self._cors = Cors(limited, settings.allowed_origins)
        self._keeper = keeper
        self._store_down_close_s = store_down_close_s
        self._owns_process = owns_process
        self._is_started = False

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application. A driver's socket goes past the framework: its layers would hold
        kilobytes for as long as the socket lives, and each frame would pass through them all."""
        if scope["type"] == "websocket" and scope["path"] == _DRIVER_PATH:
            await self.socket(scope, receive, send)
        else:
            await self._cors(scope, receive, send)

    async def reload(self, read: Read) -> None:
        """Use the token keys, policies and places that ``read`` returns; it runs in a thread.

        Rounds under way end under the policy that they began with. Open sockets last until their
        tokens expire. Raises ``ConfigError``; then nothing has changed.
        """
        settings, places = await asyncio.to_thread(read)
        keys = await asyncio.to_thread(load_token_keys, settings)
        if lack := self.places.lack_of(places):
            raise ConfigError(f"places: {lack}: that takes a restart")
        policies = {market: settings.market_policy(market) for market in places.markets}
        travel = await self._travel_for(settings, places, policies)
        # From here on nothing can fail and nothing waits: no request sees half of it.
        self.tokens.use(keys)
        self.places.use(places)
        self._policies = policies
        self.store.use(policies)
        self.dispatcher.reload(policies, travel.now, travel.ahead)
        self.services.weigh_earnings = _weigh_earnings(policies)
        if travel is not self.travel:
            self._tasks.start(_close_later(self.travel), "close travel sources")
            self.travel = travel
        self._tasks.start(self._inspect(), "announce policies")
        if fixed(settings) != self._fixed:
            _log.warning("other settings have changed: they take effect at the next start")
        _log.info("configuration reloaded", node=self.id, malls=len(places.malls))

    async def _travel_for(
        self, settings: Settings, places: Places, policies: Mapping[str, MarketPolicy]
    ) -> TravelSources:
        """The sources of travel times; those in use if nothing that they depend on has changed."""
        zones = {market.id: market.time_zone for market in places.markets.values()}
        in_use = {market.id: market.time_zone for market in self.places.markets.values()}
        if policies == self._policies and zones == in_use:
            return self.travel
        return await asyncio.to_thread(travel_sources, settings, places, self.metrics)

    def leave(self) -> None:
        """Say that the node is not ready, and answer what waits; everything is served on."""
        if not self.services.leaving.is_set():
            self.services.leaving.set()
            self.connections.leaving = True
            _log.info("node leaves", node=self.id)

    async def drain(self) -> None:
        """Take no more sockets, and close those that are open as `drain` says."""
        self.leave()
        await drain_sockets(self.services, self.socket)

    async def start(self) -> None:
        """Connect to the store and begin to work; a node that has started already does nothing.

        The application's lifespan starts the node as well. A server that calls this first gets the
        error itself, where the lifespan protocol knows only its traceback.

        Raises `StoreUnavailable` and `LinkReplyError`; then nothing is left running.
        """
        if self._is_started:
            return
        try:
            await self.store.connect()
            await self.dispatcher.start()
        except BaseException:
            await self.store.close()
            await self._finish()
            raise
        self._is_started = True
        self.relay.start()
        self._tasks.start(self._watch_store(), "watch store")
        if self._owns_process:
            self._tasks.start(tune_gc(lambda: len(self.socket)), "tune gc")
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
        """Tell the store what it is still to know, if it listens."""
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._finish()
        except TimeoutError:
            _log.warning("no store to take leave of: the leases run out by themselves")
            await self.store.close()  # now every call fails at once
            await self._finish()
        finally:
            await self.store.close()

    async def _finish(self) -> None:
        await self._tasks.stop()
        await self.positions.close()
        await self.relay.stop()
        await self.dispatcher.stop()
        await self.travel.close()

    async def _watch_store(self) -> None:
        """Send the drivers elsewhere when the store has been away for too long, and look now and
        then at how it is set up."""
        clock = asyncio.get_running_loop().time
        inspect_s = clock() + _INSPECT_S
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._keeper is not None:
                self._look_after(self._keeper)
            if clock() >= inspect_s:
                inspect_s = clock() + _INSPECT_S
                await self._inspect()
            down_since = self.store.down_since
            if down_since is not None and clock() - down_since >= self._store_down_close_s:
                await self.hub.end_all(Close.NO_STORE)

    async def _inspect(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self.store.inspect()

    def _look_after(self, keeper: StorageServer) -> None:
        """Bring the embedded server back if it has ended, and see that it keeps what it answers."""
        fault = keeper.fault()
        if fault is None:
            try:
                if keeper.revive(wait=False):
                    _log.error("the embedded server had ended: it is started again")
            except (EmbeddedServerError, OSError) as error:
                fault = f"the embedded server did not start: {error}"
        if fault is not None and fault != self.store.fault:
            _log.error("the store does not keep what it answers: restart the node", reason=fault)
        self.store.fault = fault


def _weigh_earnings(policies: Mapping[str, MarketPolicy]) -> frozenset[str]:
    return frozenset(market for market, policy in policies.items() if policy.weights.earnings_s)


async def _close_later(travel: TravelSources) -> None:
    """Close sources that rounds under way may still ask."""
    try:
        await asyncio.sleep(_LONGEST_ROUND_S)
    finally:
        await travel.close()
