"""How long to wait before trying again, and whether trying again can help at all."""

import random

from protocol.codes import BACKOFF_FIRST_S, BACKOFF_MAX_S, CLOSE_ADVICE, Close

# The contract puts every code with which trying again is useless from here on.
_FIRST_STOP_CODE = 4500
_LAST_STOP_CODE = 4999


class FullJitter:
    """Exponential backoff with full jitter: each wait is drawn evenly from 0 to a growing limit.

    The limit starts at `first_s` and doubles up to `max_s`. Full jitter spreads a crowd that was
    disconnected at once over the whole interval (M. Brooker, "Exponential Backoff and Jitter").
    """

    def __init__(
        self,
        dice: random.Random,
        *,
        first_s: float = BACKOFF_FIRST_S,
        max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self._dice = dice
        self._first_s = first_s
        self._max_s = max_s
        self._limit_s = first_s

    def next_s(self) -> float:
        """Draw the next wait, in seconds, and double the limit."""
        wait_s = self._dice.uniform(0, self._limit_s)
        self._limit_s = min(self._limit_s * 2, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Start over: the last try went well."""
        self._limit_s = self._first_s


def may_reconnect(close_code: int) -> bool:
    """Whether a socket that was closed with this code should be opened again.

    A code that the contract does not name (a proxy's, a lost link's 1006) counts as a passing
    failure unless it is in the range that the contract keeps for final ones.
    """
    if close_code in frozenset(Close):
        return CLOSE_ADVICE[Close(close_code)].retry
    return not _FIRST_STOP_CODE <= close_code <= _LAST_STOP_CODE
