"""Extends uvicorn's HTTP/1.1 protocol with limits.

- A connection handles one request at a time. The next one is not read before the response is
  written, and reading pauses while one waits. So a connection holds one request and one segment.
- A head must be complete within 5 s and 16 KiB, a body within 5 s more, and the next request must
  begin within 5 s of the last response. An empty line does not count as a beginning.
- A handler may allow a body more time while enough of it arrives: the photo of a phone with a bad
  network.
- A client that does not read its response is disconnected.
- An ambiguous request is refused with 400 (`head`).
- A finished request leaves no reference cycles, so the garbage collector has nothing to find.
"""

import asyncio
import urllib.parse
from asyncio import TimerHandle
from collections.abc import Callable
from functools import cache, partial
from time import perf_counter
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)
from uvicorn.server import ServerState

from mallard_engine.gateway.http.problems import HttpProblem, problem_response
from mallard_engine.gateway.http.transport.framing import Framing, HeadTooLarge, Malformed
from mallard_engine.gateway.http.transport.head import (
    VERSIONS,
    body_length,
    check_host,
    without_upgrade,
)
from mallard_engine.gateway.http.transport.request_cycle import Cycle, Flow
from mallard_engine.gateway.http.transport.signal import Signal
from mallard_engine.gateway.limits.connections import PEER, Connections, Peer
from mallard_engine.gateway.limits.loop_share import SLICE_S
from mallard_engine.gateway.socket.transport.protocol import (
    NOSNIFF,
    SLOW_READER_S,
    DriverSocketProtocol,
)
from mallard_engine.gateway.socket.transport.unsent import (
    abort,
    has_unsent,
    limit_unsent_bytes,
    limit_unsent_time,
)
from mallard_engine.gateway.socket.transport.upgrade import is_driver_target
from mallard_protocol.codes import ProblemCode

HEAD_WITHIN_S: Final = 5.0
BODY_WITHIN_S: Final = 5.0
MIN_BODY_BYTES: Final = 16_384
"""What must arrive within each `BODY_WITHIN_S` of a body that may take longer."""
KEEP_ALIVE_S: Final = 5.0
UNSENT_WITHIN_S: Final = 5.0
# A client whose connection ends with an error may still be sending. Its input is read and discarded
# up to these limits; otherwise it would see a reset instead of the response.
REFUSAL_WITHIN_S: Final = 1.0
_MAX_DISCARDED_BYTES: Final = 262_144
# A body that arrives after the response is discarded up to this size.
_MAX_UNREAD_BODY_BYTES: Final = 2 << 20
_MAX_RESPONSE_S: Final = 30.0
# Delay between the pipelined requests of an unauthenticated client, so that one connection cannot
# fill the event loop.
UNAUTHENTICATED_PAUSE_S: Final = 0.01
# Estimated CPU time that an unauthenticated client causes besides the parsing of its input.
_ACCEPT_COST_S: Final = 0.0002
_RESPONSE_COST_S: Final = 0.0005
_HANDSHAKE_COST_S: Final = 0.001
MAX_HELD_BODY_BYTES: Final = 65_536
"""Reading pauses while the application has this much of a body to read."""


class EngineConfig(Config):
    """uvicorn's configuration of one listener, with the counter of its connections."""

    connections: Connections


class TimeoutHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a time limit on each step of a request."""

    # In slots, so that the dictionary stays within the 30 keys that Python lets objects share.
    __slots__ = (
        *("_body_bytes", "_deadline", "_framing", "_has_begun", "_in_body", "_in_head"),
        *("_is_over", "_is_scheduled", "_limits", "_pause", "_peer", "_rest", "_slow"),
        *("_unread", "_wants_upgrade"),
    )

    cycle: Cycle | None  # type: ignore[assignment]
    flow: Flow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Requests are pipelined here as bytes. uvicorn's queue for them would take 760 bytes; it
        # cannot add to this one.
        self.pipeline = ()  # type: ignore[assignment]
        self._limits = cast(EngineConfig, config).connections
        self._peer: Peer | None = None
        self._framing = Framing()
        self._rest = b""  # unprocessed input, or an incomplete head
        self._is_scheduled = False  # input is handled in a later loop iteration
        self._in_head = False  # the parser is reading a head
        self._in_body = False  # the end of the request has not arrived
        self._has_begun = False  # the next head has begun to arrive
        self._is_over = False  # no more input is parsed
        self._wants_upgrade = False
        self._unread = 0
        self._body_bytes = 0  # that have arrived on this connection
        self._deadline: TimerHandle | None = None
        self._slow: TimerHandle | None = None
        self._pause: TimerHandle | None = None

    # -- transport callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request, unless there are too many connections."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        host = self.client[0] if self.client else ""
        self._peer = self._limits.open(host, partial(abort, transport))
        if self._peer is None:
            self._is_over = True
            abort(transport)
            return
        self._peer.charge(_ACCEPT_COST_S)
        limit_unsent_bytes(transport)
        limit_unsent_time(transport, UNSENT_WITHIN_S)
        self._wait_at_most(HEAD_WITHIN_S, self._on_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and drop all references."""
        self._stop_timers()
        if self._peer is not None:
            self._peer.close()
        self.connections.discard(self)
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.abort()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self._release()

    def data_received(self, data: bytes) -> None:
        """Buffer input and parse as much as this client may use now."""
        if self._is_over:
            self._discard(len(data))
        elif not self.transport.is_closing():
            self._rest = self._rest + data if self._rest else data
            self._schedule_advance()

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        super().pause_writing()
        if self._slow is None:
            self._check_reader(self.transport.get_write_buffer_size() + 1, self.loop.time())

    def resume_writing(self) -> None:
        """Stop the timer of a client that does not read."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Close after the current request, or at once if there is none."""
        if self.cycle is None:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # -- one request at a time

    def _schedule_advance(self, *, at_once: bool = True) -> None:
        """Parse input now, or when this client's share of the event loop allows it."""
        if self._peer is None or self._is_scheduled:
            return
        self._is_scheduled = True
        if at_once:
            self._peer.run(self._advance)
        else:
            self._peer.later(self._advance)
        if self._is_scheduled and not self._is_over:
            self.flow.hold()
            self._account()

    def _advance(self) -> None:
        self._is_scheduled = False
        ends_s = perf_counter() + SLICE_S
        has_more = True
        try:
            while has_more and self._rest and not self._is_over:
                has_more = self._take()
                if perf_counter() >= ends_s:
                    break
        except HeadTooLarge:
            self._refuse(ProblemCode.HEAD_TOO_LARGE)
        except (Malformed, httptools.HttpParserError):
            self._refuse(ProblemCode.BAD_REQUEST)
        if self._is_over:
            return
        if self._rest and has_more:
            self._schedule_advance(at_once=False)
            return
        if self._rest and self.cycle is not None:
            self.flow.hold()
        else:
            self.flow.release()
        self._account()

    def _take(self) -> bool:
        """Parse the next piece of input; return whether there may be more."""
        if self._in_body:
            self._take_body()
            return True
        if self.cycle is not None:
            if not self.cycle.keep_alive:
                self._rest = b""  # the connection closes after the current request
            return False
        span = self._framing.head(self._rest)
        if span is None:
            if not self._has_begun and self._rest.strip(b"\r\n"):
                self._has_begun = True
                self._wait_at_most(HEAD_WITHIN_S, self._on_too_slow)
            return False
        head, self._rest = self._rest[span[0] : span[1]], self._rest[span[1] :]
        self._take_head(head)
        return True

    def _take_head(self, head: bytes) -> None:
        self._in_head, self._in_body, self._wants_upgrade = True, True, False
        self._has_begun, self._unread = False, 0
        if self._peer is not None:
            self._peer.slow_body_s = 0.0
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._wants_upgrade = True
        # Outside of the except block: an exception raised in it would keep its frames alive.
        if self._wants_upgrade:
            self._upgrade(head)
            return
        if self._in_head:  # the parser disagrees about the end of the head
            raise Malformed
        if self._in_body:
            self._expect_body(self.loop.time())

    def _upgrade(self, head: bytes) -> None:
        """Switch to WebSocket on the drivers' path; treat any other request as a plain one."""
        wants_socket = self._should_upgrade() and self.scope["method"] == "GET"
        if wants_socket and is_driver_target(self.url):
            self._switch_to_websocket()
            return
        plain = without_upgrade(head)
        if plain == head:
            raise Malformed  # CONNECT
        self._new_parser()
        self._take_head(plain)

    def _take_body(self) -> None:
        taken, ends = self._framing.body(self._rest)
        piece, self._rest = self._rest[:taken], self._rest[taken:]
        self._body_bytes += taken
        self.parser.feed_data(piece)
        if self._in_body is ends:  # the parser disagrees about the end of the body
            raise Malformed

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header field; ignore trailers."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head and start the application."""
        self._in_head = False
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise Malformed
        check_host(version, self.headers)
        self.scope["method"] = self.parser.get_method().decode("ascii")
        if self.parser.should_upgrade():
            return
        length = body_length(version, self.headers)
        if length is None:
            self._framing.expect_chunks()
        else:
            self._framing.expect_length(length)
        self._start(version)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on; discard it if the request is answered already."""
        cycle = self.cycle
        if cycle is None:
            self._unread += len(body)
            if self._unread > _MAX_UNREAD_BODY_BYTES:
                raise Malformed
            return
        cycle.body += body
        if len(cycle.body) > MAX_HELD_BODY_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Stop the request's timer, or start that of the next request."""
        self._in_body = False
        self._framing.next_request()
        if self.parser.should_upgrade():
            return
        if self.cycle is None:
            self._wait_at_most(KEEP_ALIVE_S, self._on_idle)
            return
        self._stop_deadline()
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def _start(self, version: str) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        self.scope["state"][PEER] = self._peer
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        cycle = self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=Signal(),  # type: ignore[arg-type]
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive and not self._limits.leaving,
            on_response=self.on_response_complete,
        )
        if self._peer is not None:
            self._peer.charge(_RESPONSE_COST_S)
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """Drop the request and parse the next one."""
        self.server_state.total_requests += 1
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.forget()
        self.scope = self.headers = None  # type: ignore[assignment]
        if self._is_over or self.transport.is_closing():
            return
        if not self._in_body:
            self._wait_at_most(KEEP_ALIVE_S, self._on_idle)
        if self._rest and self._peer is not None and self._peer.is_unauthenticated:
            self._pause = self.loop.call_later(UNAUTHENTICATED_PAUSE_S, self._schedule_advance)
        else:
            self._schedule_advance()

    def _switch_to_websocket(self) -> None:
        """Give the connection to the WebSocket protocol, which has its own limits."""
        self._stop_timers()
        self._is_over = True
        self.flow.release()
        self.connections.discard(self)
        protocol = self.ws_protocol_class(  # type: ignore[call-arg, misc]
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.charge(_HANDSHAKE_COST_S)
        cast(DriverSocketProtocol, protocol).take_over(
            self.transport, peer, self.scope, self.url, self._rest
        )
        self._release()

    # -- closing

    def _refuse(self, code: ProblemCode) -> None:
        """Answer with a problem and close the connection."""
        self._limits.refuse(code.value)
        self._is_over = True
        self._rest = b""
        self._account()
        cycle, self.cycle = self.cycle, None
        has_started = cycle is not None and cycle.response_started
        if cycle is not None:
            cycle.abort()
        if has_started:
            abort(self.transport)
            return
        self.flow.release()
        self.transport.write(_refusal(code))
        self.transport.write_eof()
        self._unread = 0
        self._wait_at_most(REFUSAL_WITHIN_S, partial(abort, self.transport))

    def _discard(self, size: int) -> None:
        self._unread += size
        if self._unread > _MAX_DISCARDED_BYTES:
            abort(self.transport)

    def _expect_body(self, since_s: float) -> None:
        self._wait_at_most(
            BODY_WITHIN_S, partial(self._check_body, since_s, self._body_bytes + MIN_BODY_BYTES)
        )

    def _check_body(self, since_s: float, wanted: int) -> None:
        """Let the client continue if its body may take longer and enough of it has arrived."""
        longest_s = self._peer.slow_body_s if self._peer is not None else 0.0
        has_time = self.loop.time() - since_s + BODY_WITHIN_S <= longest_s
        if has_time and self._body_bytes >= wanted:
            self._expect_body(since_s)
        else:
            self._on_too_slow()

    def _on_too_slow(self) -> None:
        self._limits.refuse("slow")
        abort(self.transport)

    def _on_idle(self) -> None:
        if has_unsent(self.transport):
            self._on_unread_response()
        else:
            self.transport.close()

    def _on_unread_response(self) -> None:
        self._limits.refuse("unread")
        abort(self.transport)

    def _check_reader(self, left: int, since_s: float) -> None:
        """Disconnect a client that has read nothing since the last check or is too slow overall."""
        size = self.transport.get_write_buffer_size()
        if size >= left or self.loop.time() - since_s > _MAX_RESPONSE_S:
            self._on_unread_response()
        else:
            self._slow = self.loop.call_later(SLOW_READER_S, self._check_reader, size, since_s)

    def _wait_at_most(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_deadline()
        self._deadline = self.loop.call_later(seconds, then)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_timers(self) -> None:
        self._stop_deadline()
        for timer in (self._slow, self._pause):
            if timer is not None:
                timer.cancel()
        self._slow = self._pause = None

    def _account(self) -> None:
        """Report how much input is buffered; too much of all connections ends this one."""
        held = len(self._rest) + (len(self.cycle.body) if self.cycle is not None else 0)
        if self._peer is not None and not self._peer.hold(held):
            self._is_over = True
            self._rest = b""
            abort(self.transport)

    def _new_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _release(self) -> None:
        """Break the reference cycles, so that this object is freed by its reference count."""
        self._is_over = True
        self._rest = b""
        self.parser = self.scope = None  # type: ignore[assignment]


@cache
def _refusal(code: ProblemCode) -> bytes:
    """Return the bytes of the response to a request that did not reach the application."""
    response = problem_response(HttpProblem(code))
    headers = (*response.raw_headers, NOSNIFF, (b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)
