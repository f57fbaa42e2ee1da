"""uvicorn's protocol of HTTP/1.1 with the limits that it lacks.

A head must be complete within 5 s and 16 KiB, a body within 5 s more; a client that does not read
is cut after 2 s.
"""

import asyncio
from asyncio import TimerHandle
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from engine.gateway.transport import SLOW_READER_S, DriverSocketProtocol, cut

HEAD_WITHIN_S: Final = 5.0
BODY_WITHIN_S: Final = 5.0
MAX_HEAD_BYTES: Final = 16_384


class PatientHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1, for so long and no longer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: TimerHandle | None = None
        self._slow: TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._wait_at_most(HEAD_WITHIN_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clocks()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless the head has grown too large."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; a socket has its own limits."""
        self._stop_clocks()
        if self._refused:
            return
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if isinstance(protocol, DriverSocketProtocol) and not protocol.handshake_initiated:
            protocol.hang_up()  # its parser is stricter, and what it answers is not sent by itself
        # Without its circles of references this object goes now, and not some time with a full
        # collection: one a socket.
        del self.parser, self.flow, self.scope

    def on_message_begin(self) -> None:
        """Start the clock of a request on a kept connection."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._deadline is None:
            self._wait_at_most(HEAD_WITHIN_S)

    def on_headers_complete(self) -> None:
        """Measure the head, which may have come in one piece with what follows it."""
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._refuse_head()
            return
        self._wait_at_most(BODY_WITHIN_S)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless the request was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock: the rest is up to us."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._in_head = True
        self._head_bytes = 0
        if not self._refused:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read."""
        super().pause_writing()
        self._slow = self.loop.call_later(SLOW_READER_S, cut, self.transport)

    def resume_writing(self) -> None:
        """Stop it."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        super().resume_writing()

    def _wait_at_most(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, cut, self.transport)

    def _stop_clocks(self) -> None:
        for clock in (self._deadline, self._slow):
            if clock is not None:
                clock.cancel()
        self._deadline = self._slow = None

    def _refuse_head(self) -> None:
        self._refused = True
        self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
