"""Joins what the workers saw, in the order in which it happened, and keeps it by windows of time.

A measure belongs to the window in which it began: an order to that of its intended start.
"""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from load_tests.histograms import Histograms
from load_tests.measurements import Measure
from load_tests.swarm.event_log import Event, Happened
from load_tests.users.offer_ledger import Ledger

_MS_PER_S: Final = 1000.0


@dataclass(slots=True)
class Window:
    """What began from `from_s` on and before `to_s`."""

    from_s: float
    to_s: float = float("inf")
    histograms: Histograms = field(default_factory=Histograms)

    def holds(self, moment_s: float) -> bool:
        """Whether a moment lies in it."""
        return self.from_s <= moment_s < self.to_s


class Accounts:
    """The books of a swarm with so many workers."""

    def __init__(self, workers: int) -> None:
        self.window: Window | None = None
        self.counts: Counter[str] = Counter()
        self._ledger = Ledger()
        self._flash: set[str] = set()
        self._until_s = [0.0] * workers
        self._waiting: list[tuple[float, int, Event]] = []
        self._turns = itertools.count()

    def take(self, worker: int, notes: dict[str, Any]) -> None:
        """A worker's notes of the last moments."""
        self._until_s[worker] = notes["until_s"]
        self.counts.update(notes["counts"])
        for measure, began_s, seconds, failed in notes["samples"]:
            self._record(measure, began_s, seconds, failed=failed)
        for event in notes["events"]:
            heapq.heappush(self._waiting, (event[0], next(self._turns), event))
        # What all have told up to now is complete, and can be put in order.
        settled_s = min(self._until_s)
        while self._waiting and self._waiting[0][0] <= settled_s:
            self._join(heapq.heappop(self._waiting)[2])

    def settle(self, now_s: float, grace_s: float) -> None:
        """What has waited for its offer for longer than that has failed."""
        for measure, waited_s in self._ledger.overdue(now_s, grace_s):
            self.counts[f"{measure.value}: no offer came"] += 1
            self._record(measure.value, now_s - waited_s, waited_s, failed=True)

    def _join(self, event: Event) -> None:
        at_s, kind, *what = event
        match kind:
            case Happened.POSTED:
                job, due_s, measure = what
                is_flash = measure == Measure.POST_BURST
                latency_s = self._ledger.posted(job, due_s)
                if latency_s is not None:
                    self._offered(Measure.OFFER, due_s, latency_s, is_flash=is_flash)
                elif is_flash:
                    self._flash.add(job)
            case Happened.OFFERED:
                if completed := self._ledger.offered(what[0], at_s):
                    measure, seconds = completed
                    is_flash = what[0] in self._flash
                    if measure is Measure.OFFER:
                        self._flash.discard(what[0])
                    self._offered(measure, at_s - seconds, seconds, is_flash=is_flash)
            case Happened.DECLINED:
                self._ledger.declined(what[0], what[1], at_s)
            case Happened.LEFT_OPEN:
                self._ledger.left_open(what[0], what[1], what[2])
            case Happened.WITHDRAWN:
                self._ledger.withdrawn(what[0])

    def _offered(self, measure: Measure, began_s: float, seconds: float, *, is_flash: bool) -> None:
        if is_flash and measure is Measure.OFFER:
            measure = Measure.OFFER_BURST
        self._record(measure.value, began_s, seconds)

    def _record(self, name: str, began_s: float, seconds: float, *, failed: bool = False) -> None:
        if self.window is not None and self.window.holds(began_s):
            self.window.histograms.record(name, seconds * _MS_PER_S, failed=failed)
