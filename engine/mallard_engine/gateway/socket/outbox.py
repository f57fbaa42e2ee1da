"""What a driver's socket is still to be sent. Bounded: a phone that does not read costs little."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from mallard_engine.gateway.socket.rate_limit import FrameRate
from mallard_protocol.codes import Close

MAX_BYTES: Final = 65_536
MAX_MESSAGES: Final = 256


class FrameTransport(Protocol):
    """What an outbox writes to: a `transport.DriverSocketProtocol`."""

    on_writable: Callable[[], None] | None

    @property
    def rate(self) -> FrameRate:
        """What the peer has sent."""

    @property
    def is_writable(self) -> bool:
        """Whether frames go out without piling up."""

    def send_frames(self, payloads: Iterable[bytes | str]) -> None:
        """Write frames at once."""

    def end(self, code: int, reason: str = "") -> None:
        """Close, once."""

    def mark_authenticated(self) -> None:
        """The client has shown a good token."""


class Outbox:
    """Passes frames on while the transport takes them, keeps a bounded number while it does not.

    A frame too many closes the socket with 4002: a phone must never miss one and go on.
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
        """Send a frame now, or as soon as the frames before it are out."""
        if not self._waiting and self._transport.is_writable:
            self._transport.send_frames((payload,))
            return
        self._bytes += len(payload)
        if self._bytes > MAX_BYTES or len(self._waiting) >= MAX_MESSAGES:
            self.end(Close.TOO_SLOW)
            return
        self._waiting.append(payload)

    def end(self, code: Close) -> None:
        """Close the socket, behind what has gone to the transport; the rest is given up."""
        self.clear()
        self._transport.end(code, code.name.lower())

    def clear(self) -> None:
        """Give up what waits."""
        self._waiting.clear()
        self._bytes = 0

    def _drain(self) -> None:
        waiting = tuple(self._waiting)
        self.clear()
        if waiting:
            self._transport.send_frames(waiting)
