"""Splits the bytes of a driver's socket into WebSocket frames (RFC 6455, section 5.2).

Almost every frame of a driver's app is a complete binary message. Such a frame is unmasked here,
which costs a third of the general parser. All other frames (text, control frames, fragments,
protocol errors) are passed to the WebSocket library, one complete frame at a time.
"""

from collections.abc import Iterator
from typing import Final

from mallard_protocol.codes import MAX_FRAME_BYTES

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without its C extension
    from websockets.utils import apply_mask

_BINARY_MESSAGE: Final = 0x82
_FIN: Final = 0x80
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
_TWO_BYTES_OF_LENGTH: Final = 126

Piece = tuple[bytes | None, bytes]
"""The payload of a binary message and b""; or None and the bytes for the library."""


class FrameParser:
    """Parses one connection, from the first byte after the handshake."""

    __slots__ = ("_in_fragments", "_partial", "_passes_through")

    def __init__(self) -> None:
        self._partial = b""
        self._in_fragments = False
        self._passes_through = False

    def pass_through(self) -> None:
        """Pass all further bytes on: the library has part of a frame, or must report an error."""
        self._passes_through = True

    def parse(self, data: bytes) -> Iterator[Piece]:
        """Yield each frame that `data` completes and keep an incomplete one."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        start, end = 0, len(data)
        while start < end:
            if self._passes_through:
                yield None, data[start:]
                return
            if start + 2 > end:
                break
            first, second = data[start], data[start + 1]
            length = second & 0x7F
            head = start + 2 + _MASK_BYTES
            if length >= _TWO_BYTES_OF_LENGTH:
                width = 2 if length == _TWO_BYTES_OF_LENGTH else 8
                if start + 2 + width > end:
                    break
                length = int.from_bytes(data[start + 2 : start + 2 + width], "big")
                head += width
            if second < _MASKED or length > MAX_FRAME_BYTES:
                # A protocol error, or too big: the library reports which, and nothing follows.
                self.pass_through()
                continue
            if head + length > end:
                break
            if first == _BINARY_MESSAGE and not self._in_fragments:
                mask = data[head - _MASK_BYTES : head]
                yield apply_mask(data[head : head + length], mask), b""
            else:
                if not first & _CONTROL:
                    self._in_fragments = not first & _FIN
                yield None, data[start : head + length]
            start = head + length
        if start < end:
            self._partial = data[start:]
