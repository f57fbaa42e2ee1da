"""Exponential backoff, and which close codes allow a retry."""

import random
from dataclasses import dataclass

from mallard_protocol.codes import BACKOFF_FIRST_S, BACKOFF_MAX_S, CLOSE_ADVICE, Close

# In the contract, every close code from here on means that a retry cannot help.
_FIRST_STOP_CODE = 4500
_LAST_STOP_CODE = 4999
# A misconfigured proxy must not send a client away for a day.
_LONGEST_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a driver client waits between connections, in seconds.

    After a close code: full jitter from `first_s` up to `max_s`. When no engine answered at all,
    up to `unreachable_max_s` only: an offer lives for 30 s, and the network may be back at any
    moment. After a refused handshake (403, 404 …) from `refused_first_s` up to `refused_max_s`.
    While an offer is on the screen no wait is longer than `offered_max_s`.
    """

    first_s: float = BACKOFF_FIRST_S
    max_s: float = BACKOFF_MAX_S
    unreachable_max_s: float = 10.0
    refused_first_s: float = 4.0
    refused_max_s: float = 60.0
    offered_max_s: float = 2.0

    def __post_init__(self) -> None:
        """Check the bounds. Without a wait, all clients would reconnect at once."""
        if not 0 < self.first_s <= self.max_s or not 0 < self.refused_first_s <= self.refused_max_s:
            raise ValueError("the first wait must be over 0 and at most the longest")
        if self.unreachable_max_s <= 0 or self.offered_max_s <= 0:
            raise ValueError("the longest wait must be over 0")


class FullJitter:
    """Exponential backoff with full jitter: each wait is drawn evenly from 0 to a growing limit.

    The limit starts at `first_s` and doubles up to `max_s`. Full jitter spreads a crowd that was
    disconnected at once over the whole interval (M. Brooker, "Exponential Backoff and Jitter").
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        first_s: float = BACKOFF_FIRST_S,
        max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self._rng = rng
        self._first_s = first_s
        self._max_s = max_s
        self._limit_s = first_s

    def next_s(self, *, at_least: float = 0.0, at_most_s: float | None = None) -> float:
        """Draw the next wait, in seconds, and double the limit.

        `at_least` is the share of the limit that the wait is not below, `at_most_s` caps the limit.
        """
        limit_s = self._limit_s if at_most_s is None else min(self._limit_s, at_most_s)
        self._limit_s = min(self._limit_s * 2, self._max_s)
        return self._rng.uniform(limit_s * at_least, limit_s)

    def reset(self) -> None:
        """Reset the limit after a successful try."""
        self._limit_s = self._first_s


def bounded_s(retry_after_s: float | None) -> float:
    """Return how long a client waits for a ``Retry-After``, in seconds; None: there is none."""
    return min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S)


def may_reconnect(close_code: int) -> bool:
    """Whether a socket that was closed with this code should be opened again.

    A code that the contract does not name (a proxy's, a lost link's 1006) counts as a passing
    failure unless it is in the range that the contract keeps for final ones.
    """
    if close_code in frozenset(Close):
        return CLOSE_ADVICE[Close(close_code)].retry
    return not _FIRST_STOP_CODE <= close_code <= _LAST_STOP_CODE
