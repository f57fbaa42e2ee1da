"""Joins the events of all workers in chronological order, and keeps the measures of a time window.

A measure belongs to the window in which it began; an order began when it was due.
"""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from load_tests.drivers.offer_ledger import Ledger
from load_tests.drivers.recorder import EventKind
from load_tests.histograms import Histograms
from load_tests.measurements import Measure
from load_tests.swarm.event_log import Event

_MS_PER_S: Final = 1000.0


@dataclass(slots=True)
class Window:
    """The measures that began at or after `from_s` and before `to_s`."""

    from_s: float
    to_s: float = float("inf")
    histograms: Histograms = field(default_factory=Histograms)

    def holds(self, moment_s: float) -> bool:
        """Whether a moment lies in the window."""
        return self.from_s <= moment_s < self.to_s


class Accounting:
    """The counts and measures of a swarm with `workers` workers."""

    def __init__(self, workers: int) -> None:
        self.window: Window | None = None
        self.counts: Counter[str] = Counter()
        self._ledger = Ledger()
        self._flash: set[str] = set()
        self._until_s = [0.0] * workers
        self._waiting: list[tuple[float, int, Event]] = []
        self._numbers = itertools.count()

    def take(self, worker: int, log: dict[str, Any]) -> None:
        """Take the event log of a worker."""
        self._until_s[worker] = log["until_s"]
        self.counts.update(log["counts"])
        for measure, began_s, seconds, failed in log["samples"]:
            self._record(measure, began_s, seconds, failed=failed)
        for event in log["events"]:
            heapq.heappush(self._waiting, (event[0], next(self._numbers), event))
        # Events up to the oldest log are complete, and can be ordered.
        settled_s = min(self._until_s)
        while self._waiting and self._waiting[0][0] <= settled_s:
            self._join(heapq.heappop(self._waiting)[2])

    def settle(self, now_s: float, grace_s: float) -> None:
        """Count what has waited longer than `grace_s` for its offer as failed."""
        for measure, waited_s in self._ledger.overdue(now_s, grace_s):
            self.counts[f"{measure.value}: no offer came"] += 1
            self._record(measure.value, now_s - waited_s, waited_s, failed=True)

    def _join(self, event: Event) -> None:
        at_s, kind, *what = event
        match kind:
            case EventKind.POSTED:
                job, due_s, measure = what
                is_flash = measure == Measure.POST_BURST
                latency_s = self._ledger.posted(job, due_s)
                if latency_s is not None:
                    self._offered(Measure.OFFER, due_s, latency_s, is_flash=is_flash)
                elif is_flash:
                    self._flash.add(job)
            case EventKind.OFFERED:
                if completed := self._ledger.offered(what[0], at_s):
                    measure, seconds = completed
                    is_flash = what[0] in self._flash
                    if measure is Measure.OFFER:
                        self._flash.discard(what[0])
                    self._offered(measure, at_s - seconds, seconds, is_flash=is_flash)
            case _:
                self._ledger.apply(at_s, kind, *what)

    def _offered(self, measure: Measure, began_s: float, seconds: float, *, is_flash: bool) -> None:
        if is_flash and measure is Measure.OFFER:
            measure = Measure.OFFER_BURST
        self._record(measure.value, began_s, seconds)

    def _record(self, name: str, began_s: float, seconds: float, *, failed: bool = False) -> None:
        if self.window is not None and self.window.holds(began_s):
            self.window.histograms.record(name, seconds * _MS_PER_S, failed=failed)
