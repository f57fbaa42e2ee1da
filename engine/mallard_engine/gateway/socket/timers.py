"""What falls due on a driver's socket by time alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mallard_protocol.codes import HELLO_WITHIN_S, LOCATION_MS, PING_MS, Close
from mallard_protocol.messages import AuthExpiring, Ping

# A further token with less left is not told of at all.
_TOO_SHORT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SocketTimeouts:
    """The contract's times of a socket; tests make them short."""

    ping_ms: int = PING_MS
    location_ms: int = LOCATION_MS
    hello_within_s: float = HELLO_WITHIN_S
    expiry_notice_s: float = 60.0

    @property
    def idle_s(self) -> float:
        """A socket without a frame for so long is closed."""
        return 2 * self.ping_ms / 1000


class SocketTimers:
    """Deadlines of one socket, in seconds of the caller's monotonic clock.

    `heard_s` is when the last frame came; whoever reads frames sets it, which is all that a frame
    costs here.
    """

    __slots__ = (
        "_expires_ms",
        "_expires_s",
        "_hello_by_s",
        "_notice_s",
        "_ping_s",
        "_timeouts",
        "_told",
        "heard_s",
    )

    def __init__(self, timeouts: SocketTimeouts, now_s: float) -> None:
        self._timeouts = timeouts
        self.heard_s = now_s
        self._hello_by_s = now_s + timeouts.hello_within_s
        self._ping_s = math.inf
        self._expires_s = math.inf
        self._expires_ms = 0
        self._notice_s = math.inf
        self._told = False

    def greeted(self, now_s: float, spread: float) -> None:
        """Hello was said. `spread` from 0 to 1: sockets opened together are not pinged together."""
        self._hello_by_s = math.inf
        self._ping_s = now_s + self._timeouts.ping_ms / 1000 * (0.5 + spread / 2)

    def authorized(self, now_s: float, expires_s: float, expires_ms: int) -> None:
        """The token is good until `expires_s`, which is `expires_ms` for the app.

        The app hears of it once a token; the same token again changes nothing. A further token that
        is short already is told of halfway through what it has left, or the app would be asked for
        the next at once, and again.
        """
        if expires_ms == self._expires_ms:
            return
        notice_s, self._told = self._timeouts.expiry_notice_s, False
        if self._expires_ms:
            left_s = expires_s - now_s
            notice_s = min(notice_s, left_s / 2)
            self._told = left_s < _TOO_SHORT_S
        self._expires_s = expires_s
        self._expires_ms = expires_ms
        self._notice_s = expires_s - notice_s

    def due(self, now_s: float) -> Iterator[Ping | AuthExpiring | Close]:
        """What to send by now; a `Close` is the last."""
        if now_s >= self._hello_by_s:
            yield Close.NO_HELLO
        elif now_s >= self._expires_s:
            yield Close.TOKEN_EXPIRED
        elif now_s >= self.heard_s + self._timeouts.idle_s:
            yield Close.IDLE
        else:
            if self._greeted and not self._told and now_s >= self._notice_s:
                self._told = True
                yield AuthExpiring(at_ms=self._expires_ms)
            if now_s >= self._ping_s:
                self._ping_s = now_s + self._timeouts.ping_ms / 1000
                yield Ping()

    def next_s(self) -> float:
        """When to look again at the latest."""
        notice_s = math.inf if self._told or not self._greeted else self._notice_s
        return min(
            self._hello_by_s,
            self._expires_s,
            self.heard_s + self._timeouts.idle_s,
            notice_s,
            self._ping_s,
        )

    @property
    def _greeted(self) -> bool:
        return self._hello_by_s == math.inf
