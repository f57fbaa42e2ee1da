"""uvicorn as this engine runs it: its protocols, its limits, and an end that loses nothing."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from engine.gateway.connections import MAX_BACKLOG, Connections
from engine.gateway.http_transport import NOSNIFF, EngineConfig, PatientHttpProtocol
from engine.gateway.transport import DriverSocketProtocol
from protocol.codes import MAX_FRAME_BYTES

_log = structlog.get_logger(__name__)

# Together under the 10 s that a drain may take.
_DRAIN_WITHIN_S: Final = 6.5
_REQUESTS_WITHIN_S: Final = 2


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
        http=PatientHttpProtocol,
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


class Server(uvicorn.Server):
    """Ends gracefully on the first signal, at once on the second.

    `let_go` is awaited while everything still runs; then the listener closes, requests under way
    are answered, and the application's own shutdown follows. `listening` is called with the port.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        let_go: Callable[[], Awaitable[None]],
        listening: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._let_go = let_go
        self._listening = listening
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started and self._listening is not None:
            self._listening(self.port)

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
            async with asyncio.timeout(_DRAIN_WITHIN_S):
                await self._let_go()
        except TimeoutError:
            _log.warning("drain cut short", after_s=_DRAIN_WITHIN_S)
        finally:
            self.should_exit = True
