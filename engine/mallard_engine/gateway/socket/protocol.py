"""uvicorn's protocol of a WebSocket with the limits that it lacks, and a shorter way for frames.

Every frame counts towards the rate, a phone that does not read is cut after 2 s. A message is
handed on as it arrives and written where it is made: no queue, no task, no `await` on the way.
While a message must be awaited, or the socket has used up its share of a turn of the loop, what
came behind it waits as bytes and nothing more is read.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable, Iterable, Iterator
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, cast

import structlog
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import State

from mallard_engine.gateway.http.problems import HttpProblem, problem_response
from mallard_engine.gateway.limits.connections import Peer
from mallard_engine.gateway.limits.loop_share import SLICE_S as UNAUTHENTICATED_SLICE_S
from mallard_engine.gateway.socket.frame_parser import FrameParser, Piece
from mallard_engine.gateway.socket.rate_limit import FrameRate
from mallard_protocol.codes import Close, ProblemCode

_log = structlog.get_logger(__name__)

SLOW_READER_S: Final = 2.0
# So long at most frames of one socket are handled before the loop turns to others.
SLICE_S: Final = 0.004
CLOSE_WITHIN_S: Final = 3.0
# A phone in a lift or a tunnel takes nothing for a while, and is told why it was closed after that.
UNSENT_WITHIN_S: Final = 20.0
UNSENT_AFTER_CLOSE_S: Final = 3.0
# What may come right behind a handshake, before its answer: a hello, and a little more.
MAX_EARLY_BYTES: Final = 65_536
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
"""On every answer: a browser must not take it for anything else than it says."""
PROTOCOL_KEY: Final = "mallard.protocol"
"""Under this name a socket's scope holds, in `state`, its `DriverSocketProtocol`."""

# What the kernel keeps of a phone's frames, besides 64 KiB in the transport. Left alone it grows to
# megabytes a socket before a slow reader shows.
_SEND_BUFFER_BYTES = 65_536
_LINGER_NOT = struct.pack("ii", 1, 0)
_TEXT: Final = 0x81
_BINARY: Final = 0x82
_OPCODE: Final = 0x0F
_CLOSE: Final = 0x08
_LENGTH_IN_TWO: Final = 126
_LENGTH_IN_EIGHT: Final = 127


def cut(transport: asyncio.Transport) -> None:
    """End a connection at once, unsent bytes included: the peer does not take them anyway."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def limit_unsent(transport: asyncio.Transport, within_s: float) -> None:
    """Bound the bytes that the kernel keeps for a peer, and for how long (RFC 5482).

    The kernel ends a connection whose peer has taken nothing for so long, whether it is gone or
    does not read, also after we have closed it. Platforms without that option keep what they do.
    """
    raw = transport.get_extra_info("socket")
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT") and raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(within_s * 1000))


def has_unsent(transport: asyncio.Transport) -> bool:
    """Whether the peer has not taken all that was written to it."""
    if transport.get_write_buffer_size():
        return True
    raw = transport.get_extra_info("socket")
    if raw is None or raw.fileno() < 0 or not hasattr(termios, "TIOCOUTQ"):
        return False
    unsent = struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return bool(unsent)


Handle = Callable[[bytes | str], Awaitable[None] | None]
"""Takes a message; None when that is all, else what must be awaited before the next."""


class DriverSocketProtocol(WebSocketsSansIOProtocol):
    """A driver's socket. `send_frames` and `end` act at once; `on_writable` is called when a
    transport that was full takes frames again; `read_messages` reads until the end."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, PROTOCOL_KEY: self}, _loop)
        self.close_timeout = CLOSE_WITHIN_S
        self.on_writable: Callable[[], None] | None = None
        self._slow: TimerHandle | None = None
        self.rate: Final = FrameRate()
        self._peer: Peer | None = None
        self._early = b""
        self._frames = FrameParser()
        # The frames of the bytes that are being read, and the bytes behind them.
        self._pieces: Iterator[Piece] | None = None
        self._unread = b""
        self._reads_on_soon = False
        # Takes messages as they arrive, while nothing that came before waits.
        self._handle: Handle | None = None
        self._is_free = False

    @property
    def is_writable(self) -> bool:
        """Whether the transport takes frames without piling them up."""
        return self.writable.is_set()

    def take_over(
        self, transport: asyncio.Transport, peer: Peer | None, head: bytes, early: bytes
    ) -> None:
        """Begin with a handshake that the HTTP protocol has read, and what came right behind it."""
        self._peer = peer
        self._early = early
        limit_unsent(transport, UNSENT_WITHIN_S)
        self.connection_made(transport)
        transport.set_protocol(self)
        super().data_received(head)
        if not self.handshake_initiated:
            self.hang_up()  # its parser is stricter, and what it answers is not sent by itself

    async def send(self, message: Any) -> None:
        """Send an ASGI event; after the handshake's answer, take what came before it."""
        was_complete = self.handshake_complete
        await super().send(message)
        if self.handshake_complete and not was_complete:
            early, self._early = self._early, b""
            if early and not self.close_sent:
                self.data_received(early)

    def mark_authenticated(self) -> None:
        """The client has shown a good token: limits for strangers do not count it any more."""
        if self._peer is not None:
            self._peer.mark_authenticated()

    def refuse(self, problem: HttpProblem, reason: str) -> None:
        """Answer the handshake with a problem instead of the upgrade, and count it."""
        if self._peer is not None:
            self._peer.refused(reason)
        self.conn.send_response(_response(problem))
        self.hang_up()

    def hang_up(self) -> None:
        """Send the answer to a handshake that did not lead to an upgrade, and close."""
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    async def read_messages(self, handle: Handle) -> int:
        """Hand every message on, in order, until the socket ends; return the code of its close."""
        self._handle = handle
        try:
            while True:
                self._is_free = True
                self._read_on()
                event: Any = await self.queue.get()
                self._is_free = False
                match event["type"]:
                    case "mallard.rest":
                        await event["rest"]
                    case _:
                        return int(event.get("code") or 1005)
        finally:
            self._handle = None

    def data_received(self, data: bytes) -> None:
        """Hand messages on at once while nobody is busy with an earlier one."""
        if not self.handshake_complete:  # it does not wait for our answer
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                cut(self.transport)
            return
        if self._unread:
            self._unread += data
            return
        self._unread = data
        if self._pieces is None:
            self._read_on()

    def _read_on(self) -> None:
        """Handle frames: at once, or in a stranger's turn."""
        if self._peer is None or not self._peer.is_unauthenticated or not self._has_input:
            self._read_slice()
        elif not self._reads_on_soon:
            self._reads_on_soon = True
            self._peer.run(self._read_slice)
            if self._reads_on_soon:
                self._pause_reading()

    @property
    def _has_input(self) -> bool:
        return self._pieces is not None or bool(self._unread)

    def _read_slice(self) -> None:
        """Handle frames until none is whole, one must be awaited or the time is used up."""
        self._reads_on_soon = False
        is_unauthenticated = self._peer is not None and self._peer.is_unauthenticated
        slice_s = min(SLICE_S, UNAUTHENTICATED_SLICE_S) if is_unauthenticated else SLICE_S
        ends_s = perf_counter() + slice_s
        while self.close_sent or (self._is_free and self._handle is not None):
            if self._pieces is None:
                if not self._unread:
                    self._resume_reading()
                    return
                self._pieces = self._frames.cut(self._unread)
                self._unread = b""
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                continue
            self._take_piece(*piece)
            if self.transport.is_closing():
                self._pieces, self._unread = None, b""
                return
            if perf_counter() >= ends_s:
                self._read_on_soon()
                break
        if self._has_input:
            self._pause_reading()

    def _read_on_soon(self) -> None:
        """Go on in a later turn of the loop, after what others wait for."""
        if not self._reads_on_soon:
            self._reads_on_soon = True
            if self._peer is None:
                self.loop.call_soon(self._read_slice)
            else:
                self._peer.later(self._read_slice)

    def _pause_reading(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def _take_piece(self, message: bytes | None, other: bytes) -> None:
        if self.close_sent:
            # Only the peer's own close still matters.
            if message is None and other[0] & _OPCODE == _CLOSE:
                super().data_received(other)
            return
        if self.rate.count(self.loop.time(), len(other) if message is None else len(message)):
            self.end(Close.RATE)
        elif message is None:
            super().data_received(other)
        else:
            self._take(message)

    def send_receive_event_to_app(self) -> None:
        """Hand on a text, or a message that came in fragments."""
        data = b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type != "text":
            self._take(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            _log.debug("a text that is no UTF-8", close=int(CloseCode.INVALID_DATA))
            self.end(CloseCode.INVALID_DATA)
            return
        self._take(text)

    def handle_parser_exception(self) -> None:
        """Close: the peer breaks the protocol, and the library has said how."""
        sent = self.conn.close_sent
        _log.debug("a broken frame", close=sent.code if sent else 0, why=str(self.conn.parser_exc))
        super().handle_parser_exception()

    def _take(self, message: bytes | str) -> None:
        if self._handle is None:
            return
        try:
            rest = self._handle(message)
        except Exception as error:  # noqa: BLE001  the reader raises it, where it ends the socket
            rest = self.loop.create_future()
            rest.set_exception(error)
        if rest is not None:
            self._is_free = False
            self.queue.put_nowait(cast(Any, {"type": "mallard.rest", "rest": rest}))

    def send_frames(self, payloads: Iterable[bytes | str]) -> None:
        """Write text frames (str) and binary frames (bytes), all in one go."""
        # Not open: the peer has just said goodbye, and its close frame is being handled.
        if self.close_sent or self.conn.state is not State.OPEN or self.transport.is_closing():
            return
        self.transport.write(b"".join(map(frame, payloads)))

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
        self._resume_reading()
        self._read_on_soon()
        limit_unsent(self.transport, UNSENT_AFTER_CLOSE_S)
        self.close_timer = self.loop.call_later(self.close_timeout, self._close_at_last)

    def _close_at_last(self) -> None:
        """The peer has not answered the close. One that did not even take it is cut."""
        if has_unsent(self.transport):
            cut(self.transport)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a connection that just went away (1006) from one closed without a code (1005)."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        if self._peer is not None:
            self._peer.close()
        self._early = self._unread = b""
        self._pieces = None
        self.on_writable = None
        if self.conn.close_rcvd is None and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        super().connection_lost(exc)
        self._untie()

    def _untie(self) -> None:
        """Undo the circles of references, so that what a socket was goes with it: `gateway.tidy`
        keeps the garbage collector from walking through thousands of sockets to find them."""
        self.app_state.pop(PROTOCOL_KEY, None)
        with contextlib.suppress(AttributeError):  # it ended within its handshake
            self.scope["state"].pop(PROTOCOL_KEY, None)
        with contextlib.suppress(Exception):
            self.conn.parser.close()
        # Their frames lead back to the connection, and to its handshake, which holds them too.
        for error in (self.conn.handshake_exc, self.conn.parser_exc):
            if error is not None:
                error.__traceback__ = error.__context__ = None

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
            self.refuse(HttpProblem(ProblemCode.FORBIDDEN, "two Origin headers"), "origin")
        else:
            super().handle_connect(event)

    def handle_pong(self, event: Frame) -> None:
        """Ignore it: we send no pings of the protocol's own."""


def _response(problem: HttpProblem) -> Response:
    """Return a problem in the words of the WebSocket library."""
    answer = problem_response(problem)
    headers = Headers(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in (*answer.raw_headers, NOSNIFF, (b"connection", b"close"))
    )
    status = HTTPStatus(answer.status_code)
    return Response(status.value, status.phrase, headers, bytes(answer.body))


def frame(payload: bytes | str) -> bytes:
    """Return a server's frame around a whole message (RFC 6455, section 5.2)."""
    first = _BINARY
    if isinstance(payload, str):
        first, payload = _TEXT, payload.encode()
    size = len(payload)
    if size < _LENGTH_IN_TWO:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, _LENGTH_IN_TWO, size) + payload
    return struct.pack("!BBQ", first, _LENGTH_IN_EIGHT, size) + payload


def protocol_of(scope: Any) -> DriverSocketProtocol:
    """Return the protocol under an ASGI websocket scope. Raises `KeyError` under any other."""
    return cast(DriverSocketProtocol, scope["state"][PROTOCOL_KEY])
