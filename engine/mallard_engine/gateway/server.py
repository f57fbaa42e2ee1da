"""uvicorn as this engine runs it: its protocols, its limits, and an end that loses nothing."""

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
from mallard_engine.gateway.socket.protocol import NOSNIFF, DriverSocketProtocol
from mallard_protocol.codes import MAX_FRAME_BYTES

_log = structlog.get_logger(__name__)

# With the usual linger (3 s) and the application's own end (1.5 s) under the 10 s that a drain may
# take.
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
    """Return uvicorn's configuration of a listener. Port 0: any free one."""
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
        # The contract has pings of its own, which an app's code sees.
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
    """What a server calls as it comes and goes.

    It awaits `prepare` before the application starts; an error of it ends `Server.run`. On the
    first signal it calls `leave`, so that health checks fail, serves on for `linger_s`, so that
    they are seen to fail, and awaits `release` while everything still runs. `listening` is
    called with the port. `reload` is called for each SIGHUP.
    """

    release: Callable[[], Awaitable[None]]
    leave: Callable[[], None] = lambda: None
    linger_s: float = 0.0
    listening: Callable[[int], None] = lambda _port: None
    reload: Callable[[], None] = lambda: None
    prepare: Callable[[], Awaitable[None]] = _nothing


class Server(uvicorn.Server):
    """Ends gracefully on the first signal, at once on the second.

    See `Lifecycle` for the beginning of the end; then the listeners close, requests under way are
    answered, and the application's own shutdown follows. `ops`: another listener.
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
        """The port that it listens on."""
        return _port_of(self.servers[0])

    @property
    def ops_port(self) -> int | None:
        """The port of its second listener, if it has one."""
        return _port_of(self.servers[1]) if self._ops is not None else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell where."""
        self._loop = asyncio.get_running_loop()
        await self._lifecycle.prepare()
        await super().startup(sockets)
        if not self.started:
            return
        if self._ops is not None:
            await self._listen(self._ops)
        self._lifecycle.listening(self.port)

    async def _listen(self, ops: uvicorn.Config) -> None:
        """Open the second listener; its connections end with those of the first."""
        loop = asyncio.get_running_loop()
        make = partial(TimeoutHttpProtocol, ops, self.server_state, {}, loop)
        try:
            server = await loop.create_server(make, ops.host, ops.port, backlog=ops.backlog)
        except OSError as error:
            _log.error("the port for health and metrics cannot be opened", reason=str(error))
            await self.shutdown()
            sys.exit(STARTUP_FAILURE)
        self.servers.append(server)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGHUP besides the signals that end a server: by default it kills."""
        before = signal.signal(signal.SIGHUP, self._hang_up)
        try:
            with super().capture_signals():
                yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _hang_up(self, _sig: int, _frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._lifecycle.reload)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - theirs
        """Begin the drain; a second signal ends it.

        uvicorn's own handler would close every socket with 1012 at once, and raise the signal again
        in the end, so that a drain that went well would look like a kill.
        """
        if self._loop is None or self.should_exit:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self.begin_exit)

    def begin_exit(self) -> None:
        """Drain and exit; called once more, exit."""
        if self._drain is not None:
            _log.warning("exit at once")
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
            _log.warning("drain cut short", after_s=_DRAIN_WITHIN_S)
        finally:
            self.should_exit = True


def _port_of(server: asyncio.base_events.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
