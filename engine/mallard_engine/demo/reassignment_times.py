"""Measures reassignments: the time from the end of an offer to the job's next offer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from mallard_protocol.resources import Job

DECLINED_WITHIN_MS = 100
ENDED_WITHIN_MS = 250


@dataclass(slots=True)
class ReassignmentTimes:
    """Times in milliseconds, one for each offer that ended without an acceptance.

    Attributes:
        after_decline: From a decline to the job's next offer.
        after_end: From the limit of an expired or unacknowledged offer to the next offer.
        end_lateness: From that limit to the end of the offer.
        by_cause: The number of ended offers by cause.
        without_next: The number of ended offers whose job received no further offer.
    """

    after_decline: list[float] = field(default_factory=list)
    after_end: list[float] = field(default_factory=list)
    end_lateness: list[float] = field(default_factory=list)
    by_cause: dict[str, int] = field(default_factory=dict)
    without_next: int = 0


def reassignment_times(jobs: Iterable[Job], limits_ms: dict[str, int]) -> ReassignmentTimes:
    """Read the jobs' timelines; `limits_ms` is the lifetime of an offer by the cause of its end."""
    found = ReassignmentTimes()
    for job in jobs:
        offered_at: datetime | None = None
        ended: tuple[str, datetime, datetime] | None = None
        for entry in job.timeline:
            if entry.state == "offered":
                if ended is not None:
                    _note(found, *ended, next_at=entry.at, limits_ms=limits_ms)
                    ended = None
                offered_at = entry.at
            elif entry.state == "queued" and offered_at is not None:
                ended = (entry.cause, offered_at, entry.at)
                found.by_cause[entry.cause] = found.by_cause.get(entry.cause, 0) + 1
                if entry.cause in limits_ms:
                    late_ms = _ms(entry.at, offered_at) - limits_ms[entry.cause]
                    found.end_lateness.append(late_ms)
                offered_at = None
        found.without_next += ended is not None
    return found


def _note(
    found: ReassignmentTimes,
    cause: str,
    offered_at: datetime,
    ended_at: datetime,
    *,
    next_at: datetime,
    limits_ms: dict[str, int],
) -> None:
    if cause == "declined":
        found.after_decline.append(_ms(next_at, ended_at))
    elif cause in limits_ms:
        found.after_end.append(_ms(next_at, offered_at) - limits_ms[cause])


def _ms(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() * 1000
