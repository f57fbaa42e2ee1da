"""Extends uvicorn's WebSocket protocol with limits and a direct path for frames.

Every frame counts towards the rate limit, and a client that does not read is disconnected after
2 s. A message is handled as it arrives and written where it is created, without a queue, a task or
an `await`. While a message must be awaited, or the socket has used up its share of a loop
iteration, the input after it stays in bytes and reading is paused.
"""

import asyncio
import contextlib
import struct
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
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
from mallard_engine.gateway.socket.transport.frame_parser import FrameParser, Piece
from mallard_engine.gateway.socket.transport.rate_limit import FrameRate
from mallard_engine.gateway.socket.transport.unsent import (
    UnsentWatch,
    abort,
    has_unsent,
    limit_unsent_time,
)
from mallard_engine.gateway.socket.transport.upgrade import (
    Header,
    acceptance,
    offered_subprotocols,
    plain_key,
)
from mallard_protocol.codes import Close, ProblemCode

_log = structlog.get_logger(__name__)

SLOW_READER_S: Final = 2.0
# Maximum time per loop iteration for the frames of one socket.
SLICE_S: Final = 0.004
CLOSE_WITHIN_S: Final = 3.0
# A device in a lift or a tunnel receives nothing for a while but should still get the close code.
UNSENT_WITHIN_S: Final = 20.0
UNSENT_AFTER_CLOSE_S: Final = 3.0
# Input that may follow a handshake before its response: a hello, and a little more.
MAX_EARLY_BYTES: Final = 65_536
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
"""Sent with every response: a browser must not guess another content type."""
PROTOCOL_KEY: Final = "mallard.protocol"
"""The key of the `DriverSocketProtocol` in the `state` of a socket's scope."""

_TEXT: Final = 0x81
_BINARY: Final = 0x82
_OPCODE: Final = 0x0F
_CLOSE: Final = 0x08
_LENGTH_IN_TWO: Final = 126
_LENGTH_IN_EIGHT: Final = 127


Handle = Callable[[bytes | str], Awaitable[None] | None]
"""Handles a message. Returns None if it is done, else what to await before the next message."""


class DriverSocketProtocol(WebSocketsSansIOProtocol):
    """A driver's socket.

    `send_frames` and `end` act at once. `on_writable` is called when a transport that was full is
    writable again. `read_messages` runs until the socket ends.
    """

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
        self._key: bytes | None = None  # of a plain handshake
        self._frames = FrameParser()
        # The frames of the input that is being parsed, and the input after it.
        self._pieces: Iterator[Piece] | None = None
        self._unread = b""
        self._is_read_scheduled = False
        # Handles messages as they arrive, while no earlier message is awaited.
        self._handle: Handle | None = None
        self._is_free = False
        self._watch = UnsentWatch(UNSENT_WITHIN_S, self.loop.time())

    @property
    def is_writable(self) -> bool:
        """Whether frames can be written without being buffered."""
        return self.writable.is_set()

    def take_over(
        self,
        transport: asyncio.Transport,
        peer: Peer | None,
        scope: Mapping[str, Any],
        url: bytes,
        early: bytes,
    ) -> None:
        """Start with a handshake that the HTTP protocol has read, and the input after it.

        Args:
            transport: the connection; its unsent bytes are limited already.
            peer: the connection as `Connections` counts it.
            scope: the request's.
            url: its target.
            early: the input after its head.
        """
        self._peer = peer
        self._early = early
        # As in `connection_made`, without asking the system for the addresses once more.
        self.connections.add(self)
        self.transport = transport
        self.server, self.client = scope["server"], scope["client"]
        self.scheme = "wss" if scope["scheme"] == "https" else "ws"
        transport.set_protocol(self)
        headers = scope["headers"]
        # The names are in lower case, as ASGI requires; the library does not change them.
        lines = b"".join([b"%s: %s\r\n" % header for header in headers])
        head = b"GET %s HTTP/1.1\r\n%s\r\n" % (url, lines)
        self._key = plain_key(url, headers, len(head))
        if self._key is not None:
            self._start(url, headers)
            return
        super().data_received(head)
        if not self.handshake_initiated:
            self.hang_up()  # the library's parser refused it; its response must be sent explicitly

    def _start(self, url: bytes, headers: Sequence[Header]) -> None:
        """Start the application for a plain handshake, as the library does for others."""
        self.handshake_initiated = True
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + url.decode(),
            "raw_path": self.root_path.encode() + url,
            "query_string": b"",
            "headers": headers,
            "subprotocols": offered_subprotocols(headers),
            "state": self.app_state,
            "extensions": {"websocket.http.response": {}},
        }
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _accept(self, key: bytes, subprotocol: str | None) -> None:
        """Open the socket of a plain handshake."""
        self.transport.write(acceptance(key, subprotocol, self.default_headers))
        self.handshake_complete = True
        # The library reads frames from now on instead of a handshake.
        self.conn.state = State.OPEN
        self.conn.parser = self.conn.parse()
        next(self.conn.parser)

    async def send(self, message: Any) -> None:
        """Send an ASGI event. After the handshake's response, handle the early input."""
        was_complete = self.handshake_complete
        is_accepted = message["type"] == "websocket.accept"
        if self._key is None or was_complete or not is_accepted:
            await super().send(message)
        elif not self.transport.is_closing():
            self._accept(self._key, message.get("subprotocol"))
        if self.handshake_complete and not was_complete:
            early, self._early = self._early, b""
            if early and not self.close_sent:
                self.data_received(early)

    def mark_authenticated(self) -> None:
        """Exempt the client from the limits of unauthenticated clients."""
        if self._peer is not None:
            self._peer.mark_authenticated()

    def refuse(self, problem: HttpProblem, reason: str) -> None:
        """Answer the handshake with a problem instead of the upgrade, and count it."""
        if self._peer is not None:
            self._peer.refused(reason)
        self.conn.send_response(_response(problem))
        self.hang_up()

    def hang_up(self) -> None:
        """Send the response to a handshake that was not upgraded, and close."""
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    async def read_messages(self, handle: Handle) -> int:
        """Pass every message to `handle`, in order; return the close code when the socket ends."""
        self._handle = handle
        try:
            while True:
                self._is_free = True
                self._read()
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
        """Handle messages at once while no earlier one is awaited."""
        if self._watch.is_due(now_s := self.loop.time()):
            unsent = has_unsent(self.transport)
            if self._watch.is_stuck(self.transport, now_s, has_unsent=unsent):
                abort(self.transport)
                return
        if not self.handshake_complete:  # the client does not wait for the response
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                abort(self.transport)
            return
        if self._unread:
            self._unread += data
            return
        self._unread = data
        if self._pieces is None:
            self._read()

    def _read(self) -> None:
        """Handle frames at once, or within the share of unauthenticated clients."""
        if self._peer is None or not self._peer.is_unauthenticated or not self._has_input:
            self._read_slice()
        elif not self._is_read_scheduled:
            self._is_read_scheduled = True
            self._peer.run(self._read_slice)
            if self._is_read_scheduled:
                self._pause_reading()

    @property
    def _has_input(self) -> bool:
        return self._pieces is not None or bool(self._unread)

    def _read_slice(self) -> None:
        """Handle frames until none is complete, one must be awaited or the time is used up."""
        self._is_read_scheduled = False
        is_unauthenticated = self._peer is not None and self._peer.is_unauthenticated
        slice_s = min(SLICE_S, UNAUTHENTICATED_SLICE_S) if is_unauthenticated else SLICE_S
        ends_s = perf_counter() + slice_s
        while self.close_sent or (self._is_free and self._handle is not None):
            if self._pieces is None:
                if not self._unread:
                    if self.rate.is_holding:
                        self.rate.handled(self.loop.time(), is_all=not self.read_paused)
                    self._resume_reading()
                    return
                self._pieces = self._frames.parse(self._unread)
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
                self._schedule_read()
                break
        if self._has_input:
            self._pause_reading()

    def _schedule_read(self) -> None:
        """Continue in a later loop iteration."""
        if not self._is_read_scheduled:
            self._is_read_scheduled = True
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
            # Only the peer's close frame still matters.
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
        """Handle a text message, or a message that came in fragments."""
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
            _log.debug("text message is not UTF-8", close=int(CloseCode.INVALID_DATA))
            self.end(CloseCode.INVALID_DATA)
            return
        self._take(text)

    def handle_parser_exception(self) -> None:
        """Close after a protocol error of the peer, which the library has described."""
        sent = self.conn.close_sent
        _log.debug("protocol error", close=sent.code if sent else 0, why=str(self.conn.parser_exc))
        super().handle_parser_exception()

    def _take(self, message: bytes | str) -> None:
        if self._handle is None:
            return
        try:
            rest = self._handle(message)
        except Exception as error:  # noqa: BLE001 - `read_messages` raises it, which ends the socket
            rest = self.loop.create_future()
            rest.set_exception(error)
        if rest is not None:
            self._is_free = False
            self.rate.hold(self.loop.time())
            self.queue.put_nowait(cast(Any, {"type": "mallard.rest", "rest": rest}))

    def send_frames(self, payloads: Iterable[bytes | str]) -> None:
        """Write text frames (str) and binary frames (bytes) in one call."""
        # Not open: the peer's close frame is being handled.
        if self.close_sent or self.conn.state is not State.OPEN or self.transport.is_closing():
            return
        self.transport.write(b"".join(map(frame, payloads)))

    def end(self, code: int, reason: str = "") -> None:
        """Close with this code; `read_messages` returns next. Further calls do nothing."""
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
        self._schedule_read()
        limit_unsent_time(self.transport, UNSENT_AFTER_CLOSE_S)
        self.close_timer = self.loop.call_later(self.close_timeout, self._on_close_timeout)

    def _on_close_timeout(self) -> None:
        """Close the transport: the peer has not answered the close frame."""
        if has_unsent(self.transport):
            abort(self.transport)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a lost connection (1006), as opposed to one closed without a code (1005)."""
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
        self._break_cycles()

    def _break_cycles(self) -> None:
        """Break reference cycles, so that a closed socket is freed by its reference count.

        `gc_tuning` keeps the garbage collector from scanning thousands of sockets to find them.
        """
        self.app_state.pop(PROTOCOL_KEY, None)
        with contextlib.suppress(AttributeError):  # it ended during its handshake
            self.scope["state"].pop(PROTOCOL_KEY, None)
        with contextlib.suppress(Exception):
            self.conn.parser.close()
        # The frames of their tracebacks refer to the connection, which refers to the errors.
        for error in (self.conn.handshake_exc, self.conn.parser_exc):
            if error is not None:
                error.__traceback__ = error.__context__ = None

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        super().pause_writing()
        # A close does not stop it: such a client does not read the close frame either.
        self._slow = self.loop.call_later(SLOW_READER_S, abort, self.transport)

    def resume_writing(self) -> None:
        """Stop the timer and send the queued frames."""
        super().resume_writing()
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        if self.on_writable is not None:
            self.on_writable()

    def handle_connect(self, event: Request) -> None:
        """Refuse two origins with 403, as any other wrong origin; the library would answer 400."""
        if len(event.headers.get_all("Origin")) > 1:
            self.refuse(HttpProblem(ProblemCode.FORBIDDEN, "two Origin headers"), "origin")
        else:
            super().handle_connect(event)

    def handle_pong(self, event: Frame) -> None:
        """Ignore it: the engine sends no WebSocket pings."""


def _response(problem: HttpProblem) -> Response:
    """Return a problem as a response of the WebSocket library."""
    answer = problem_response(problem)
    headers = Headers(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in (*answer.raw_headers, NOSNIFF, (b"connection", b"close"))
    )
    status = HTTPStatus(answer.status_code)
    return Response(status.value, status.phrase, headers, bytes(answer.body))


def frame(payload: bytes | str) -> bytes:
    """Return a server's frame around a complete message (RFC 6455, section 5.2)."""
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
    """Return the protocol of an ASGI WebSocket scope. Raises `KeyError` for other scopes."""
    return cast(DriverSocketProtocol, scope["state"][PROTOCOL_KEY])
