"""uvicorn's protocol of a WebSocket with the limits that it lacks.

Pings and fragments count as frames, a phone that does not read is cut after 2 s, and frames are
written without a task or an `await`.
"""

import asyncio
import contextlib
import socket
import struct
from asyncio import BaseTransport, TimerHandle
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from engine.gateway.rate import FrameRate
from protocol.codes import Close

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
        self._untie()

    def _untie(self) -> None:
        """Undo the circles of references, so that what a socket was goes with it: `gateway.tidy`
        keeps the garbage collector from walking through thousands of sockets to find them."""
        self.app_state.pop(WIRE, None)
        with contextlib.suppress(AttributeError):  # it ended within its handshake
            self.scope["state"].pop(WIRE, None)
        with contextlib.suppress(Exception):
            self.conn.parser.close()

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
