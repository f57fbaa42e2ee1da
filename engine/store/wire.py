"""One connection to Redis on which calls are pipelined by themselves.

A call on an idle line leaves at once, those of one turn of the event loop on a busy one in one
write; the replies come back in the order of the calls. That order is all that ties a reply to its
call, so a connection on which one reply is overdue is of no use any more: it is cut, and every
waiting call fails.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from engine.ports import StoreUnavailable
from engine.store.errors import StoreTimeout, reply_error

Command = Sequence[str | bytes | int | float]

# Its stub describes a tuple of one.
_pack: Callable[..., bytes] = hiredis.pack_command
# What the parser gives when the next reply is not complete yet.
_INCOMPLETE = object()
# A timer that fires this late says that our own loop was held up (or the process stopped): the
# replies may be waiting in the socket, unread, and get this long to be read.
_HELD_UP_S = 0.25


class Wire(asyncio.Protocol):
    """An open connection. `on_lost` is called once with what ended it."""

    def __init__(self, on_lost: Callable[["Wire", StoreUnavailable], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._parser = hiredis.Reader(replyError=reply_error, notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        # One timer for all waiting calls: the first of them is due first.
        self._timer: asyncio.TimerHandle | None = None
        self._end: StoreUnavailable | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for their reply."""
        return len(self._waiting)

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._end is not None

    def send(self, command: Command, deadline: float) -> asyncio.Future[Any]:
        """Send a command, at once or with this turn's others; the future gets its reply.

        `deadline` is the loop's time at which the reply is overdue; it never lies before that of
        an earlier call. The future fails with `LinkReplyError`, `StoreTimeout` or
        `StoreUnavailable`.
        """
        if self._end is not None:
            raise StoreUnavailable(*self._end.args)
        packed = _pack(tuple(command))
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting and self._transport is not None:
            # Nobody is on the way: no reason to wait for others of this turn.
            self._transport.write(packed)
        else:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(packed)
        self._waiting.append((deadline, future))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_deadline, deadline)
        return future

    def cut(self, reason: StoreUnavailable) -> None:
        """End the connection at once; waiting calls fail with `reason`."""
        self._end = self._end or reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when the connection is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what arrived: hand each complete reply to its call."""
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
        """Called by the loop when the connection has ended: no waiting call will be answered."""
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

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _check_deadline(self, due: float) -> None:
        now = self._loop.time()
        self._timer = None
        if not self._waiting:
            return
        first = self._waiting[0][0]
        if first <= now:
            if now < due + _HELD_UP_S:
                self.cut(StoreTimeout("the store did not answer in time"))
                return
            first = now + _HELD_UP_S
        self._timer = self._loop.call_at(first, self._check_deadline, first)
