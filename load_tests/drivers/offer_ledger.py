"""Joins what an order service sent with what drivers received, by the job's id.

An offer does not say when its order was sent, and it may arrive before the 201 that tells the order
service the job's id. Both sides are recorded here, and the later one completes the pair. Both must
be in one process: `load_run` keeps a worker's orders with the worker's own drivers.

Times are seconds of any one clock.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from load_tests.drivers.recorder import EventKind
from load_tests.measurements import Measure

# Offers of jobs not posted here, or not yet: others may send orders to the same engine.
MAX_EARLY: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Freed:
    """A job whose offer ends without an acceptance, and when: its next offer is awaited."""

    offer: str
    measure: Measure
    since_s: float


class Ledger:
    """The jobs that wait for their first or next offer."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}
        self._early_s: OrderedDict[str, float] = OrderedDict()
        self._freed: dict[str, _Freed] = {}

    def posted(self, job: str, due_s: float) -> float | None:
        """Record that an order due at `due_s` was accepted as this job.

        Returns:
            The offer latency, if the job was offered already.
        """
        offered_s = self._early_s.pop(job, None)
        if offered_s is not None:
            return offered_s - due_s
        self._due_s[job] = due_s
        return None

    def offered(self, job: str, at_s: float) -> tuple[Measure, float] | None:
        """Record an offer of a job; return the measure that it completes, and its seconds."""
        if freed := self._freed.pop(job, None):
            # The driver knows an offer's limit only to within the delay of its frame.
            return freed.measure, max(0.0, at_s - freed.since_s)
        due_s = self._due_s.pop(job, None)
        if due_s is not None:
            return Measure.OFFER, at_s - due_s
        self._early_s[job] = at_s
        if len(self._early_s) > MAX_EARLY:
            self._early_s.popitem(last=False)
        return None

    def declined(self, offer: str, jobs: Iterable[str], at_s: float) -> None:
        """Record that a driver is about to decline an offer."""
        for job in jobs:
            self._freed[job] = _Freed(offer, Measure.REASSIGN_DECLINED, at_s)

    def left_open(self, offer: str, jobs: Iterable[str], limit_s: float) -> None:
        """Record that a driver will not answer an offer, which expires at `limit_s`."""
        for job in jobs:
            self._freed[job] = _Freed(offer, Measure.REASSIGN_LATENESS, limit_s)

    def withdrawn(self, offer: str) -> None:
        """Record that an offer ended in another way than its driver intended: measure nothing."""
        for job in [job for job, freed in self._freed.items() if freed.offer == offer]:
            del self._freed[job]

    def apply(self, at_s: float, kind: EventKind, *what: Any) -> tuple[Measure, float] | None:
        """Record a driver's event; return the measure that it completes, and its seconds."""
        match kind:
            case EventKind.OFFERED:
                return self.offered(what[0], at_s)
            case EventKind.DECLINED:
                self.declined(what[0], what[1], at_s)
            case EventKind.LEFT_OPEN:
                self.left_open(what[0], what[1], what[2])
            case EventKind.WITHDRAWN:
                self.withdrawn(what[0])
        return None

    def overdue(self, now_s: float, grace_s: float) -> Iterator[tuple[Measure, float]]:
        """Remove what has waited for an offer for over `grace_s`; yield each with its seconds."""
        waiting = {job: (Measure.OFFER, due_s) for job, due_s in self._due_s.items()}
        waiting |= {job: (freed.measure, freed.since_s) for job, freed in self._freed.items()}
        for job, (measure, since_s) in waiting.items():
            if now_s - since_s > grace_s:
                self._due_s.pop(job, None)
                self._freed.pop(job, None)
                yield measure, now_s - since_s
