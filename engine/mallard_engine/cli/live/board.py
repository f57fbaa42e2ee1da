"""What `mallard watch` knows of a market: open jobs, alerts, drivers, nodes, and rates.

It is fed with what the engine lists and with events, and does no I/O: times are arguments. An event
may come again, and one that is older than what is known of its job changes nothing.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import UNSET

from mallard_engine.cli.live.tables import age, duration
from mallard_protocol.control import AlertView, NodeView
from mallard_protocol.events import Event, EventType
from mallard_protocol.lifecycle import TERMINAL, JobState, Risk
from mallard_protocol.resources import DriverView, Job

OPEN_STATES: Final = tuple(state for state in JobState if state not in TERMINAL)
RATES_OVER_S: Final = 60
# A job that looks for a driver for longer is an exception.
LONG_S: Final = 60
_WAITING: Final = frozenset({JobState.QUEUED, JobState.OFFERED})
# These events give a driver's position and say nothing about the job.
_PASSING: Final = frozenset({EventType.DRIVER_MOVED})
_RATES: Final = {
    EventType.CREATED: "orders",
    EventType.OFFERED: "offers",
    EventType.ASSIGNED: "assigned",
    EventType.DELIVERED: "delivered",
    EventType.QUEUED: "requeued",
}
RATES: Final = tuple(_RATES.values())


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that has not ended. `since`: when it came into its state."""

    id: str
    state: str
    since: datetime
    created_at: datetime
    deadline: datetime | None
    risk: str
    mall: str
    driver: str
    external_id: str
    held: str
    held_until: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an operator should look at. `kind`: alert, late, at_risk, held, unassigned."""

    kind: str
    id: str
    what: str
    about: str
    where: str
    external_id: str


KINDS: Final = ("alert", "late", "at_risk", "held", "unassigned")


@dataclass(slots=True)
class Board:
    """The state of one market as far as it is known.

    `trouble`: why the engine does not answer, `silent_since`: since when; None if it does.
    """

    market: str
    began: datetime
    jobs: dict[str, OpenJob] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    alerts: Sequence[AlertView] = ()
    drivers: Counter[str] = field(default_factory=Counter)
    nodes: Sequence[NodeView] = ()
    trouble: str = ""
    silent_since: datetime | None = None
    # Ids of jobs that have ended: a list that was read before does not bring them back.
    _gone: dict[str, None] = field(default_factory=dict)
    _sequences: dict[str, int] = field(default_factory=dict)
    _moments: deque[tuple[datetime, str]] = field(default_factory=deque)

    def counts(self) -> Counter[str]:
        """Return the number of open jobs by state."""
        return Counter(job.state for job in self.jobs.values())

    def add_jobs(self, jobs: Iterable[Job], *, all_of_them: bool = False) -> None:
        """Add jobs that the engine listed; with `all_of_them` it has no other open ones."""
        found = [open_job(job) for job in jobs if not job.terminal and job.id not in self._gone]
        newer = {
            job.id: known
            for job in found
            if (known := self.jobs.get(job.id)) is not None and known.updated_at > job.updated_at
        }
        listed = {job.id: job for job in found} | newer
        self.jobs = listed if all_of_them else self.jobs | listed

    def apply(self, event: Event) -> None:
        """Apply an event of the market."""
        if event.job is UNSET or event.type in _PASSING:
            return
        if event.job in self._gone or event.sequence <= self._sequences.get(event.job, 0):
            return
        self._sequences[event.job] = event.sequence
        if (
            rate := _RATES.get(EventType(event.type)) if event.type in _TYPES else None
        ) is not None:
            self._moments.append((event.recorded_at, rate))
        data = event.data
        if data.get("terminal"):
            self._ends(event.job, str(data.get("state")))
        elif "pickup" in data:
            self.jobs[event.job] = _from_event(event, self.jobs.get(event.job))

    def _ends(self, job: str, state: str) -> None:
        self.jobs.pop(job, None)
        self.ended[state] += 1
        self._gone[job] = None
        self._sequences.pop(job, None)
        while len(self._gone) > _GONE_KEPT:
            del self._gone[next(iter(self._gone))]

    def set_drivers(self, drivers: Iterable[DriverView]) -> None:
        """Replace the drivers by those that the engine listed."""
        self.drivers = Counter(
            "no socket" if not it.connected and it.state != "offline" else it.state
            for it in drivers
        )

    def rates(self, now: datetime) -> dict[str, float]:
        """Return what happened a minute, over the last minute or since the start."""
        oldest = now - timedelta(seconds=RATES_OVER_S)
        while self._moments and self._moments[0][0] < oldest:
            self._moments.popleft()
        counted = Counter(name for _, name in self._moments)
        seen_s = min(float(RATES_OVER_S), max(1.0, (now - self.began).total_seconds()))
        return {name: counted[name] * 60 / seen_s for name in RATES}

    def findings(self, now: datetime) -> list[Finding]:
        """Return what an operator should look at, the most urgent first."""
        jobs = list(self.jobs.values())
        late = [job for job in jobs if job.risk == Risk.LATE]
        at_risk = [job for job in jobs if job.risk == Risk.AT_RISK]
        held = [job for job in jobs if job.held]
        waiting = [
            job
            for job in jobs
            if job.state in _WAITING and (now - job.created_at).total_seconds() > LONG_S
        ]
        return [
            *(_alert(alert, now) for alert in self.alerts),
            *(_finding("late", it, _deadline(it, now)) for it in sorted(late, key=_by_deadline)),
            *(
                _finding("at_risk", it, _deadline(it, now))
                for it in sorted(at_risk, key=_by_deadline)
            ),
            *(_finding("held", it, _held(it, now)) for it in sorted(held, key=_by_hold)),
            *(
                _finding("unassigned", it, f"for {age(it.created_at, now)}")
                for it in sorted(waiting, key=lambda it: it.created_at)
            ),
        ]


_GONE_KEPT: Final = 100_000
_TYPES: Final = frozenset(EventType)


def open_job(job: Job) -> OpenJob:
    """Return what is shown of a job."""
    deadline = job.dropoff.deadline
    return OpenJob(
        id=job.id,
        state=job.state,
        since=job.timeline[-1].at if job.timeline else job.updated_at,
        created_at=job.created_at,
        deadline=None if deadline is UNSET else deadline,
        risk="" if job.risk is UNSET else job.risk,
        mall=job.pickup.mall,
        driver=job.driver or "",
        external_id="" if job.external_id is UNSET else job.external_id,
        held="" if job.held is None else job.held.why,
        held_until=None if job.held is None else job.held.until,
        updated_at=job.updated_at,
    )


def _from_event(event: Event, known: OpenJob | None) -> OpenJob:
    data: dict[str, Any] = event.data
    held: dict[str, Any] = data.get("held") or {}
    state = str(data.get("state"))
    same = known is not None and known.state == state
    return OpenJob(
        id=str(event.job),
        state=state,
        since=known.since if known is not None and same else event.recorded_at,
        created_at=_time(data.get("created_at")) or event.recorded_at,
        deadline=_time((data.get("dropoff") or {}).get("deadline")),
        risk=str(data.get("risk") or ""),
        mall=str(data["pickup"].get("mall", "")),
        driver=str(data.get("driver") or ""),
        external_id=str(data.get("external_id") or ""),
        held=str(held.get("why") or ""),
        held_until=_time(held.get("until")),
        updated_at=event.recorded_at,
    )


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _by_deadline(job: OpenJob) -> datetime:
    return job.deadline or job.created_at


def _by_hold(job: OpenJob) -> datetime:
    return job.held_until or job.created_at


def _deadline(job: OpenJob, now: datetime) -> str:
    if job.deadline is None:
        return job.state
    left_s = (job.deadline - now).total_seconds()
    return f"due in {duration(left_s)}" if left_s >= 0 else f"overdue by {duration(-left_s)}"


def _held(job: OpenJob, now: datetime) -> str:
    if job.held_until is None:
        return job.held
    return f"{job.held}, for {duration((job.held_until - now).total_seconds())} more"


def _finding(kind: str, job: OpenJob, what: str) -> Finding:
    about = f"{job.state} {job.driver}" if job.driver else job.state
    return Finding(kind, job.id, what, about, job.mall, job.external_id)


def _alert(alert: AlertView, now: datetime) -> Finding:
    about = " ".join(str(it) for it in (alert.driver, alert.job) if it is not UNSET)
    return Finding("alert", alert.id, f"{alert.what}, {age(alert.at, now)} ago", about, "", "")
