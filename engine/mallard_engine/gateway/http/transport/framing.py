"""Where one HTTP/1.1 request of a connection ends and the next begins (RFC 9112).

The parser reads all that it is given, and a client may send a thousand requests in one segment. So
the protocol gives it one request at a time, cut here. The parser stays the judge of what is
well-formed: when it disagrees about an end, the request is malformed.

Bytes that are neither body nor request (the head, lines of chunk sizes, trailers) are limited
together, for each request.
"""

import re
from enum import Enum, auto
from typing import Final

MAX_OVERHEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
# RFC 9112, section 2.2: a server should ignore an empty line before a request. One is enough.
_MAX_EMPTY_LINES: Final = 2
# Of one call of `body`: small chunks are dear, and others wait for the event loop.
_LINES_AT_ONCE: Final = 64

_END_OF_HEAD: Final = b"\r\n\r\n"
_EMPTY_LINE: Final = b"\r\n"
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class HeadTooLarge(Exception):
    """The head, the trailers or the framing of the chunks are over the limit."""


class Malformed(Exception):
    """The bytes are no HTTP/1.1 request."""


class _Part(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNKS = auto()
    TRAILERS = auto()


class Framing:
    """The framing of one connection's requests. Methods raise `HeadTooLarge` and `Malformed`."""

    __slots__ = ("_left", "_line", "_overhead", "_part")

    def __init__(self) -> None:
        self._part = _Part.HEAD
        self._overhead = 0
        self._left = 0  # bytes of the body, or of the chunk and its end
        self._line = b""  # the beginning of a line of which the rest has not come yet

    def head(self, data: bytes) -> tuple[int, int] | None:
        """Return where the head in `data` begins and ends; None while it is incomplete.

        `data` starts where the last request ended, and is given again with what comes next.
        """
        start = 0
        while data.startswith(_EMPTY_LINE, start):
            start += len(_EMPTY_LINE)
        if start > _MAX_EMPTY_LINES * len(_EMPTY_LINE):
            raise Malformed
        end = data.find(_END_OF_HEAD, start)
        size = (len(data) if end < 0 else end + len(_END_OF_HEAD)) - start
        if size > MAX_OVERHEAD_BYTES:
            raise HeadTooLarge
        if end < 0:
            line = data.find(b"\n", start)
            if line >= 0 and data[line - 1 : line] != b"\r":
                raise Malformed  # lines that end otherwise: this head would never end
            return None
        if data.count(b"\r\n", start, end) > MAX_HEADERS:
            raise HeadTooLarge
        self._overhead = size
        return start, end + len(_END_OF_HEAD)

    def expect_length(self, size: int) -> None:
        """The head was taken and says that a body of so many bytes follows."""
        self._part, self._left = _Part.LENGTH, size

    def expect_chunks(self) -> None:
        """The head was taken and says that a chunked body follows."""
        self._part, self._left, self._line = _Part.CHUNKS, 0, b""

    def body(self, data: bytes) -> tuple[int, bool]:
        """Return how many bytes of `data` belong to the body, and whether it ends there.

        That may be fewer than there are: call it again with the rest.
        """
        if self._part is _Part.LENGTH:
            taken = min(self._left, len(data))
            self._left -= taken
            return taken, not self._left
        position, end, lines = 0, len(data), 0
        while position < end and lines < _LINES_AT_ONCE:
            if self._left:
                taken = min(self._left, end - position)
                self._left -= taken
                position += taken
                continue
            newline = data.find(b"\n", position)
            taken = (end if newline < 0 else newline + 1) - position
            self._overhead += taken
            if self._overhead > MAX_OVERHEAD_BYTES:
                raise HeadTooLarge
            self._line += data[position : position + taken]
            position += taken
            lines += 1
            if newline >= 0 and self._take_line():
                return position, True
        return position, False

    def next_request(self) -> None:
        """The request is over."""
        self._part = _Part.HEAD
        self._overhead = 0

    def _take_line(self) -> bool:
        """Take a line between chunks; return whether it was the last of the request."""
        line, self._line = self._line, b""
        if self._part is _Part.TRAILERS:
            return line == _EMPTY_LINE
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise Malformed
        size = int(match[1], 16)
        if size:
            self._left = size + len(_EMPTY_LINE)
        else:
            self._part = _Part.TRAILERS
        return False
