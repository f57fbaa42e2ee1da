"""When a delivery that has failed is repeated."""

from typing import Final

_S: Final = 1_000
_MIN: Final = 60 * _S
_H: Final = 60 * _MIN
AFTER_MS: Final = (5 * _S, 1 * _MIN, 5 * _MIN, 30 * _MIN, 2 * _H, 6 * _H)
THEN_EACH_MS: Final = 12 * _H
GIVE_UP_MS: Final = 72 * _H
SPREAD: Final = 0.2


def next_attempt_ms(attempt: int, first_ms: int, now_ms: int, chance: float) -> int | None:
    """Return when a delivery is repeated; None: it is given up.

    Args:
        attempt: How many attempts have failed, at least 1.
        first_ms: When the first one was made.
        now_ms: The time.
        chance: A random number from 0 up to 1: endpoints that failed together are asked apart.
    """
    after_ms = AFTER_MS[attempt - 1] if attempt <= len(AFTER_MS) else THEN_EACH_MS
    at_ms = now_ms + round(after_ms * (1 - SPREAD + 2 * SPREAD * chance))
    return at_ms if at_ms - first_ms <= GIVE_UP_MS else None
