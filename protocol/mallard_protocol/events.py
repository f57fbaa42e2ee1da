"""The events of a market: one schema for every reader.

An event's `id` is opaque to clients.
"""

from enum import StrEnum
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol.instants import Instant

VERSION: Final = 1
# How long each event of a market is kept.
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


# After one of these a job's state no longer changes.
ENDS: Final = frozenset({_T.DELIVERED, _T.RETURNED, _T.CANCELLED, _T.EXPIRED, _T.LOST, _T.FAILED})


class Event(Struct, frozen=True):
    """One event.

    ``sequence`` rises within a market and is never used twice; gaps are normal. ``occurred_at``:
    when it happened on the phone that reported it; ``recorded_at``: when the engine recorded it.
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
