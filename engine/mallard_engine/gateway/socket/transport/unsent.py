"""Notices a peer that goes on sending but acknowledges nothing.

The kernel ends a connection whose peer acknowledges nothing (`TCP_USER_TIMEOUT`), but not always:
while the peer's window is shut, each segment of the peer may renew the kernel's clock.
"""

import asyncio
import socket
import struct
from typing import Final

# `tcpi_bytes_acked` of Linux's `struct tcp_info`, since 4.1.
_ACKED: Final = struct.Struct("120xQ")


class UnsentWatch:
    """Compares what the peer of one connection has acknowledged, once in `within_s` seconds."""

    __slots__ = ("_acked", "_looked_s", "_within_s")

    def __init__(self, within_s: float, now_s: float) -> None:
        self._within_s = within_s
        self._looked_s = now_s
        self._acked: int | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether the last look is long enough ago."""
        return now_s >= self._looked_s + self._within_s

    def is_stuck(self, transport: asyncio.Transport, now_s: float, *, has_unsent: bool) -> bool:
        """Whether bytes were unsent at the last look, and none has been acknowledged since."""
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
