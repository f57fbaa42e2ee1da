"""uvicorn's two protocols with the limits that they lack.

HTTP: a head must be complete within 5 s and 16 KiB, a body within 5 s more. Driver sockets: pings
and fragments count as frames, a phone that does not read is cut after 2 s, and frames are written
without a task or an `await`.
"""

import asyncio
import socket
import struct
from asyncio import BaseTransport, TimerHandle
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from engine.gateway.rate import FrameRate
from protocol.codes import Close

HEAD_WITHIN_S: Final = 5.0
BODY_WITHIN_S: Final = 5.0
MAX_HEAD_BYTES: Final = 16_384
SLOW_READER_S: Final = 2.0
CLOSE_WITHIN_S: Final = 3.0
WIRE: Final = "mallard.wire"
"""Under this name a socket's scope holds, in `state`, its `DriverSocketProtocol`."""

# What the kernel keeps of a phone's frames, besides 64 KiB in the transport. Left alone it grows to
# megabytes a socket before a slow reader shows.
_SEND_BUFFER_BYTES = 65_536
_LINGER_NOT = struct.pack("ii", 1, 0)


def cut(transport: asyncio.Transport) -> None:
    """End a connection at once, unsent bytes included: the peer does not take them anyway."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


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


class DriverSocketProtocol(WebSocketsSansIOProtocol):
    """A driver's socket. `send_frames` and `end` act at once; `on_writable` is called when a
    transport that was full takes frames again."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, WIRE: self}, _loop)
        self.close_timeout = CLOSE_WITHIN_S
        self.on_writable: Callable[[], None] | None = None
        self._slow: TimerHandle | None = None
        self._control: FrameRate | None = None

    @property
    def is_writable(self) -> bool:
        """Whether the transport takes frames without piling them up."""
        return self.writable.is_set()

    def refuse(self, status: HTTPStatus) -> None:
        """Answer the handshake with an HTTP status instead of the upgrade."""
        self.conn.send_response(self.conn.reject(status, ""))
        self.hang_up()

    def hang_up(self) -> None:
        """Send the answer to a handshake that did not lead to an upgrade, and close."""
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    def send_frames(self, payloads: Iterable[bytes | str]) -> None:
        """Write text frames (str) and binary frames (bytes), all in one go."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        try:
            for payload in payloads:
                if isinstance(payload, str):
                    self.conn.send_text(payload.encode())
                else:
                    self.conn.send_binary(payload)
        except InvalidState:  # the peer has just said goodbye; its close frame is being handled
            return
        self.transport.write(b"".join(self.conn.data_to_send()))

    def end(self, code: int, reason: str = "") -> None:
        """Close with this code, once; the reader's next event is the disconnect."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def connection_made(self, transport: BaseTransport) -> None:
        """Bound what the kernel keeps for a peer that does not read."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a connection that just went away (1006) from one closed without a code (1005)."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        self.on_writable = None
        if self.conn.close_rcvd is None and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the clock of a phone that does not read."""
        super().pause_writing()
        # Not stopped by a close: a close frame does not get through to it either.
        self._slow = self.loop.call_later(SLOW_READER_S, cut, self.transport)

    def resume_writing(self) -> None:
        """Stop the clock, and send what has waited."""
        super().resume_writing()
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        if self.on_writable is not None:
            self.on_writable()

    def handle_connect(self, event: Request) -> None:
        """Refuse two origins as any other wrong one; the handshake's own answer would be 400."""
        if len(event.headers.get_all("Origin")) > 1:
            self.refuse(HTTPStatus.FORBIDDEN)
        else:
            super().handle_connect(event)

    def handle_ping(self) -> None:
        """Answer, unless there were too many: each costs a write."""
        if not self._floods():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:  # noqa: ARG002 - we send no pings
        """Ignore it, unless there were too many."""
        self._floods()

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment, unless there were too many: empty ones never reach the size limit."""
        if not self._floods():
            super().handle_cont(event)

    def _floods(self) -> bool:
        if self._control is None:  # few apps ever send such a frame
            self._control = FrameRate()
        if not self._control.count(self.loop.time()):
            return False
        self.end(Close.RATE)
        return True


def wire_of(scope: Any) -> DriverSocketProtocol:
    """Return the protocol under an ASGI websocket scope. Raises `KeyError` under any other."""
    return cast(DriverSocketProtocol, scope["state"][WIRE])
