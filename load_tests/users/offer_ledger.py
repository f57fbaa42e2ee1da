"""Joins what an order service did with what drivers see, by the job's id.

An offer says nothing of when its order was sent, and may even arrive before the 201 that tells the
order service the job's id. So both sides are written down here, and whichever comes second
completes the pair. Both must be in one process: `load_run` says how a worker's orders stay with
its own drivers.

Times are seconds of any one clock.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from load_tests.measurements import Measure

# Offers of jobs that nobody here has posted (yet): others may send orders to the same engine.
MAX_EARLY: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Freed:
    """A job that a driver let go of with an offer, and from when the next one's is awaited."""

    offer: str
    measure: Measure
    since_s: float


class Ledger:
    """What is known of jobs between their order and their next offer."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}
        self._early_s: OrderedDict[str, float] = OrderedDict()
        self._freed: dict[str, _Freed] = {}

    def posted(self, job: str, due_s: float) -> float | None:
        """A job was taken whose order was due at `due_s`.

        Returns its offer latency if it was offered already.
        """
        offered_s = self._early_s.pop(job, None)
        if offered_s is not None:
            return offered_s - due_s
        self._due_s[job] = due_s
        return None

    def offered(self, job: str, at_s: float) -> tuple[Measure, float] | None:
        """A driver was offered a job; returns what that completes, and its seconds."""
        if freed := self._freed.pop(job, None):
            # An offer's limit is known to the millisecond of a frame's way, not better.
            return freed.measure, max(0.0, at_s - freed.since_s)
        due_s = self._due_s.pop(job, None)
        if due_s is not None:
            return Measure.OFFER, at_s - due_s
        self._early_s[job] = at_s
        if len(self._early_s) > MAX_EARLY:
            self._early_s.popitem(last=False)
        return None

    def declined(self, offer: str, jobs: Iterable[str], at_s: float) -> None:
        """A driver is about to decline an offer."""
        for job in jobs:
            self._freed[job] = _Freed(offer, Measure.REASSIGN_DECLINED, at_s)

    def left_open(self, offer: str, jobs: Iterable[str], limit_s: float) -> None:
        """A driver will not answer an offer, which runs out at `limit_s`."""
        for job in jobs:
            self._freed[job] = _Freed(offer, Measure.REASSIGN_LATENESS, limit_s)

    def withdrawn(self, offer: str) -> None:
        """An offer ended otherwise than its driver meant: what comes next measures nothing."""
        for job in [job for job, freed in self._freed.items() if freed.offer == offer]:
            del self._freed[job]

    def overdue(self, now_s: float, grace_s: float) -> Iterator[tuple[Measure, float]]:
        """What has waited for an offer for over `grace_s`, and how long; each is told once."""
        waiting = {job: (Measure.OFFER, due_s) for job, due_s in self._due_s.items()}
        waiting |= {job: (freed.measure, freed.since_s) for job, freed in self._freed.items()}
        for job, (measure, since_s) in waiting.items():
            if now_s - since_s > grace_s:
                self._due_s.pop(job, None)
                self._freed.pop(job, None)
                yield measure, now_s - since_s
