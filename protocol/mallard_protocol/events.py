"""The events of a market: one schema for every reader.

An event's `id` is opaque to clients. The engine builds it from the market and from the place of the
event in the market's stream, and `sequence` from that place alone, so that no counter has to
survive lost writes: the place begins with the time of the store's clock.
"""

import re
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol.instants import Instant

VERSION: Final = 1
# Of the events of a market, how long each is kept.
EVENTS_KEPT_MS: Final = 86_400_000
# A stream that has nothing to send sends a comment this often.
HEARTBEAT_S: Final = 15
MAX_STREAMS: Final = 20
"""Event streams that one token may have open at a node."""
MOVED_EVERY_S: Final = 15
"""The least time between two `job.driver_moved` of a job."""


class EventType(StrEnum):
    """What has happened."""

    CREATED = "job.created"
    SCHEDULED = "job.scheduled"
    QUEUED = "job.queued"
    OFFERED = "job.offered"
    ASSIGNED = "job.assigned"
    ARRIVED = "job.arrived"
    PICKED_UP = "job.picked_up"
    RETURNING = "job.returning"
    DELIVERED = "job.delivered"
    RETURNED = "job.returned"
    CANCELLED = "job.cancelled"
    EXPIRED = "job.expired"
    LOST = "job.lost"
    FAILED = "job.failed"
    HELD = "job.held"
    TURNED_ROUND = "job.turned_round"
    COLLECTED = "job.collected"
    ATTEMPTED = "job.attempted"
    TRANSFER_STARTED = "job.transfer_started"
    TRANSFERRED = "job.transferred"
    RISK_CHANGED = "job.risk_changed"
    ETA_CHANGED = "job.eta_changed"
    UPDATED = "job.updated"
    DRIVER_MOVED = "job.driver_moved"
    PROOF = "job.proof"
    PROBLEM = "job.problem"
    PROBLEM_RESOLVED = "job.problem_resolved"
    DRIVER_ONLINE = "driver.online"
    DRIVER_OFFLINE = "driver.offline"
    DRIVER_SUSPENDED = "driver.suspended"
    DRIVER_RESUMED = "driver.resumed"
    DRIVER_WAKE = "driver.wake"
    ALERT_RAISED = "alert.raised"
    ALERT_ACKNOWLEDGED = "alert.acknowledged"
    MARKET_PAUSED = "market.paused"
    MARKET_RESUMED = "market.resumed"
    MARKET_REWOUND = "market.rewound"
    POLICY_CHANGED = "policy.changed"
    WEBHOOK_DISABLED = "webhook.disabled"


_T = EventType

EVENT_MEANING: dict[EventType, str] = {
    _T.CREATED: "the job was submitted",
    _T.SCHEDULED: "it is over to the next opening of its mall",
    _T.QUEUED: "it looks for a driver; `cause` says why it does so again",
    _T.OFFERED: "a driver has an offer of it",
    _T.ASSIGNED: "a driver has it",
    _T.ARRIVED: "its driver is at the mall",
    _T.PICKED_UP: "parcels are on board",
    _T.RETURNING: "its parcels are on their way back",
    _T.DELIVERED: "it was delivered",
    _T.RETURNED: "its parcels are back",
    _T.CANCELLED: "it was cancelled",
    _T.EXPIRED: "no driver took it in time",
    _T.LOST: "an operator closed it: the parcel is gone",
    _T.FAILED: "a shop or the order's rule ended it, and nothing was carried",
    _T.HELD: "it waits for a shop",
    _T.TURNED_ROUND: "its parcels are to be delivered after all",
    _T.COLLECTED: "a shop has handed over its parcels, or has none",
    _T.ATTEMPTED: "nobody took the parcels at the door",
    _T.TRANSFER_STARTED: "another driver is to take its parcels over",
    _T.TRANSFERRED: "another driver has its parcels",
    _T.RISK_CHANGED: "its `risk` has changed",
    _T.ETA_CHANGED: "it is expected at another time",
    _T.UPDATED: "something else of it has changed",
    _T.DRIVER_MOVED: "where its driver is; `data` has the position and the `eta` only",
    _T.PROOF: "its driver has given a proof",
    _T.PROBLEM: "its driver has reported a problem",
    _T.PROBLEM_RESOLVED: "a problem of it is over",
    _T.DRIVER_ONLINE: "a driver is connected and works",
    _T.DRIVER_OFFLINE: "a driver has stopped work or lost its connection",
    _T.DRIVER_SUSPENDED: "an operator has taken a driver out of matching",
    _T.DRIVER_RESUMED: "an operator has let a driver back into matching",
    _T.DRIVER_WAKE: "a driver without a connection is to hear something: wake its app",
    _T.ALERT_RAISED: "somebody must look at this",
    _T.ALERT_ACKNOWLEDGED: "somebody looks at an alert",
    _T.MARKET_PAUSED: "a market, a mall or a shop was paused",
    _T.MARKET_RESUMED: "a market, a mall or a shop goes on",
    _T.MARKET_REWOUND: "what was written after `since` may be lost: submit again what is gone",
    _T.POLICY_CHANGED: "the policy of the market has changed",
    _T.WEBHOOK_DISABLED: "an endpoint gets no more events",
}

# Order services get the others, of their own jobs and endpoints.
OPERATORS_ONLY: Final = frozenset(
    {
        _T.DRIVER_ONLINE,
        _T.DRIVER_OFFLINE,
        _T.DRIVER_SUSPENDED,
        _T.DRIVER_RESUMED,
        _T.DRIVER_WAKE,
        _T.ALERT_RAISED,
        _T.ALERT_ACKNOWLEDGED,
        _T.MARKET_PAUSED,
        _T.MARKET_RESUMED,
        _T.POLICY_CHANGED,
    }
)
# After these a job has no further event of its state.
ENDS: Final = frozenset({_T.DELIVERED, _T.RETURNED, _T.CANCELLED, _T.EXPIRED, _T.LOST, _T.FAILED})


class Event(Struct, frozen=True):
    """One event.

    ``sequence`` rises within a market and is never used twice; gaps are normal. ``occurred_at``:
    when it happened on the phone that reported it; ``recorded_at``: when the engine heard of it.
    ``driver``: its alias for order services, its id for operators. ``data`` of a job's event is the
    job as ``GET`` shows it on delivery, without ``timeline`` and with ``cause`` and ``actor``.
    """

    id: str
    sequence: int
    type: str
    occurred_at: Instant
    recorded_at: Instant
    market: str
    data: dict[str, Any]
    version: int = VERSION
    job: str | UnsetType = UNSET
    driver: str | UnsetType = UNSET


class Place(NamedTuple):
    """Where an event is in its market's stream: epoch milliseconds, and the number within them."""

    ms: int
    n: int

    @property
    def sequence(self) -> int:
        """The event's number: rises with the place, below 2^53 until the year 2039."""
        return self.ms * _MOST_IN_A_MS + self.n

    def __str__(self) -> str:
        return f"{self.ms}-{self.n}"


_MOST_IN_A_MS: Final = 4096
_EVENT_ID: Final = re.compile(
    r"evt_(?P<market>[A-Za-z0-9_.:-]{1,64})\.(?P<ms>[0-9]{1,15})-(?P<n>[0-9]{1,9})(-[0-9]{1,15})?"
)


def event_id(market: str, place: Place) -> str:
    """Return the id of the event at a place."""
    return f"evt_{market}.{place}"


def read_event_id(text: str) -> tuple[str, Place]:
    """Return the market and the place of an event.

    Raises:
        ValueError: the text is no id of an event.
    """
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        raise ValueError("not the id of an event")
    return match["market"], Place(int(match["ms"]), int(match["n"]))
