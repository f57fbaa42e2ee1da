"""The risk of a job at a moment, and whether it is looked at before it changes.

The checks know only the record of a job: its risk follows from it, and never falls while the record
stays as it is.
"""

import math
from collections.abc import Iterable

from mallard_engine.core.model import TRANSFER, Job
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import JobState, Risk
from tests.properties.world import HAUL_MS, LEAD_MS, Snapshot

_HAS_ETA = {JobState.ASSIGNED, JobState.AT_MALL, JobState.PICKED_UP}
_EVER_MS = 10**12


def risk_at(job: Job, at_ms: int, policy: MarketPolicy) -> Risk:
    """The risk of an open job at a time, if its record stays as it is."""
    if job.state is JobState.RETURNING or job.kind == TRANSFER:
        return Risk.NONE
    left_ms = job.deadline_ms - _dropped_off_ms(job, at_ms)
    if left_ms < 0:
        return Risk.LATE
    return Risk.AT_RISK if left_ms < math.ceil(policy.risk_margin_s * 1000) else Risk.NONE


def _dropped_off_ms(job: Job, at_ms: int) -> int:
    """When a job is expected at its door: by its ETA, or at the earliest."""
    if job.state in _HAS_ETA:
        if job.eta_dropoff_ms:
            return max(job.eta_dropoff_ms, at_ms)
        return at_ms + HAUL_MS + (LEAD_MS if job.state is not JobState.PICKED_UP else 0)
    begins_ms = max(at_ms, job.release_ms) if job.state is JobState.SCHEDULED else at_ms
    return max(begins_ms + LEAD_MS, job.need.ready_ms) + HAUL_MS


def check_risks(seen: Snapshot, policy: MarketPolicy) -> None:
    """Check that the risk of each open job is looked at before it changes."""
    for name, job in seen.jobs.items():
        at = seen.risks.get(name)
        if job.terminal:
            assert at is None, f"the risk of {name} ({job.state}) is still looked at"
            continue
        for moment in _until(seen.now, at):
            risk = risk_at(job, moment, policy)
            late = f"{name} ({job.state}) is {risk} at {moment - seen.now:+} ms, not {job.risk}"
            assert risk == job.risk, f"{late}; it is looked at, at {at and at - seen.now}"


def _until(now: int, at: int | None) -> Iterable[int]:
    """The first and the last moment before a job is looked at (None: never)."""
    last = now + _EVER_MS if at is None else at - 1
    return (now, last) if last >= now else ()
