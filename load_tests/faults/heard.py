"""Compares the events that an order service received with what the engine returns of its jobs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple

from mallard_protocol.events import Event

# The state of a job after an event that is a change of state.
STATES: Final = {
    "job.created": "queued",
    "job.queued": "queued",
    "job.offered": "offered",
    "job.assigned": "assigned",
    "job.arrived": "at_mall",
    "job.picked_up": "picked_up",
    "job.delivered": "delivered",
}


class Change(NamedTuple):
    """A change of a job's state that was heard."""

    sequence: int
    state: str
    job: str
    recorded_at: datetime


class Rewound(NamedTuple):
    """An announced loss of writes: what was recorded between the two may be gone."""

    since: datetime
    until: datetime


@dataclass
class Heard:
    """What was heard in one way. `events`: of all types."""

    changes: dict[str, Change] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)
    rewound: list[Rewound] = field(default_factory=list)
    events: int = 0
    repeats: int = 0

    def take(self, event: Event) -> None:
        """Note an event."""
        self.events += 1
        if event.type == "market.rewound":
            since = datetime.fromisoformat(event.data["since"])
            self.rewound.append(Rewound(since, event.recorded_at))
        if (state := STATES.get(event.type)) is None:
            return
        self.repeats += event.id in self.changes
        job = str(event.job)
        self.changes[event.id] = Change(event.sequence, state, job, event.recorded_at)
        if state == "delivered":
            self.delivered.add(job)

    def may_be_lost(self, change: Change) -> bool:
        """Whether an announced loss of writes may have undone the change."""
        return any(it.since <= change.recorded_at <= it.until for it in self.rewound)


def judge(heard: Heard, stories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Compare what was heard with the timelines of all jobs; return what is wrong.

    Each change of each job must have been heard at least once, in the job's order by `sequence`,
    and none may have been invented; only what a `market.rewound` declares lost may be gone.
    """
    by_job: defaultdict[str, list[Change]] = defaultdict(list)
    for change in heard.changes.values():
        by_job[change.job].append(change)
    failures = []
    for job, timeline in stories.items():
        changes = sorted(by_job[job])
        states = [change.state for change in changes]
        kept = [change.state for change in changes if not heard.may_be_lost(change)]
        lived = [entry["state"] for entry in timeline]
        if not _is_part(lived, states):
            failures.append(f"{job} was {lived}, and a change was not heard: {states}")
        if not _is_part(kept, lived):
            failures.append(f"{job} was {lived}, and something else was heard: {states}")
        if any(a.sequence >= b.sequence for a, b in pairwise(changes)):
            failures.append(f"{job}: a sequence was used twice")
    unknown = by_job.keys() - stories.keys()
    failures += [
        f"{job} was invented"
        for job in unknown
        if not all(heard.may_be_lost(change) for change in by_job[job])
    ]
    return failures


def taken_back(heard: Heard, stories: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Return how many received changes the engine no longer has."""
    return len(heard.changes) - sum(map(len, stories.values()))


def _is_part(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether a sequence is in another, in order and with gaps."""
    rest = iter(whole)
    return all(any(item == other for other in rest) for item in part)
