"""The bounded queue of frames for a driver's socket that is not writable."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from mallard_engine.gateway.socket.transport.rate_limit import FrameRate
from mallard_protocol.codes import Close

MAX_BYTES: Final = 65_536
MAX_MESSAGES: Final = 256


class FrameTransport(Protocol):
    """What an outbox writes to: a `protocol.DriverSocketProtocol`."""

    on_writable: Callable[[], None] | None

    @property
    def rate(self) -> FrameRate:
        """The rate of the frames received from the peer."""

    @property
    def is_writable(self) -> bool:
        """Whether frames can be written without being buffered."""

    def send_frames(self, payloads: Iterable[bytes | str]) -> None:
        """Write frames immediately."""

    def end(self, code: int, reason: str = "") -> None:
        """Close the socket; further calls do nothing."""

    def mark_authenticated(self) -> None:
        """Record that the client has a valid token."""


class Outbox:
    """Writes frames while the transport is writable and queues a bounded number while it is not.

    A frame beyond the bound closes the socket with 4002: an app must never miss a frame unnoticed.
    """

    __slots__ = ("_bytes", "_transport", "_waiting")

    def __init__(self, transport: FrameTransport) -> None:
        self._transport = transport
        self._waiting: deque[bytes | str] = deque()
        self._bytes = 0
        transport.on_writable = self._drain

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, payload: bytes | str) -> None:
        """Send a frame now, or after the frames that wait."""
        if not self._waiting and self._transport.is_writable:
            self._transport.send_frames((payload,))
            return
        self._bytes += len(payload)
        if self._bytes > MAX_BYTES or len(self._waiting) >= MAX_MESSAGES:
            self.end(Close.TOO_SLOW)
            return
        self._waiting.append(payload)

    def end(self, code: Close) -> None:
        """Close the socket after the frames already written; drop the queued ones."""
        self.clear()
        self._transport.end(code, code.name.lower())

    def clear(self) -> None:
        """Drop the queued frames."""
        self._waiting.clear()
        self._bytes = 0

    def _drain(self) -> None:
        waiting = tuple(self._waiting)
        self.clear()
        if waiting:
            self._transport.send_frames(waiting)
