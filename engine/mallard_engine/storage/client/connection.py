"""One connection to Redis that pipelines calls automatically.

A call is written at once, which is a system call each, or with the others of a short time if its
owner wants that. Replies come in the order of the calls. Only that order ties a reply to its call:
if one reply is overdue, the connection is cut and every waiting call fails. It is also cut if
nothing arrives for a while although calls wait: a stopped process or a half-open connection never
closes by itself.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import hiredis

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.errors import StoreTimeout, reply_error

Command = Sequence[str | bytes | int | float]

# The library's stub types the argument as a tuple of one element.
_pack: Callable[..., bytes] = hiredis.pack_command
# What the parser returns while the next reply is incomplete.
_INCOMPLETE = object()
# A Redis that sends nothing for this long while calls wait is unavailable. The limit is longer than
# Redis's own pauses (a fork, a slow write of its log), and short enough to answer an order
# within a second.
SILENCE_S = 0.8
# If a timer fires this late, our own event loop was blocked, or the process stopped. Replies may be
# unread in the socket, so the loop gets this long to read them.
_BLOCKED_S = 0.25


@contextlib.asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` after this time, but read first what came while the loop was blocked."""
    loop = asyncio.get_running_loop()
    due_s = loop.time() + seconds
    timer: asyncio.TimerHandle

    def check() -> None:
        nonlocal due_s, timer
        now = loop.time()
        if now < due_s + _BLOCKED_S:
            limit.reschedule(now)
        else:
            due_s = now + _BLOCKED_S
            timer = loop.call_at(due_s, check)

    timer = loop.call_at(due_s, check)
    try:
        async with asyncio.timeout(None) as limit:
            yield
    finally:
        timer.cancel()


class Wire(asyncio.Protocol):
    """An open connection.

    Args:
        on_lost: Called once, with the reason, when the connection has ended.
        silence_s: While calls wait, the connection is cut after this long without input.
    """

    def __init__(
        self,
        on_lost: Callable[["Wire", StoreUnavailable], None],
        *,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._silence_s = silence_s
        # When Redis last sent something; if no call waited since, when the next one was sent.
        self._last_input_s = 0.0
        self._parser = hiredis.Reader(replyError=reply_error, notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        # Calls that are not written yet; None: each is written at once.
        self._collected: list[bytes] | None = None
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        # One timer for all waiting calls.
        self._timer: asyncio.TimerHandle | None = None
        self._end: StoreUnavailable | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for their reply."""
        return len(self._waiting)

    @property
    def peer(self) -> object:
        """The address of the server, as the kernel has it."""
        return None if self._transport is None else self._transport.get_extra_info("peername")

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._end is not None

    def send(self, command: Command, deadline: float) -> asyncio.Future[Any]:
        """Send a command; the future gets its reply.

        The future fails with `LinkReplyError`, `StoreTimeout` or `StoreUnavailable`.

        Args:
            command: The command and its arguments.
            deadline: When the reply is overdue (seconds of the event loop). It must not be
                earlier than that of an earlier call.
        """
        if self._end is not None:
            raise StoreUnavailable(*self._end.args)
        packed = _pack(tuple(command))
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._last_input_s = self._loop.time()
            if self._timer is None:
                self._set_timer(min(deadline, self._last_input_s + self._silence_s))
        if self._collected is not None:
            self._collected.append(packed)
        elif self._transport is not None:
            self._transport.write(packed)
        self._waiting.append((deadline, future))
        return future

    def collect(self) -> None:
        """Keep the calls from now on until `flush`, which sends them in one write."""
        if self._collected is None:
            self._collected = []

    def flush(self) -> None:
        """Send what was collected; from now on each call is written at once."""
        collected, self._collected = self._collected, None
        if collected and self._transport is not None and self._end is None:
            self._transport.write(b"".join(collected))

    def watch(self, silence_s: float) -> None:
        """Change after how long a silence the connection is cut."""
        self._silence_s = silence_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._set_timer(min(self._waiting[0][0], self._last_input_s + silence_s))

    def cut(self, reason: StoreUnavailable) -> None:
        """End the connection at once; waiting calls fail with `reason`."""
        self._end = self._end or reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport: the connection is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Set the result of each call whose reply is complete."""
        self._last_input_s = self._loop.time()
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _INCOMPLETE:
                _, future = self._waiting.popleft()
                if future.done():  # its caller was cancelled
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.cut(StoreUnavailable(f"the store does not speak Redis's protocol: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all waiting calls: the connection has ended."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        end = self._end = self._end or StoreUnavailable(f"the connection broke: {exc or 'closed'}")
        for _, future in self._waiting:
            if not future.done():
                # Each caller gets an exception of its own: a traceback grows with every raise.
                future.set_exception(type(end)(*end.args))
        self._waiting.clear()
        self._on_lost(self, end)

    def _set_timer(self, at_s: float) -> None:
        self._timer = self._loop.call_at(at_s, self._check, at_s)

    def _check(self, due_s: float) -> None:
        """Cut the connection if a reply is overdue or Redis is silent."""
        self._timer = None
        if not self._waiting:
            return
        now = self._loop.time()
        silent_s = self._last_input_s + self._silence_s
        limit_s = min(self._waiting[0][0], silent_s)
        if limit_s <= now:
            if now < due_s + _BLOCKED_S:
                late = "is silent" if silent_s <= now else "did not answer in time"
                self.cut(StoreTimeout(f"the store {late}"))
                return
            limit_s = now + _BLOCKED_S
        self._set_timer(limit_s)
