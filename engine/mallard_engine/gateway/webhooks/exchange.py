"""A connection, and the little of HTTP/1.1 that deliveries need: one request, then its answer.

Of the answer only the status matters. Its body is read to the end if that comes soon, so that the
connection can be used again. The parser is that of the server (`httptools`), without leniencies.
A delivery makes one system call to write and one to read.
"""

import asyncio
import contextlib
import ssl
from typing import Final, cast

import httptools

_MOST_HEAD_BYTES: Final = 65_536
_MOST_BODY_BYTES: Final = 16_384
_BODY_WITHIN_S: Final = 0.5
_FINAL: Final = 200
_UPGRADE: Final = 101


class BadAnswer(Exception):
    """The answer is no HTTP, or the connection ended before its head."""


class Wire(asyncio.Protocol):
    """An open connection.

    Attributes:
        is_open: It may be used for a request.
        was_answered: Some of the answer to the last request has come.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.was_answered = False
        self._transport: asyncio.Transport | None = None
        self._answer: _Answer | None = None

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of its answer.

        Afterwards the connection is closed, unless it may be used again.

        Raises:
            BadAnswer: the answer is no HTTP, or there is none.
            OSError: the connection broke.
        """
        self._answer = answer = _Answer()
        self.was_answered = False
        try:
            if self._transport is None or not self.is_open:
                raise ConnectionResetError("the connection has ended")
            self._transport.write(request)
            await answer.head
            if not answer.is_over:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_BODY_WITHIN_S):
                        await answer.end
            return answer.status
        finally:
            self._answer = None
            if not answer.keeps_open:
                self.close()

    def close(self) -> None:
        """Close it at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport: the connection is open."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer. What comes without a request belongs to none."""
        if self._answer is None:
            self.close()
        else:
            self.was_answered = True
            self._answer.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer: nothing more can come."""
        self.is_open = False
        if self._answer is not None:
            self._answer.broke(exc)


async def open_wire(address: str, port: int, tls: ssl.SSLContext | None, host: str) -> Wire:
    """Connect to an address; with TLS the certificate must be that of the host.

    Raises:
        OSError: there is no connection; `ssl.SSLError` if the reason is TLS.
    """
    loop = asyncio.get_running_loop()
    name = None if tls is None else host
    _, wire = await loop.create_connection(Wire, address, port, ssl=tls, server_hostname=name)
    return wire


class _Answer:
    """What the parser has found so far. `status`: 0 before the final head.

    `head` and `end` are done when the status is known, and when nothing more is read.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[None] = loop.create_future()
        self.end: asyncio.Future[None] = loop.create_future()
        self.status = 0
        self.is_over = False
        self._size = 0
        self._may_follow = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def keeps_open(self) -> bool:
        """Whether the connection may be used again."""
        return self.is_over and self._may_follow

    def feed(self, data: bytes) -> None:
        """Parse what was read."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.status = self.status or _UPGRADE
        except httptools.HttpParserError as error:
            self._may_follow = False
            self._finish(error)
            return
        if self.is_over or self._size > _MOST_HEAD_BYTES + _MOST_BODY_BYTES:
            self._finish(None)
        elif self.status:
            _done(self.head)
        elif self._size > _MOST_HEAD_BYTES:
            self._finish(None)

    def broke(self, error: Exception | None) -> None:
        """The connection has ended; None: in order."""
        self._may_follow = False
        self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        """Read nothing more. Without a status the request has failed."""
        if not self.status and not self.head.done():
            is_network = isinstance(error, OSError)
            failure = error if error and is_network else BadAnswer("no head of an answer")
            self.head.set_exception(failure)
        _done(self.head)
        _done(self.end)

    def on_message_begin(self) -> None:
        """Nothing may follow the answer to the only request."""
        self._may_follow = False

    def on_headers_complete(self) -> None:
        """Note the status, unless the answer is yet to come (1xx)."""
        status = self._parser.get_status_code()
        if not self.status and status >= _FINAL:
            self.status = status
            self._may_follow = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """Note that the answer has been read to its end."""
        self.is_over = self.status != 0


def _done(moment: asyncio.Future[None]) -> None:
    if not moment.done():
        moment.set_result(None)
