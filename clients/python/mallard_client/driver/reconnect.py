"""Decides what follows the end of a driver's socket: a retry after a wait, or a stop. Pure."""

import random
from dataclasses import dataclass

from mallard_client.backoff import Backoff, FullJitter, may_reconnect
from mallard_client.errors import Stopped
from mallard_protocol.codes import Close

# A session that lasted this long shows that the network works: the backoff starts over.
STABLE_AFTER_MS = 5_000
# The code of a socket that ended without one (RFC 6455 7.1.5).
LOST = 1006
# Refused handshakes of an overloaded or restarting engine: time-outs and "too many requests".
_BUSY_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt to connect ended.

    `code` is the close code (1006 for a lost link, None when no socket was opened), `http_status`
    that of a refused handshake with its `retry_after_s`, `lasted_ms` the time since ``welcome``
    (0 without one). `hinted`: the app reported that the network is back, so this try was abandoned.
    """

    reason: str
    code: int | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    lasted_ms: int = 0
    hinted: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `wait_s`; with `fresh_token`, get another token first.

    `firm`: the server asked for this wait, and a hint of the app does not shorten it.
    """

    wait_s: float
    fresh_token: bool = False
    firm: bool = False


class ReconnectPolicy:
    """Full jitter by the close code's advice; the time that a ``drain`` names takes precedence.

    Only a close code can be final. A refused handshake does not prove that the engine refused
    it: during a deploy an ingress answers 404 or 403, a captive portal 302 or 200.
    """

    def __init__(
        self, rng: random.Random, *, token_renewable: bool, backoff: Backoff | None = None
    ) -> None:
        self._backoff = backoff = backoff or Backoff()
        self._jitter = FullJitter(rng, first_s=backoff.first_s, max_s=backoff.max_s)
        self._refused = FullJitter(
            rng, first_s=backoff.refused_first_s, max_s=backoff.refused_max_s
        )
        self._token_renewable = token_renewable
        self._not_before_ms: int | None = None

    def drained(self, reconnect_after_ms: int, now_ms: int) -> None:
        """The node leaves and has named a time to reconnect."""
        self._not_before_ms = now_ms + reconnect_after_ms

    def start_over(self) -> None:
        """The network is back: start the backoff over."""
        self._jitter.reset()
        self._refused.reset()

    def after(self, ending: Ending, now_ms: int, *, offered: bool = False) -> Retry:
        """Decide; `offered`: an offer is waiting for its answer. Raises `Stopped`."""
        if ending.lasted_ms >= STABLE_AFTER_MS:
            self.start_over()
        if ending.code is not None and not may_reconnect(ending.code):
            raise Stopped.closed(ending.code, ending.reason)
        expired = ending.code == Close.TOKEN_EXPIRED
        if expired and not self._token_renewable:
            raise Stopped.closed(Close.TOKEN_EXPIRED, "the token expired and is the only one")
        not_before_ms, self._not_before_ms = self._not_before_ms, None
        if not_before_ms is not None:
            # Already spread by the server, a different moment for each driver.
            return Retry(max(0, not_before_ms - now_ms) / 1000, expired, firm=True)
        if ending.hinted:
            return Retry(0.0)
        return Retry(
            self._wait_s(ending, offered=offered),
            expired,
            firm=ending.code == Close.RATE or ending.retry_after_s is not None,
        )

    def _wait_s(self, ending: Ending, *, offered: bool) -> float:
        backoff = self._backoff
        status = ending.http_status
        if status is not None and 400 <= status < 500 and status not in _BUSY_STATUSES:
            return self._refused.next_s(at_least=0.5)
        answered = ending.code not in {None, LOST} or (status is not None and status >= 400)
        longest_s = backoff.max_s if answered else backoff.unreachable_max_s
        if offered:
            longest_s = min(longest_s, backoff.offered_max_s)
        wait_s = self._jitter.next_s(at_most_s=longest_s)
        if ending.retry_after_s is None:
            return wait_s
        # A misconfigured proxy must not send a driver away for a day.
        return min(ending.retry_after_s, backoff.refused_max_s) + wait_s
