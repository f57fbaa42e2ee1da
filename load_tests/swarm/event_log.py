"""The event log of a worker, which it sends to the coordinator a few times a second.

An order and its offer may come to two workers, so each logs its side as an event, and the
coordinator orders and joins them. What began and ended in one worker is a sample.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from load_tests.drivers.recorder import EventKind
from load_tests.measurements import Measure

Sample = tuple[str, float, float, bool]
"""A measure, when it began (s, monotonic), how long it took (s), whether it failed."""
Event = tuple[Any, ...]
"""When it happened, its `EventKind`, and that kind's arguments."""


class EventLog:
    """Samples, events and counts since the last `take`."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._events: list[Event] = []
        self._counts: Counter[str] = Counter()
        # Called when something of that name is counted.
        self.on_count: dict[str, Callable[[], None]] = {}

    def sample(self, measure: Measure, began_s: float, ended_s: float) -> None:
        """Log a success."""
        self._samples.append((measure.value, began_s, ended_s - began_s, False))

    def failure(self, measure: Measure, began_s: float, why: str) -> None:
        """Log a failure that is known now."""
        self._samples.append((measure.value, began_s, time.monotonic() - began_s, True))
        self._counts[f"{measure.value}: {why}"] += 1

    def count(self, what: str) -> None:
        """Count an occurrence."""
        self._counts[what] += 1
        if what in self.on_count:
            self.on_count[what]()

    def event(self, at_s: float, kind: EventKind, *what: Any) -> None:
        """Log an event that is joined with another worker's."""
        self._events.append((at_s, kind.value, *what))

    def take(self) -> dict[str, Any]:
        """Return and clear all entries, as plain data for MessagePack."""
        taken = {"samples": self._samples, "events": self._events, "counts": dict(self._counts)}
        self._samples, self._events = [], []
        self._counts.clear()
        return taken
