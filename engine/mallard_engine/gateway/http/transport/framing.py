"""Finds where one HTTP/1.1 request of a connection ends and the next begins (RFC 9112).

The parser reads everything that it is fed, and a client may send a thousand requests in one
segment. So the protocol feeds it one request at a time, split here. If the parser disagrees about
the end of a request, the request is malformed.

The head, the lines of chunk sizes and the trailers of a request share one limit.
"""

import re
from enum import Enum, auto
from typing import Final

MAX_OVERHEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
# RFC 9112, section 2.2: a server should ignore an empty line before a request. One is enough.
_MAX_EMPTY_LINES: Final = 2
# Per call of `body`: small chunks cost CPU while other clients wait for the event loop.
_MAX_LINES_PER_CALL: Final = 64

_END_OF_HEAD: Final = b"\r\n\r\n"
_EMPTY_LINE: Final = b"\r\n"
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class HeadTooLarge(Exception):
    """The head, the trailers and the chunk sizes exceed their limit."""


class Malformed(Exception):
    """The bytes are not an HTTP/1.1 request."""


class _Part(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNKS = auto()
    TRAILERS = auto()


class Framing:
    """Tracks the framing of one connection. Methods raise `HeadTooLarge` and `Malformed`."""

    __slots__ = ("_left", "_line", "_overhead", "_part")

    def __init__(self) -> None:
        self._part = _Part.HEAD
        self._overhead = 0
        self._left = 0  # bytes of the body, or of the chunk and its line end
        self._line = b""  # an incomplete line

    def head(self, data: bytes) -> tuple[int, int] | None:
        """Return where the head in `data` begins and ends; None while it is incomplete.

        Args:
            data: the input after the last request. While the head is incomplete, the next call
                passes the same bytes and those that followed.
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
                raise Malformed  # without CR LF, the end of this head would never be found
            return None
        if data.count(b"\r\n", start, end) > MAX_HEADERS:
            raise HeadTooLarge
        self._overhead = size
        return start, end + len(_END_OF_HEAD)

    def expect_length(self, size: int) -> None:
        """Expect a body of this many bytes after the head."""
        self._part, self._left = _Part.LENGTH, size

    def expect_chunks(self) -> None:
        """Expect a chunked body after the head."""
        self._part, self._left, self._line = _Part.CHUNKS, 0, b""

    def body(self, data: bytes) -> tuple[int, bool]:
        """Return how many bytes of `data` belong to the body, and whether it ends there.

        A call examines a bounded number of lines: call it again with the rest.
        """
        if self._part is _Part.LENGTH:
            taken = min(self._left, len(data))
            self._left -= taken
            return taken, not self._left
        position, end, lines = 0, len(data), 0
        while position < end and lines < _MAX_LINES_PER_CALL:
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
        """Start over with the next request."""
        self._part = _Part.HEAD
        self._overhead = 0

    def _take_line(self) -> bool:
        """Process a line between chunks; return whether it was the last of the request."""
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
