"""Audits a run: compares the engine's jobs with the ledgers of orders and of drivers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mallard_engine.workload.bad_day.ledger import Accounts, JobEnd, Ledger, settle
from mallard_engine.workload.fleet_tally import FleetTally
from mallard_protocol.lifecycle import TERMINAL, JobState
from mallard_protocol.resources import Explanation, Job

ENDS: Final = (
    JobState.DELIVERED,
    JobState.RETURNED,
    JobState.CANCELLED,
    JobState.EXPIRED,
    JobState.FAILED,
)
DEAD_AFTER_MS: Final = 2_000
_SHOWN: Final = 3
_WANTED_PERCENT: Final = 98.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim about the run, whether it holds, and what was found."""

    claim: str
    holds: bool
    seen: str


def audit(
    submitted: Iterable[str], jobs: Sequence[Job], tally: FleetTally, *, wanted_delivered: int
) -> list[Finding]:
    """Compare the engine's list of jobs with the submitted jobs and the drivers' ledgers."""
    by_id = {job.id: job for job in jobs}
    ours = set(submitted)
    states = Counter(job.state for job in jobs)
    ended = sum(states[state] for state in ENDS)
    delivered = {job.id: job.driver for job in jobs if job.state == JobState.DELIVERED}
    ledger = {job: drivers[0] for job, drivers in tally.delivered_by.items()}
    not_as_reported = [job for job, driver in ledger.items() if delivered.get(job) != driver]
    not_reported = sorted(set(delivered) - set(ledger))
    collected_twice = [
        job
        for job, drivers in tally.collected_by.items()
        if len(drivers) > 1 + tally.handed_on[job]
    ]
    sums = " + ".join(f"{states[state]} {state}" for state in ENDS)
    return [
        Finding("nothing lost: every job answered 201 is listed", *_none(ours - set(by_id))),
        Finding("nothing doubled: every listed job was submitted", *_none(set(by_id) - ours)),
        Finding(
            "submitted = delivered + returned + cancelled + expired + failed",
            len(ours) == ended,
            f"{len(ours)} = {sums}",
        ),
        Finding("still open 0", *_none(j.id for j in jobs if j.state not in TERMINAL)),
        Finding(
            f"at least {wanted_delivered} delivered",
            states[JobState.DELIVERED] >= wanted_delivered,
            str(states[JobState.DELIVERED]),
        ),
        Finding("one driver delivered each parcel (drivers' ledgers)", *_none(tally.doubled)),
        Finding("one driver collected each parcel (drivers' ledgers)", *_none(collected_twice)),
        Finding("every delivery in a ledger is delivered in the engine", *_none(not_as_reported)),
        Finding("every delivered job is in a driver's ledger", *_none(not_reported)),
    ]


def accounts_of(ledger: Ledger, jobs: Iterable[Job]) -> Accounts:
    """Compare the ledger of a bad day with the engine's list of jobs."""
    return settle(ledger, {job.id: JobEnd(job.state, job.driver, job.reason) for job in jobs})


def bad_day_findings(accounts: Accounts) -> list[Finding]:
    """Return the claims about the parcels of a bad day."""
    share = accounts.on_time_percent
    return [
        Finding("every parcel is accounted for (ledger of a bad day)", *_none(accounts.wrongs)),
        Finding("no driver is sent for parcels known to be absent", *_none(accounts.in_vain)),
        Finding(
            f"at least {_WANTED_PERCENT:g} % of the deliverable orders are delivered",
            share >= _WANTED_PERCENT,
            f"{accounts.on_time} of {accounts.deliverable}, {share:.1f} %",
        ),
    ]


def offers_to_dead_node(
    killed_ms: int, back_ms: Mapping[str, int], explained: Iterable[tuple[Job, Explanation]]
) -> Finding:
    """Check that the drivers of a killed node received no offers while they had no socket.

    Offers within 2 s of the kill are allowed: the node's lease may last that long.

    Args:
        killed_ms: When the node was killed, in epoch ms.
        back_ms: When another node welcomed each driver; a driver that did not return is missing.
        explained: The jobs that were offered since the kill, with their explanations.
    """
    late: list[str] = []
    last_ms = 0
    for job, explanation in explained:
        offered_ms = [
            int(e.at.timestamp() * 1000) for e in job.timeline if e.state == JobState.OFFERED
        ]
        for turn in explanation.asked:
            ended_ms = int(turn.at.timestamp() * 1000)
            made_ms = max((at for at in offered_ms if at <= ended_ms), default=0)
            if turn.driver in back_ms and killed_ms <= made_ms < back_ms[turn.driver]:
                last_ms = max(last_ms, made_ms - killed_ms)
                if made_ms > killed_ms + DEAD_AFTER_MS:
                    late.append(f"{turn.driver} {made_ms - killed_ms} ms after the kill")
    seen = f"{len(back_ms)} drivers; last such offer {last_ms} ms after the kill"
    return Finding(
        "a dead node's drivers get no offer later than 2 s after the kill",
        not late,
        ", ".join(late[:_SHOWN]) if late else seen,
    )


def _none(found: Iterable[str]) -> tuple[bool, str]:
    """Return whether nothing was found, and otherwise the number and the first few items."""
    items = sorted(found)
    if not items:
        return True, "0"
    more = ", …" if len(items) > _SHOWN else ""
    return False, f"{len(items)}: {', '.join(items[:_SHOWN])}{more}"
