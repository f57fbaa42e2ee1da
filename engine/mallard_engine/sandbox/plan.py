"""What a robot does at each stage of a job, by the ending that its order names.

Pure. The job's own record tells what has been done already, so that robots of another node, which
have taken over, continue where the earlier ones stopped.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import UNSET

from mallard_engine.contract.sandbox import KEY, Ending
from mallard_protocol.lifecycle import JobState
from mallard_protocol.messages import ProblemKind
from mallard_protocol.resources import Job

DOOR_PROBLEMS: Final[dict[Ending, ProblemKind]] = {
    Ending.CUSTOMER_OUT: "customer_unreachable",
    Ending.UNDELIVERABLE_LEFT: "customer_unreachable",
    Ending.REFUSED: "refused",
    Ending.WRONG_ADDRESS: "wrong_address",
}
"""What a robot reports at the door."""

_AT_COUNTER: Final = frozenset(
    {
        Ending.CANCELLED,
        Ending.CANCELLED_BY_DRIVER,
        Ending.LATE,
        Ending.WRONG_CODE,
        Ending.SHORT,
        Ending.MISSING,
        Ending.HELD,
    }
)


def ending_of(job: Job) -> Ending:
    """Return the ending of a job; a transfer, and an order without one, are delivered."""
    named = "" if job.metadata is UNSET else job.metadata.get(KEY, "")
    try:
        return Ending(named)
    except ValueError:
        return Ending.DELIVERED


def accepts(job: Job) -> bool:
    """Return whether a robot accepts the offer of a job."""
    ending = ending_of(job)
    if ending is Ending.DECLINED_THEN_DELIVERED:
        return _has_cause(job, "declined")
    return ending not in {Ending.NO_DRIVER, Ending.YOUR_DRIVER}


def at_counter(job: Job) -> Ending | None:
    """Return what goes wrong where the parcels are collected; None: nothing, or nothing more."""
    ending = ending_of(job)
    if ending not in _AT_COUNTER:
        return None
    is_over = (
        (ending is Ending.CANCELLED_BY_DRIVER and _has_cause(job, "gave_up"))
        or (ending is Ending.HELD and _was_held(job))
        or (ending is Ending.LATE and _has_problem(job, {"not_ready"}))
    )
    return None if is_over else ending


def at_door(job: Job) -> Ending | None:
    """Return what goes wrong at the customer's door; None: nothing, or nothing more."""
    ending = ending_of(job)
    if ending is Ending.LOST:
        return ending
    if ending is Ending.TURNED_ROUND:
        return None if any(it.state == JobState.RETURNING for it in job.timeline) else ending
    kind = DOOR_PROBLEMS.get(ending)
    if kind is None or job.delivery_attempts == 0:
        return None if kind is None else ending
    # The customer takes the parcels, now that an answer says so.
    return None if _is_answered(job, kind) else ending


def is_reported(job: Job, ending: Ending) -> bool:
    """Return whether the trouble at the door is reported and waits for an answer."""
    kind = DOOR_PROBLEMS[ending]
    return any(it.kind == kind and it.state == "open" for it in job.problems)


def turns_round(job: Job) -> bool:
    """Return whether a robot on its way back turns round."""
    turns = sum(it.state == JobState.RETURNING for it in job.timeline)
    return ending_of(job) is Ending.TURNED_ROUND and turns == 1 and not job.cancel_requested


def breaks_down(job: Job) -> bool:
    """Return whether a robot with the job's parcels on board breaks down."""
    return ending_of(job) is Ending.BREAKDOWN and not _has_cause(job, "transferred")


def shops_to_find(job: Job) -> list[str]:
    """Return the shops of a held job that will find its parcels."""
    if job.held is None or ending_of(job) not in {Ending.HELD, Ending.MISSING, Ending.SHORT}:
        return []
    return [shop.store for shop in job.pickup.stores if shop.state in {"missing", "short"}]


def short_parcels(parcels: Iterable[int]) -> list[int]:
    """Return how many parcels each shop hands over if one is missing at the first that can."""
    left = list(parcels)
    # A shop with one parcel has none left, which is short only if another shop has some.
    index = next((number for number, count in enumerate(left) if count > 1), 0)
    left[index] -= 1
    return left


def _is_answered(job: Job, kind: str) -> bool:
    return any(
        problem.kind == kind
        and problem.answer is not UNSET
        and problem.answer.action in {"retry", "leave"}
        for problem in job.problems
    )


def _was_held(job: Job) -> bool:
    states = [entry.state for entry in job.timeline]
    return JobState.SCHEDULED in states[states.index(JobState.ASSIGNED) :]


def _has_cause(job: Job, cause: str) -> bool:
    return any(entry.cause == cause for entry in job.timeline)


def _has_problem(job: Job, kinds: set[str]) -> bool:
    return any(problem.kind in kinds for problem in job.problems)
