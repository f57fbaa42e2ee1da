"""What to do after a driver's socket has ended: wait and try again, or stop. Pure."""

import random
from dataclasses import dataclass

from clients.backoff import FullJitter, may_reconnect
from clients.errors import Stopped
from protocol.codes import Close

# A session that lasted this long shows that the way is fine: the next wait starts small again.
STABLE_AFTER_MS = 5_000
# Refused handshakes that pass: time-outs and "too many requests".
_PASSING_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a try to be connected ended.

    `code` is the close code (1006 for a lost link, None when no socket was opened), `http_status`
    that of a refused handshake, `lasted_ms` the time since ``welcome`` (0 without one).
    """

    reason: str
    code: int | None = None
    http_status: int | None = None
    lasted_ms: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `wait_s`; with `fresh_token`, get another token first."""

    wait_s: float
    fresh_token: bool = False


class ReconnectPolicy:
    """Full jitter by the close code's advice, and a ``drain``'s wish before that."""

    def __init__(self, dice: random.Random, *, token_renewable: bool) -> None:
        self._jitter = FullJitter(dice)
        self._token_renewable = token_renewable
        self._not_before_ms: int | None = None

    def drained(self, reconnect_after_ms: int, now_ms: int) -> None:
        """The node goes down and said when this driver should come back."""
        self._not_before_ms = now_ms + reconnect_after_ms

    def after(self, ending: Ending, now_ms: int) -> Retry:
        """Decide. Raises `Stopped` when trying again cannot help."""
        if ending.lasted_ms >= STABLE_AFTER_MS:
            self._jitter.reset()
        if ending.http_status is not None and _is_final(ending.http_status):
            raise Stopped(
                f"the handshake was refused with {ending.http_status}",
                http_status=ending.http_status,
            )
        if ending.code is not None and not may_reconnect(ending.code):
            raise Stopped.closed(ending.code, ending.reason)
        expired = ending.code == Close.TOKEN_EXPIRED
        if expired and not self._token_renewable:
            raise Stopped.closed(Close.TOKEN_EXPIRED, "the token expired and is the only one")
        not_before_ms, self._not_before_ms = self._not_before_ms, None
        if not_before_ms is not None:
            # Already spread by the server, a different moment for each driver.
            return Retry(max(0, not_before_ms - now_ms) / 1000, expired)
        return Retry(self._jitter.next_s(), expired)


def _is_final(http_status: int) -> bool:
    return 400 <= http_status < 500 and http_status not in _PASSING_STATUSES
