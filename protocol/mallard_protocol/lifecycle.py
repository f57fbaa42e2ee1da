"""The states of jobs, shops and drivers, and the steps and outcomes that change them.

The engine's `contract/transitions.py` has the permitted changes.
"""

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job; see docs/contract/job-states.md."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    OFFERED = "offered"
    ASSIGNED = "assigned"
    AT_MALL = "at_mall"
    PICKED_UP = "picked_up"
    RETURNING = "returning"
    DELIVERED = "delivered"
    RETURNED = "returned"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"
    FAILED = "failed"


class ShopState(StrEnum):
    """What is known of a job's parcels at one shop.

    ``ready``: the shop or the order service said so. ``closed``: a driver found the shop closed.
    """

    WAITING = "waiting"
    READY = "ready"
    COLLECTED = "collected"
    SHORT = "short"
    MISSING = "missing"
    CLOSED = "closed"


class Wish(StrEnum):
    """What a driver wants. It is stored; `DriverState` is derived from it and from its jobs."""

    AVAILABLE = "available"
    PAUSED = "paused"
    OFFLINE = "offline"


class DriverState(StrEnum):
    """The state that a driver is shown in; derived, never stored."""

    OFFLINE = "offline"
    PAUSED = "paused"
    AVAILABLE = "available"
    OFFERED = "offered"
    ON_RUN = "on_run"


class Step(StrEnum):
    """A step that a driver reports with `progress`."""

    AT_MALL = "at_mall"
    COLLECTED = "collected"
    PICKED_UP = "picked_up"
    AT_DOOR = "at_door"
    DELIVERED = "delivered"
    RETURNING = "returning"
    RESUME = "resume"
    RETURNED = "returned"
    GIVE_UP = "give_up"


class Outcome(StrEnum):
    """How one driver's offer or assignment of a job ended; shown as `asked` by explain."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"
    UNACKNOWLEDGED = "unacknowledged"
    WITHDRAWN = "withdrawn"
    GAVE_UP = "gave_up"
    SILENT = "silent"
    UNASSIGNED = "unassigned"
    HELD = "held"


class Risk(StrEnum):
    """Whether an open job is expected to be late, by its deadline and the market's margin."""

    NONE = "none"
    AT_RISK = "at_risk"
    LATE = "late"


TERMINAL = frozenset(
    {
        JobState.DELIVERED,
        JobState.RETURNED,
        JobState.CANCELLED,
        JobState.EXPIRED,
        JobState.LOST,
        JobState.FAILED,
    }
)
BEFORE_PICKUP = frozenset(
    {
        JobState.SCHEDULED,
        JobState.QUEUED,
        JobState.OFFERED,
        JobState.ASSIGNED,
        JobState.AT_MALL,
    }
)
ON_BOARD = frozenset({JobState.PICKED_UP, JobState.RETURNING})
HELD = frozenset({JobState.ASSIGNED, JobState.AT_MALL}) | ON_BOARD

# The steps that need `at_ms`: one that is not later than the last of them taken is a repeat.
TIMED_STEPS = frozenset({Step.AT_DOOR, Step.RETURNING, Step.RESUME})

# Outcomes after which a driver gets no further offer of that job; an operator may still assign it.
NOT_ASKED_AGAIN = frozenset({Outcome.GAVE_UP, Outcome.SILENT, Outcome.UNASSIGNED})
# Outcomes after which it gets none for a while, which fits the time that the job has left.
NOT_ASKED_FOR_A_WHILE = frozenset({Outcome.DECLINED, Outcome.EXPIRED, Outcome.UNACKNOWLEDGED})


def shown_state(*, wish: Wish, connected: bool, offered: bool, jobs: int) -> DriverState:
    """Derive the state that a driver is shown in from what is stored about it."""
    if jobs:
        return DriverState.ON_RUN
    if offered:
        return DriverState.OFFERED
    if not connected:
        return DriverState.OFFLINE
    return DriverState(wish.value)
