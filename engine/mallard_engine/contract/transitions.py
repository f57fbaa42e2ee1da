"""The permitted changes of a job's state and of a driver's, as tables.

The diagrams in docs/contract are generated from them, and the audit checks timelines against them.
"""

from dataclasses import dataclass

from mallard_protocol.lifecycle import BEFORE_PICKUP, ON_BOARD, DriverState, JobState

# A submitted job is scheduled if it is released later, else queued.
INITIAL = frozenset({JobState.SCHEDULED, JobState.QUEUED})


@dataclass(frozen=True, slots=True)
class Transition:
    """One permitted change of state: from any of `sources` to `target` for `cause`."""

    sources: frozenset[JobState]
    target: JobState
    cause: str


def _from(*sources: JobState) -> frozenset[JobState]:
    return frozenset(sources)


_S = JobState

JOB_TRANSITIONS: tuple[Transition, ...] = (
    Transition(_from(_S.SCHEDULED), _S.QUEUED, "released"),
    Transition(_from(_S.QUEUED), _S.OFFERED, "offered"),
    Transition(_from(_S.OFFERED), _S.ASSIGNED, "accepted"),
    Transition(_from(_S.OFFERED), _S.QUEUED, "declined"),
    Transition(_from(_S.OFFERED), _S.QUEUED, "expired"),
    Transition(_from(_S.OFFERED), _S.QUEUED, "unacknowledged"),
    Transition(_from(_S.OFFERED), _S.QUEUED, "withdrawn"),
    # No driver can collect it before its mall closes: it waits for the next opening.
    Transition(_from(_S.QUEUED, _S.OFFERED), _S.SCHEDULED, "mall_closes"),
    # Its data broke its rounds: it waits until an operator retries it.
    Transition(_from(_S.QUEUED), _S.SCHEDULED, "dead_letter"),
    Transition(_from(_S.SCHEDULED), _S.QUEUED, "retried"),
    # A shop cannot hand over its parcels: the job waits for an answer, or for a time.
    Transition(_from(_S.QUEUED, _S.OFFERED, _S.ASSIGNED, _S.AT_MALL), _S.SCHEDULED, "held"),
    Transition(BEFORE_PICKUP, _S.FAILED, "failed"),
    Transition(_from(_S.ASSIGNED), _S.AT_MALL, "arrived"),
    Transition(_from(_S.AT_MALL), _S.PICKED_UP, "picked_up"),
    # An app that was offline on arrival reports both at once; the timeline has `at_mall` as well.
    Transition(_from(_S.ASSIGNED), _S.PICKED_UP, "picked_up"),
    Transition(_from(_S.ASSIGNED, _S.AT_MALL), _S.QUEUED, "gave_up"),
    Transition(_from(_S.ASSIGNED, _S.AT_MALL), _S.QUEUED, "silent"),
    Transition(_from(_S.ASSIGNED, _S.AT_MALL), _S.QUEUED, "unassigned"),
    # A holder on the way back may still report the delivery.
    Transition(_from(_S.PICKED_UP, _S.RETURNING), _S.DELIVERED, "delivered"),
    Transition(_from(_S.PICKED_UP), _S.RETURNING, "returning"),
    # The order is short, and its rule is `fail`: what is on board goes back.
    Transition(_from(_S.PICKED_UP), _S.RETURNING, "short"),
    # The order's rule, or its third delivery attempt; an answer; a cancellation.
    Transition(_from(_S.PICKED_UP), _S.RETURNING, "undeliverable"),
    Transition(_from(_S.PICKED_UP), _S.RETURNING, "answered"),
    Transition(_from(_S.PICKED_UP), _S.RETURNING, "cancel_requested"),
    Transition(_from(_S.RETURNING), _S.PICKED_UP, "turned_round"),
    Transition(_from(_S.RETURNING), _S.RETURNED, "returned"),
    # A report of the shop.
    Transition(_from(_S.RETURNING), _S.RETURNED, "received"),
    Transition(BEFORE_PICKUP, _S.CANCELLED, "cancelled"),
    Transition(_from(_S.SCHEDULED, _S.QUEUED, _S.OFFERED), _S.EXPIRED, "expired"),
    Transition(BEFORE_PICKUP, _S.ASSIGNED, "operator_assigned"),
    Transition(BEFORE_PICKUP, _S.PICKED_UP, "custody"),
    Transition(ON_BOARD, _S.RETURNED, "closed"),
    Transition(ON_BOARD, _S.DELIVERED, "closed"),
    Transition(ON_BOARD, _S.LOST, "closed"),
    # A second driver has met the holder and taken the parcels over.
    Transition(_from(_S.PICKED_UP), _S.PICKED_UP, "transferred"),
    Transition(_from(_S.RETURNING), _S.RETURNING, "transferred"),
    # The second driver was revoked meanwhile, but has met the holder.
    Transition(_from(_S.PICKED_UP), _S.PICKED_UP, "custody"),
    Transition(_from(_S.RETURNING), _S.RETURNING, "custody"),
)


def may_move(source: JobState, target: JobState) -> bool:
    """Whether any cause moves a job from `source` to `target`."""
    return any(source in t.sources and t.target is target for t in JOB_TRANSITIONS)


@dataclass(frozen=True, slots=True)
class DriverTransition:
    """One permitted change of a driver's shown state."""

    source: DriverState
    target: DriverState
    cause: str


_D = DriverState

DRIVER_TRANSITIONS: tuple[DriverTransition, ...] = (
    DriverTransition(_D.OFFLINE, _D.AVAILABLE, "status available, or back within resume_ttl_s"),
    DriverTransition(_D.OFFLINE, _D.PAUSED, "status paused, or back within resume_ttl_s"),
    DriverTransition(_D.AVAILABLE, _D.PAUSED, "status paused"),
    DriverTransition(_D.PAUSED, _D.AVAILABLE, "status available"),
    DriverTransition(_D.AVAILABLE, _D.OFFLINE, "status offline, block over, or no socket"),
    DriverTransition(_D.PAUSED, _D.OFFLINE, "status offline, block over, or no socket"),
    DriverTransition(_D.AVAILABLE, _D.OFFERED, "an offer"),
    DriverTransition(_D.OFFERED, _D.AVAILABLE, "declined, expired, withdrawn, cancelled, taken"),
    DriverTransition(_D.OFFERED, _D.PAUSED, "the offer ended after status paused"),
    DriverTransition(_D.OFFERED, _D.OFFLINE, "status offline declined it, or it ended while away"),
    DriverTransition(_D.OFFERED, _D.ON_RUN, "accepted"),
    DriverTransition(_D.AVAILABLE, _D.ON_RUN, "an operator assigned a job, or custody"),
    DriverTransition(_D.PAUSED, _D.ON_RUN, "an operator assigned a job, or custody"),
    DriverTransition(_D.OFFLINE, _D.ON_RUN, "an operator assigned a job, or custody"),
    DriverTransition(_D.ON_RUN, _D.AVAILABLE, "the last job ended"),
    DriverTransition(_D.ON_RUN, _D.PAUSED, "the last job ended after status paused"),
    DriverTransition(_D.ON_RUN, _D.OFFLINE, "the last job ended while away"),
    DriverTransition(_D.ON_RUN, _D.OFFERED, "the last job ended with a live offer out"),
)
