"""What a worker writes down, until its conductor fetches it.

An order and its offer may come to two workers, so what concerns both is told as events, which the
conductor puts in order and joins; what began and ended in one place is a sample already.
"""

import time
from collections import Counter
from enum import StrEnum
from typing import Any

from load_tests.measurements import Measure


class Happened(StrEnum):
    """What an event tells, and with what."""

    POSTED = "posted"
    """An order was taken: the job, when it was due, as which measure."""
    OFFERED = "offered"
    """A driver was offered something: the job."""
    DECLINED = "declined"
    """A driver is about to decline: the offer, its jobs."""
    LEFT_OPEN = "left open"
    """A driver will not answer: the offer, its jobs, its limit."""
    WITHDRAWN = "withdrawn"
    """An offer ended otherwise than its driver meant: the offer."""


Sample = tuple[str, float, float, bool]
"""A measure, when it began (seconds, monotonic), how long it took, whether it failed."""
Event = tuple[Any, ...]
"""When it happened, what (`Happened`), and with what."""


class Notebook:
    """Samples, events and counts since the last `take`."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._events: list[Event] = []
        self._counts: Counter[str] = Counter()

    def sample(self, measure: Measure, began_s: float, ended_s: float) -> None:
        """Something went well."""
        self._samples.append((measure.value, began_s, ended_s - began_s, False))

    def failure(self, measure: Measure, began_s: float, why: str) -> None:
        """Something did not."""
        self._samples.append((measure.value, began_s, time.monotonic() - began_s, True))
        self._counts[f"{measure.value}: {why}"] += 1

    def count(self, what: str) -> None:
        """Count something."""
        self._counts[what] += 1

    def event(self, at_s: float, kind: Happened, *what: Any) -> None:
        """Something that another worker may hold the other end of."""
        self._events.append((at_s, kind.value, *what))

    def take(self) -> dict[str, Any]:
        """All since the last time, ready for the wire."""
        taken = {"samples": self._samples, "events": self._events, "counts": dict(self._counts)}
        self._samples, self._events = [], []
        self._counts.clear()
        return taken
