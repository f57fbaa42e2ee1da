"""The stops of a driver, as the customer of one of its jobs may know them."""

from collections.abc import Sequence
from math import inf

from mallard_engine.core.model import Job
from mallard_protocol.lifecycle import JobState


def has_more_to_collect(job: Job) -> bool:
    """Return whether its driver must still visit a store."""
    if job.state in {JobState.ASSIGNED, JobState.AT_MALL}:
        return True
    # Something was collected, so that what is not done is left.
    done = job.need.done
    return job.state is JobState.PICKED_UP and bool(done) and len(done) < len(job.need.stores)


def stops_before(job: Job, jobs: Sequence[Job]) -> int:
    """Return how many stops the driver makes before the next one of this job; 0: it is the next.

    A driver collects everything first, mall by mall, then drops off in the order of the expected
    times; what goes back comes last.

    Args:
        job: a job that the driver holds.
        jobs: all jobs that the driver holds.
    """
    to_collect = [each for each in jobs if has_more_to_collect(each)]
    to_collect.sort(key=lambda each: (each.eta_pickup_ms or inf, each.id))
    malls = list(dict.fromkeys(each.mall for each in to_collect))
    if any(each.id == job.id for each in to_collect):
        return malls.index(job.mall)
    to_drop = [each for each in jobs if all(each is not other for other in to_collect)]
    to_drop.sort(key=lambda each: (_dropped_off_ms(each), each.id))
    return len(malls) + [each.id for each in to_drop].index(job.id)


def _dropped_off_ms(job: Job) -> float:
    is_back = job.state is JobState.RETURNING
    return inf if is_back or job.eta_dropoff_ms is None else job.eta_dropoff_ms
