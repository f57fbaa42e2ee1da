"""A minimal WebSocket client (RFC 6455) for binary frames, for load generators.

The stock client of `websockets` takes three times the CPU for a message and its `ClientProtocol`
twice (docs/adr/0016), on the cores that the engine runs on, too. This one knows what the
contract allows: unfragmented binary frames, closes, pings. It masks with zeros: the mask keeps a
browser's bytes from fooling proxies, and this is no browser; the server unmasks all the same.
"""

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from typing import Final, cast

from load_tests.frames import SUBPROTOCOL

ABNORMAL: Final = 1006
_MAX_PAYLOAD: Final = 1 << 20
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_BINARY, _CLOSE, _PING, _PONG = 0x82, 0x88, 0x89, 0x8A
_MASK: Final = bytes(4)
_SHORT_HEADS: Final = tuple(bytes((_BINARY, 0x80 | size)) + _MASK for size in range(126))


class SocketWire(asyncio.Protocol):
    """One connection. `opened()` comes after the handshake, `received(payload)` for each binary
    message, `lost(code)` once at the end: with the server's close code, or 1006."""

    __slots__ = ("_buffer", "_code", "_key", "_lost", "_opened", "_received", "_request", "_write")

    def __init__(
        self,
        host: str,
        path: str,
        *,
        opened: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[int], None],
    ) -> None:
        self._opened: Callable[[], None] | None = opened
        self._received = received
        self._lost = lost
        self._buffer = b""
        self._code = ABNORMAL
        self._write: asyncio.Transport | None = None
        self._key = base64.b64encode(os.urandom(16))
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
            f"Sec-WebSocket-Key: {self._key.decode()}\r\n\r\n"
        ).encode("ascii")

    def send(self, payload: bytes) -> None:
        """Send a message; one that cannot be sent is lost with its connection."""
        if self._write is None:
            return
        size = len(payload)
        if size < 126:
            self._write.write(_SHORT_HEADS[size] + payload)
        elif size < 65_536:
            head = bytes((_BINARY, 0xFE)) + size.to_bytes(2, "big") + _MASK
            self._write.write(head + payload)
        else:
            raise ValueError(f"a frame of {size} bytes")

    def close(self) -> None:
        """Send a close frame (1000) and close the connection."""
        if self._write is not None:
            self._write.write(bytes((_CLOSE, 0x82)) + _MASK + (1000).to_bytes(2, "big"))
            self._write.close()

    def abort(self) -> None:
        """Close the connection without a close frame."""
        if self._write is not None:
            self._write.abort()

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request."""
        self._write = cast(asyncio.Transport, transport)
        self._write.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Split the stream into frames."""
        if self._buffer:
            data = self._buffer + data
        position = 0
        if self._opened is not None:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            if not self._is_upgrade(data[:end]):
                self.abort()
                return
            opened, self._opened = self._opened, None
            opened()
            position = end + 4
        self._buffer = data[self._frames(data, position) :]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is 1006 either way
        """Report the close code."""
        self._write = None
        self._lost(self._code)

    def _frames(self, data: bytes, position: int) -> int:
        """Pass on the complete frames; return the offset of the rest."""
        available = len(data)
        while available - position >= 2:
            kind, size = data[position], data[position + 1]
            start = position + 2
            if size > 125:
                wide = 2 if size == 126 else 8
                if available < start + wide:
                    break
                size = int.from_bytes(data[start : start + wide], "big") if size < 128 else 1 << 63
                start += wide
            if size > _MAX_PAYLOAD:  # masked by a server, or larger than the contract allows
                self.abort()
                return available
            position_after = start + size
            if available < position_after:
                break
            payload = data[start:position_after]
            if kind == _BINARY:
                self._received(payload)
            else:
                self._control(kind, payload)
            position = position_after
        return position

    def _control(self, kind: int, payload: bytes) -> None:
        if kind == _PING and self._write is not None:
            self._write.write(bytes((_PONG, 0x80 | len(payload))) + _MASK + payload)
        elif kind == _CLOSE:
            self._code = int.from_bytes(payload[:2], "big") or ABNORMAL
            if self._write is not None:
                self._write.write(bytes((_CLOSE, 0x80 | len(payload[:2]))) + _MASK + payload[:2])
                self._write.close()
        elif kind != _PONG:  # the contract has no text frames and no fragments
            self.abort()

    def _is_upgrade(self, head: bytes) -> bool:
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest())
        return head.startswith(b"HTTP/1.1 101 ") and accept in head
