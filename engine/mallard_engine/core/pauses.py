"""Where operators have paused matching.

A pause covers a market, a mall or a shop of a mall. Nothing is offered there; live offers, runs and
deadlines continue, and an operator may assign.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

MARKET: Final = "*"
"""The place of a whole market."""


class Pause(NamedTuple):
    """Since when (epoch ms), by whom, and why (may be empty)."""

    since_ms: int
    actor: str
    reason: str


Pauses = Mapping[str, Pause]
"""The pauses of one market by place (see `place_of`)."""


def place_of(mall: str, store: str) -> str:
    """Return the name of a place. Empty: `store`, the whole mall; `mall`, the whole market."""
    return f"{mall}/{store}" if store else mall or MARKET


def is_paused(pauses: Pauses, mall: str, stores: Iterable[str]) -> bool:
    """Whether a job of this mall that must visit these stores may not be offered."""
    if not pauses:
        return False
    return (
        MARKET in pauses or mall in pauses or any(f"{mall}/{store}" in pauses for store in stores)
    )
