"""The timers of a driver's socket: hello, idle, ping, token expiry."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mallard_protocol.codes import HELLO_WITHIN_S, LOCATION_MS, PING_MS, Close
from mallard_protocol.messages import AuthExpiring, Ping

# The widest slot of the timer wheel: a ping, or the end of a silent socket, may be this late.
_MOST_SLOT_S: Final = 0.5
_SLOTS_A_PING: Final = 50
# The expiry of a further token that is valid for less than this is not announced.
_TOO_SHORT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SocketTimeouts:
    """The contract's intervals and timeouts of a socket."""

    ping_ms: int = PING_MS
    location_ms: int = LOCATION_MS
    hello_within_s: float = HELLO_WITHIN_S
    expiry_notice_s: float = 60.0

    @property
    def slot_s(self) -> float:
        """The width of a slot of the timer wheel."""
        return min(_MOST_SLOT_S, self.ping_ms / 1000 / _SLOTS_A_PING)

    @property
    def idle_s(self) -> float:
        """A socket without a frame for this long is closed."""
        return 2 * self.ping_ms / 1000


class SocketTimers:
    """The deadlines of one socket, in seconds of the caller's monotonic clock.

    The reader of frames sets `last_frame_s`, so that a frame costs one assignment here.
    """

    __slots__ = (
        "_expires_ms",
        "_expires_s",
        "_hello_by_s",
        "_is_announced",
        "_notice_s",
        "_ping_s",
        "_timeouts",
        "last_frame_s",
    )

    def __init__(self, timeouts: SocketTimeouts, now_s: float) -> None:
        self._timeouts = timeouts
        self.last_frame_s = now_s
        self._hello_by_s = now_s + timeouts.hello_within_s
        self._ping_s = math.inf
        self._expires_s = math.inf
        self._expires_ms = 0
        self._notice_s = math.inf
        self._is_announced = False

    def hello_received(self, now_s: float, spread: float) -> None:
        """Start the pings.

        Args:
            now_s: the current time.
            spread: a random number from 0 to 1 that keeps sockets opened together from being
                pinged together.
        """
        self._hello_by_s = math.inf
        self._ping_s = now_s + self._timeouts.ping_ms / 1000 * (0.5 + spread / 2)

    def authorized(self, now_s: float, expires_s: float, expires_ms: int) -> None:
        """Set the expiry of the token, which is announced to the app once per token.

        The same token again changes nothing. The expiry of a further token with a short lifetime is
        announced halfway through it; otherwise the app would be asked for the next token at once,
        again and again.

        Args:
            now_s: the current time.
            expires_s: the expiry on the caller's clock.
            expires_ms: the expiry in epoch milliseconds, for the app.
        """
        if expires_ms == self._expires_ms:
            return
        notice_s, self._is_announced = self._timeouts.expiry_notice_s, False
        if self._expires_ms:
            left_s = expires_s - now_s
            notice_s = min(notice_s, left_s / 2)
            self._is_announced = left_s < _TOO_SHORT_S
        self._expires_s = expires_s
        self._expires_ms = expires_ms
        self._notice_s = expires_s - notice_s

    def due(self, now_s: float) -> Iterator[Ping | AuthExpiring | Close]:
        """Yield what is due; a `Close` is the last item."""
        if now_s >= self._hello_by_s:
            yield Close.NO_HELLO
        elif now_s >= self._expires_s:
            yield Close.TOKEN_EXPIRED
        elif now_s >= self.last_frame_s + self._timeouts.idle_s:
            yield Close.IDLE
        else:
            if self._has_hello and not self._is_announced and now_s >= self._notice_s:
                self._is_announced = True
                yield AuthExpiring(at_ms=self._expires_ms)
            if now_s >= self._ping_s:
                self._ping_s = now_s + self._timeouts.ping_ms / 1000
                yield Ping()

    def next_s(self) -> float:
        """Return when the next deadline falls."""
        notice_s = math.inf if self._is_announced or not self._has_hello else self._notice_s
        return min(
            self._hello_by_s,
            self._expires_s,
            self.last_frame_s + self._timeouts.idle_s,
            notice_s,
            self._ping_s,
        )

    @property
    def _has_hello(self) -> bool:
        return self._hello_by_s == math.inf
