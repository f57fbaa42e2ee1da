"""uvicorn's protocol of HTTP/1.1 with the limits that it lacks.

- One request of a connection at a time: the next is not read before the answer is written, and
  reading pauses while one waits. So a connection holds one request and one segment of input.
- A head must be complete within 5 s and 16 KiB, a body within 5 s more, the next request within 5 s
  of the last answer. Only the first byte of a request stops that clock, not an empty line.
- A client that does not take its answer is cut.
- What is ambiguous is refused with 400 (`http_head`).
- A finished request is forgotten at once; nothing here waits for the garbage collector.
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
from mallard_engine.gateway.limits.connections import PEER, Connections, Peer
from mallard_engine.gateway.limits.loop_share import SLICE_S
from mallard_engine.gateway.socket.protocol import (
    NOSNIFF,
    SLOW_READER_S,
    DriverSocketProtocol,
    cut,
    has_unsent,
    limit_unsent,
)
from mallard_protocol.codes import ProblemCode

HEAD_WITHIN_S: Final = 5.0
BODY_WITHIN_S: Final = 5.0
KEEP_ALIVE_S: Final = 5.0
UNSENT_WITHIN_S: Final = 5.0
# A client whose connection ends with an error may still be sending: so much longer, and so much
# more, is read and thrown away, or it would see a reset instead of the answer.
REFUSAL_WITHIN_S: Final = 1.0
_MAX_DISCARDED_BYTES: Final = 262_144
# A body that comes after its request was answered is thrown away, up to here.
_MAX_UNREAD_BODY_BYTES: Final = 2 << 20
_MAX_ANSWER_S: Final = 30.0
# Between the pipelined requests of a client that has shown no good token: one connection must not
# fill the event loop.
UNAUTHENTICATED_PAUSE_S: Final = 0.01
# What strangers cause besides the reading of their input, about: an accept, an answer, a handshake.
_ACCEPT_COST_S: Final = 0.0002
_ANSWER_COST_S: Final = 0.0005
_HANDSHAKE_COST_S: Final = 0.001
MAX_HELD_BODY_BYTES: Final = 65_536
"""Reading pauses while so much of a body waits for the application."""


class EngineConfig(Config):
    """uvicorn's configuration of one listener, and the connections that it counts."""

    connections: Connections


class TimeoutHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1, for so long and no longer."""

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
        self._limits = cast(EngineConfig, config).connections
        self._peer: Peer | None = None
        self._framing = Framing()
        self._rest = b""  # input that waits for its turn, or for the rest of its head
        self._waits_for_turn = False  # what was read is handled in a later turn of the loop
        self._in_head = False  # the parser is reading a head
        self._in_body = False  # the request's end has not come yet
        self._has_begun = False  # bytes of the next head have come
        self._is_over = False  # nothing is read any more
        self._wants_upgrade = False
        self._unread = 0
        self._deadline: TimerHandle | None = None
        self._slow: TimerHandle | None = None
        self._pause: TimerHandle | None = None

    # -- the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request, unless there are too many connections."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        host = self.client[0] if self.client else ""
        self._peer = self._limits.open(host, partial(cut, transport))
        if self._peer is None:
            self._is_over = True
            cut(transport)
            return
        self._peer.charge(_ACCEPT_COST_S)
        limit_unsent(transport, UNSENT_WITHIN_S)
        self._wait_at_most(HEAD_WITHIN_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks and forget everything."""
        self._stop_clocks()
        if self._peer is not None:
            self._peer.close()
        self.connections.discard(self)
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.break_off()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self._forget()

    def data_received(self, data: bytes) -> None:
        """Take input, as far as it is its turn."""
        if self._is_over:
            self._discard(len(data))
        elif not self.transport.is_closing():
            self._rest = self._rest + data if self._rest else data
            self._advance_in_turn()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read."""
        super().pause_writing()
        if self._slow is None:
            self._look_at_reader(self.transport.get_write_buffer_size() + 1, self.loop.time())

    def resume_writing(self) -> None:
        """Stop it."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Finish the request under way, if there is one, and close."""
        if self.cycle is None:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # -- one request after the other

    def _advance_in_turn(self, *, at_once: bool = True) -> None:
        """Take input now, or when it is the turn of this client."""
        if self._peer is None or self._waits_for_turn:
            return
        self._waits_for_turn = True
        if at_once:
            self._peer.run(self._advance)
        else:
            self._peer.later(self._advance)
        if self._waits_for_turn and not self._is_over:
            self.flow.hold()
            self._hold()

    def _advance(self) -> None:
        self._waits_for_turn = False
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
            self._advance_in_turn(at_once=False)
            return
        if self._rest and self.cycle is not None:
            self.flow.hold()
        else:
            self.flow.release()
        self._hold()

    def _take(self) -> bool:
        """Take the next piece of input; return whether there may be more to take."""
        if self._in_body:
            self._take_body()
            return True
        if self.cycle is not None:
            if not self.cycle.keep_alive:
                self._rest = b""  # what follows the last request is no request
            return False
        span = self._framing.head(self._rest)
        if span is None:
            if not self._has_begun and self._rest.strip(b"\r\n"):
                self._has_begun = True
                self._wait_at_most(HEAD_WITHIN_S, self._too_slow)
            return False
        head, self._rest = self._rest[span[0] : span[1]], self._rest[span[1] :]
        self._take_head(head)
        return True

    def _take_head(self, head: bytes) -> None:
        self._in_head, self._in_body, self._wants_upgrade = True, True, False
        self._has_begun, self._unread = False, 0
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._wants_upgrade = True
        # Not in the handler: whatever is raised from here on would hold on to its frames.
        if self._wants_upgrade:
            self._upgrade(head)
            return
        if self._in_head:  # the parser sees no end of the head where there is one
            raise Malformed
        if self._in_body:
            self._wait_at_most(BODY_WITHIN_S, self._too_slow)

    def _upgrade(self, head: bytes) -> None:
        """Hand a handshake over; take any other wish for an upgrade as a plain request."""
        if self._should_upgrade() and self.scope["method"] == "GET":
            self._hand_over()
            return
        plain = without_upgrade(head)
        if plain == head:
            raise Malformed  # CONNECT
        self._new_parser()
        self._take_head(plain)

    def _take_body(self) -> None:
        taken, ends = self._framing.body(self._rest)
        piece, self._rest = self._rest[:taken], self._rest[taken:]
        self.parser.feed_data(piece)
        if self._in_body is ends:  # the parser sees the end elsewhere
            raise Malformed

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head; a trailer changes nothing of a request under way."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and start the application."""
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
        """Take a part of the body; throw it away if the request is answered already."""
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
        """Stop the clock: the rest is up to us."""
        self._in_body = False
        self._framing.next_request()
        if self.parser.should_upgrade():
            return
        if self.cycle is None:
            self._wait_at_most(KEEP_ALIVE_S, self._idle_too_long)
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
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive and not self._limits.leaving,
            on_response=self.on_response_complete,
        )
        if self._peer is not None:
            self._peer.charge(_ANSWER_COST_S)
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """Forget the request, and take the next one."""
        self.server_state.total_requests += 1
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.forget()
        if self._is_over or self.transport.is_closing():
            return
        if not self._in_body:
            self._wait_at_most(KEEP_ALIVE_S, self._idle_too_long)
        if self._rest and self._peer is not None and self._peer.is_unauthenticated:
            self._pause = self.loop.call_later(UNAUTHENTICATED_PAUSE_S, self._advance_in_turn)
        else:
            self._advance_in_turn()

    def _hand_over(self) -> None:
        """Hand the connection over; a socket has its own limits."""
        # Names in lower case, as ASGI wants them: the socket's parser keeps them as they are.
        lines = b"".join(b"%s: %s\r\n" % header for header in self.headers)
        head = b"GET " + self.url + b" HTTP/1.1\r\n" + lines + b"\r\n"
        self._stop_clocks()
        self._is_over = True
        self.flow.release()
        self.connections.discard(self)
        protocol = self.ws_protocol_class(  # type: ignore[call-arg, misc]
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.charge(_HANDSHAKE_COST_S)
        cast(DriverSocketProtocol, protocol).take_over(self.transport, peer, head, self._rest)
        self._forget()

    # -- the end

    def _refuse(self, code: ProblemCode) -> None:
        """Answer with a problem and end the connection."""
        self._limits.refuse(code.value)
        self._is_over = True
        self._rest = b""
        self._hold()
        cycle, self.cycle = self.cycle, None
        has_started = cycle is not None and cycle.response_started
        if cycle is not None:
            cycle.break_off()
        if has_started:
            cut(self.transport)
            return
        self.flow.release()
        self.transport.write(_refusal(code))
        self.transport.write_eof()
        self._unread = 0
        self._wait_at_most(REFUSAL_WITHIN_S, partial(cut, self.transport))

    def _discard(self, size: int) -> None:
        self._unread += size
        if self._unread > _MAX_DISCARDED_BYTES:
            cut(self.transport)

    def _too_slow(self) -> None:
        self._limits.refuse("slow")
        cut(self.transport)

    def _idle_too_long(self) -> None:
        if has_unsent(self.transport):
            self._unread_answer()
        else:
            self.transport.close()

    def _unread_answer(self) -> None:
        self._limits.refuse("unread")
        cut(self.transport)

    def _look_at_reader(self, left: int, since_s: float) -> None:
        """Cut a client that took nothing since the last look, or that takes too long in all."""
        size = self.transport.get_write_buffer_size()
        if size >= left or self.loop.time() - since_s > _MAX_ANSWER_S:
            self._unread_answer()
        else:
            self._slow = self.loop.call_later(SLOW_READER_S, self._look_at_reader, size, since_s)

    def _wait_at_most(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_deadline()
        self._deadline = self.loop.call_later(seconds, then)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_clocks(self) -> None:
        self._stop_deadline()
        for clock in (self._slow, self._pause):
            if clock is not None:
                clock.cancel()
        self._slow = self._pause = None

    def _hold(self) -> None:
        """Account for the input that is kept; too much of it in all ends the connection."""
        held = len(self._rest) + (len(self.cycle.body) if self.cycle is not None else 0)
        if self._peer is not None and not self._peer.hold(held):
            self._is_over = True
            self._rest = b""
            cut(self.transport)

    def _new_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _forget(self) -> None:
        """Undo the circles of references: this object must go without the garbage collector."""
        self._is_over = True
        self._rest = b""
        self.parser = self.scope = None  # type: ignore[assignment]


@cache
def _refusal(code: ProblemCode) -> bytes:
    """Return the whole answer to a request that never reached the application."""
    response = problem_response(HttpProblem(code))
    headers = (*response.raw_headers, NOSNIFF, (b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)
