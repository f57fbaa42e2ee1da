"""One request and its answer over a connection: the little of HTTP/1.1 that deliveries need.

Of the answer only the status matters. Its body is read to the end if that comes soon, so that the
connection can be used again. The parser is that of the server (`httptools`), without leniencies.
"""

import asyncio
import contextlib
from typing import Final

import httpcore2
import httptools

_MOST_HEAD_BYTES: Final = 65_536
_MOST_BODY_BYTES: Final = 16_384
_BODY_WITHIN_S: Final = 0.5
_READ_BYTES: Final = 65_536
_FINAL: Final = 200
_UPGRADE: Final = 101


async def exchange(stream: httpcore2.AsyncNetworkStream, request: bytes) -> tuple[int, bool]:
    """Send a request; return the status of its answer, and whether another one may follow.

    Raises:
        httpcore2.RemoteProtocolError: the answer is no HTTP, or there is none.
        httpcore2.NetworkError: the connection broke.
    """
    # The other side may have answered before it closed.
    with contextlib.suppress(httpcore2.WriteError):
        await stream.write(request)
    answer = _Answer()
    size = 0
    while True:
        data = await stream.read(_READ_BYTES)
        size += len(data)
        answer.feed(data)
        if answer.status:
            break
        if not data or size > _MOST_HEAD_BYTES:
            raise httpcore2.RemoteProtocolError("no head of an answer")
    with contextlib.suppress(Exception):  # the status has been read
        async with asyncio.timeout(_BODY_WITHIN_S):
            while not answer.is_over and size <= _MOST_HEAD_BYTES + _MOST_BODY_BYTES:
                data = await stream.read(_READ_BYTES)
                size += len(data)
                answer.feed(data)
                if not data:
                    break
    return answer.status, answer.keeps_open


class _Answer:
    """What the parser has found so far. `status`: 0 before the final head."""

    def __init__(self) -> None:
        self.status = 0
        self.is_over = False
        self._may_follow = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def keeps_open(self) -> bool:
        """Whether the connection may be used again."""
        return self.is_over and self._may_follow

    def feed(self, data: bytes) -> None:
        """Parse what was read."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.status = self.status or _UPGRADE
        except httptools.HttpParserError as error:
            self._may_follow = False
            if not self.status:
                raise httpcore2.RemoteProtocolError(str(error)) from None

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
