"""Configures uvicorn with the engine's protocols and limits, and adds a graceful drain."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from mallard_engine.gateway.http.transport.protocol import EngineConfig, TimeoutHttpProtocol
from mallard_engine.gateway.limits.connections import MAX_BACKLOG, Connections
from mallard_engine.gateway.socket.transport.protocol import NOSNIFF, DriverSocketProtocol
from mallard_protocol.codes import MAX_FRAME_BYTES

_log = structlog.get_logger(__name__)

# Together with the default linger (3 s) and the application's shutdown (1.5 s), below the 10 s that
# a drain may take.
_DRAIN_WITHIN_S: Final = 4.3
_REQUESTS_WITHIN_S: Final = 1


def server_config(
    app: ASGIApp,
    host: str,
    port: int,
    connections: Connections | None = None,
    *,
    backlog: int = MAX_BACKLOG,
) -> EngineConfig:
    """Return uvicorn's configuration of a listener. Port 0 means any free port."""
    config = EngineConfig(
        app,
        interface="asgi3",
        host=host,
        port=port,
        loop="uvloop",
        http=TimeoutHttpProtocol,
        ws=DriverSocketProtocol,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        # The contract has its own pings, which are visible to an app.
        ws_ping_interval=None,
        ws_ping_timeout=None,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=[(NOSNIFF[0].decode(), NOSNIFF[1].decode())],
        backlog=backlog,
        timeout_graceful_shutdown=_REQUESTS_WITHIN_S,
    )
    config.connections = Connections() if connections is None else connections
    return config


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The callbacks of a server.

    Args:
        release: awaited after the linger, while everything still runs; disconnects the drivers.
        leave: called on the first signal; makes health checks fail.
        linger_s: how long to keep serving after `leave`, so that load balancers notice.
        listening: called with the port.
        reload: called for each SIGHUP.
        prepare: awaited before the application starts; its exceptions end `Server.run`.
    """

    release: Callable[[], Awaitable[None]]
    leave: Callable[[], None] = lambda: None
    linger_s: float = 0.0
    listening: Callable[[int], None] = lambda _port: None
    reload: Callable[[], None] = lambda: None
    prepare: Callable[[], Awaitable[None]] = _nothing


class Server(uvicorn.Server):
    """Stops gracefully on the first signal, at once on the second.

    After the callbacks of `Lifecycle` the listeners close, running requests are answered and the
    application shuts down.

    Args:
        config: the configuration of the main listener.
        lifecycle: the callbacks.
        ops: the configuration of a second listener, for health checks and metrics.
    """

    def __init__(
        self, config: uvicorn.Config, lifecycle: Lifecycle, *, ops: uvicorn.Config | None = None
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._ops = ops
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port of the main listener."""
        return _port_of(self.servers[0])

    @property
    def ops_port(self) -> int | None:
        """The port of the second listener; None without one."""
        return _port_of(self.servers[1]) if self._ops is not None else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the listeners and report the port."""
        self._loop = asyncio.get_running_loop()
        await self._lifecycle.prepare()
        await super().startup(sockets)
        if not self.started:
            return
        if self._ops is not None:
            await self._listen(self._ops)
        self._lifecycle.listening(self.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the listeners and then the application, after a second signal as well.

        uvicorn would leave the application to the end of the event loop, which cancels it: its
        framework then logs a traceback.
        """
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    async def _listen(self, ops: uvicorn.Config) -> None:
        """Open the second listener, which stops together with the first."""
        loop = asyncio.get_running_loop()
        make = partial(TimeoutHttpProtocol, ops, self.server_state, {}, loop)
        try:
            server = await loop.create_server(make, ops.host, ops.port, backlog=ops.backlog)
        except OSError as error:
            _log.error("cannot listen on the port for health and metrics", reason=str(error))
            await self.shutdown()
            sys.exit(STARTUP_FAILURE)
        self.servers.append(server)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Also handle SIGHUP, which terminates a process by default."""
        before = signal.signal(signal.SIGHUP, self._hang_up)
        try:
            with super().capture_signals():
                yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _hang_up(self, _sig: int, _frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._lifecycle.reload)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Start the drain; a second signal exits at once.

        uvicorn's handler would close every socket with 1012 at once and raise the signal again
        at the end, so that a successful drain would look like a kill.
        """
        if self._loop is None or self.should_exit:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self.begin_exit)

    def begin_exit(self) -> None:
        """Drain and exit; a second call exits at once."""
        if self._drain is not None:
            _log.warning("exiting at once")
            self._drain.cancel()
            self.should_exit = self.force_exit = True
        else:
            self._drain = asyncio.create_task(self._drain_and_exit(), name="drain")

    async def _drain_and_exit(self) -> None:
        try:
            self._lifecycle.leave()
            await asyncio.sleep(self._lifecycle.linger_s)
            async with asyncio.timeout(_DRAIN_WITHIN_S):
                await self._lifecycle.release()
        except TimeoutError:
            _log.warning("drain timed out", after_s=_DRAIN_WITHIN_S)
        finally:
            self.should_exit = True


def _port_of(server: asyncio.base_events.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
