"""What a simulated driver app reports to its load generator."""

from enum import StrEnum
from typing import Any, Protocol

from load_tests.measurements import Measure


class EventKind(StrEnum):
    """The kinds of events that two parties see; each names its arguments."""

    POSTED = "posted"
    """An order was accepted: job, time it was due (s), measure."""
    OFFERED = "offered"
    """A driver received an offer: job."""
    DECLINED = "declined"
    """A driver is about to decline: offer, its jobs."""
    LEFT_OPEN = "left open"
    """A driver will not answer: offer, its jobs, its limit (s)."""
    WITHDRAWN = "withdrawn"
    """An offer ended in another way than its driver intended: offer."""


class Recorder(Protocol):
    """Takes samples, counts and events; times are seconds of `time.monotonic`."""

    def sample(self, measure: Measure, began_s: float, ended_s: float) -> None:
        """Record a success."""

    def failure(self, measure: Measure, began_s: float, why: str) -> None:
        """Record a failure that is known now."""

    def count(self, what: str) -> None:
        """Count an occurrence."""

    def event(self, at_s: float, kind: EventKind, *what: Any) -> None:
        """Record an event that is joined with what another party saw."""
