"""The offer ladder: how many drivers each round of a job asks, and how far apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The most drivers in a round, as the work of one script must be bounded.
MOST_STAGGERED = 64
_LONGEST_GAP_S = 600.0
_STAGGERED = re.compile(r"staggered (\d+)/(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Rung:
    """How one round of a job asks drivers.

    Up to `drivers` are asked, `gap_ms` apart (0: all at once); the first accept wins. With one
    driver, the next one is asked in the next round.
    """

    drivers: int = 1
    gap_ms: int = 0


def read_rung(text: str) -> Rung:
    """Parse `sequential`, `staggered K/S` (K drivers, S seconds apart) or `broadcast`.

    `broadcast` asks all drivers in reach, at most `MOST_STAGGERED`.

    Raises:
        ValueError: The text has another form; the message is for its author.
    """
    if text == "sequential":
        return Rung()
    if text == "broadcast":
        return Rung(MOST_STAGGERED)
    match = _STAGGERED.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not one of sequential, staggered K/S, broadcast")
    drivers, gap_s = int(match[1]), float(match[2])
    if not 2 <= drivers <= MOST_STAGGERED:
        raise ValueError(f"{text!r}: from 2 to {MOST_STAGGERED} drivers are asked in a round")
    if not 0.1 <= gap_s <= _LONGEST_GAP_S:
        raise ValueError(f"{text!r}: from 0.1 to {_LONGEST_GAP_S:g} seconds apart")
    return Rung(drivers, round(gap_s * 1000))


def read_rungs(texts: Sequence[str]) -> tuple[Rung, ...]:
    """Parse a market's ladder: the nth rung is for a job's nth round, the last for all others.

    Raises:
        ValueError: There is no rung, or one cannot be parsed.
    """
    if not texts:
        raise ValueError("no rung: write sequential for one driver at a time")
    return tuple(map(read_rung, texts))


def staggered_rungs(texts: Sequence[str]) -> tuple[Rung, ...] | None:
    """Parse a ladder; None if no round asks more than one driver."""
    rungs = read_rungs(texts)
    return rungs if any(rung.drivers > 1 for rung in rungs) else None


def rung_at(rungs: Sequence[Rung], attempt: int) -> Rung:
    """Return the rung of the round after `attempt` attempts."""
    return rungs[min(attempt, len(rungs) - 1)]
