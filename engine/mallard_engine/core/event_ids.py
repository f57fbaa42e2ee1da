"""The id and the number of an event, from its place in its market's stream.

`sequence` follows from the place alone, so that no counter has to survive lost writes: the place
begins with the time of Redis's clock.
"""

import re
from typing import Final, NamedTuple

_MOST_IN_A_MS: Final = 4096

_EVENT_ID: Final = re.compile(
    r"evt_(?P<market>[A-Za-z0-9_.:-]{1,64})\.(?P<ms>[0-9]{1,15})-(?P<n>[0-9]{1,9})(-[0-9]{1,15})?"
)


class Place(NamedTuple):
    """Where an event is in its market's stream: epoch milliseconds, and the number within them."""

    ms: int
    n: int

    @property
    def sequence(self) -> int:
        """The event's number: rises with the place, below 2^53 until the year 2039."""
        return self.ms * _MOST_IN_A_MS + self.n

    def __str__(self) -> str:
        return f"{self.ms}-{self.n}"


def event_id(market: str, place: Place) -> str:
    """Return the id of the event at a place."""
    return f"evt_{market}.{place}"


def read_event_id(text: str) -> tuple[str, Place]:
    """Return the market and the place of an event.

    Raises:
        ValueError: the text is no id of an event.
    """
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        raise ValueError("not the id of an event")
    return match["market"], Place(int(match["ms"]), int(match["n"]))
