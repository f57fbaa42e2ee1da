"""Bounds the bytes that were written to a peer and that it has not acknowledged.

The kernel ends a connection whose peer acknowledges nothing (`TCP_USER_TIMEOUT`), but not always:
while the peer's window is shut, each segment of the peer may renew the kernel's clock.
`UnsentWatch` notices such a peer.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Final

# The kernel's send buffer, besides 64 KiB in the transport. By default it grows to megabytes per
# socket before a slow reader is noticed.
_SEND_BUFFER_BYTES = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)
# `tcpi_bytes_acked` of Linux's `struct tcp_info`, since 4.1.
_ACKED: Final = struct.Struct("120xQ")


def abort(transport: asyncio.Transport) -> None:
    """Close a connection at once and drop its unsent bytes, which the peer does not read anyway."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def limit_unsent_bytes(transport: asyncio.Transport) -> None:
    """Bound the bytes that the kernel buffers for a peer."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def limit_unsent_time(transport: asyncio.Transport, within_s: float) -> None:
    """Bound for how long the kernel buffers bytes for a peer (RFC 5482).

    The kernel drops a connection whose peer acknowledges nothing for this long, also after it was
    closed here. Platforms without the option keep their default.
    """
    raw = transport.get_extra_info("socket")
    if raw is None:
        return
    if hasattr(socket, "TCP_USER_TIMEOUT") and raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(within_s * 1000))


def has_unsent(transport: asyncio.Transport) -> bool:
    """Whether the peer has not acknowledged all that was written to it."""
    if transport.get_write_buffer_size():
        return True
    raw = transport.get_extra_info("socket")
    if raw is None or raw.fileno() < 0 or not hasattr(termios, "TIOCOUTQ"):
        return False
    unsent = struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return bool(unsent)


class UnsentWatch:
    """Checks every `within_s` seconds whether the peer of a connection acknowledges bytes."""

    __slots__ = ("_acked", "_looked_s", "_within_s")

    def __init__(self, within_s: float, now_s: float) -> None:
        self._within_s = within_s
        self._looked_s = now_s
        self._acked: int | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for the next check."""
        return now_s >= self._looked_s + self._within_s

    def is_stuck(self, transport: asyncio.Transport, now_s: float, *, has_unsent: bool) -> bool:
        """Whether bytes were unsent at the last check, and none was acknowledged since."""
        self._looked_s = now_s
        before, self._acked = self._acked, _acked_bytes(transport) if has_unsent else None
        return before is not None and before == self._acked


def _acked_bytes(transport: asyncio.Transport) -> int | None:
    """Return how many bytes the peer has acknowledged; None if the system does not say."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.fileno() < 0 or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        found = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
    except OSError:  # a Unix socket
        return None
    return int(_ACKED.unpack(found)[0]) if len(found) == _ACKED.size else None
