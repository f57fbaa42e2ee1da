"""Makes the events that readers see from the entries of a market's event stream.

The scripts write one entry for each change (``event`` in ``storage/lua/lib/base.lua``). Its readers
(streams, webhooks, the archive) see the types of the contract.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mallard_engine.core.event_ids import Place, event_id
from mallard_protocol.events import EventType
from mallard_protocol.lifecycle import JobState

_T = EventType
_S = JobState

_BY_STATE: Final = {
    _S.SCHEDULED: _T.SCHEDULED,
    _S.QUEUED: _T.QUEUED,
    _S.OFFERED: _T.OFFERED,
    _S.ASSIGNED: _T.ASSIGNED,
    _S.AT_MALL: _T.ARRIVED,
    _S.PICKED_UP: _T.PICKED_UP,
    _S.RETURNING: _T.RETURNING,
    _S.DELIVERED: _T.DELIVERED,
    _S.RETURNED: _T.RETURNED,
    _S.CANCELLED: _T.CANCELLED,
    _S.EXPIRED: _T.EXPIRED,
    _S.LOST: _T.LOST,
    _S.FAILED: _T.FAILED,
}
# By the kind of the entry, where `what` makes no difference.
_BY_KIND: Final = {
    "alert": _T.ALERT_RAISED,
    "attempted": _T.ATTEMPTED,
    "cancel_requested": _T.UPDATED,
    "eta": _T.ETA_CHANGED,
    "moved": _T.DRIVER_MOVED,
    "problem": _T.PROBLEM,
    "problem_answered": _T.UPDATED,
    "problem_resolved": _T.PROBLEM_RESOLVED,
    "proof": _T.PROOF,
    "risk": _T.RISK_CHANGED,
    "updated": _T.UPDATED,
}
_BY_KIND_AND_WHAT: Final = {
    ("alert_acknowledged", ""): _T.ALERT_ACKNOWLEDGED,
    ("driver", "suspended"): _T.DRIVER_SUSPENDED,
    ("driver", "resumed"): _T.DRIVER_RESUMED,
    ("driver", "wake"): _T.DRIVER_WAKE,
    ("market", "paused"): _T.MARKET_PAUSED,
    ("market", "resumed"): _T.MARKET_RESUMED,
    ("market", "rewound"): _T.MARKET_REWOUND,
    ("policy", "changed"): _T.POLICY_CHANGED,
    ("shop", "collected"): _T.COLLECTED,
    ("shop", "missing"): _T.UPDATED,
    ("shop", "short"): _T.UPDATED,
    ("transfer", "started"): _T.TRANSFER_STARTED,
    ("webhook", "disabled"): _T.WEBHOOK_DISABLED,
}
_OFFLINE: Final = "offline"
_MOVES_FROM: Final = 2_048


@dataclass(frozen=True, slots=True)
class MarketEvent:
    """One entry of a market's stream.

    Attributes:
        market: Its market.
        place: Its place in the stream.
        at_ms: When it was recorded.
        kind: The kind of the entry.
        what: What of that kind has happened.
        job: Its job; empty if it has none.
        service: The order service that may read it; empty: operators alone.
        driver: The driver that it is about; empty if there is none.
        fields: All fields of the entry.
        passing: The place in the stream of moves of an event that is not stored. Its own place is
            then that of the last stored event before it, after which a reader resumes.
        type: Its type for readers; None: readers do not see it. It is determined once, however
            many readers ask.
    """

    market: str
    place: Place
    at_ms: int
    kind: str
    what: str = ""
    job: str = ""
    service: str = ""
    driver: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    passing: Place | None = None
    type: EventType | None = field(init=False)

    def __post_init__(self) -> None:
        """Determine the type."""
        object.__setattr__(self, "type", type_of(self))

    def is_after(self, place: Place) -> bool:
        """Whether the event is new to a reader who has everything up to a place."""
        return self.place > place or (self.passing is not None and self.place == place)

    @property
    def id(self) -> str:
        """Its id for readers."""
        name = event_id(self.market, self.place)
        return name if self.passing is None else f"{name}-{self.passing.ms}{self.passing.n:02}"

    @property
    def sequence(self) -> int:
        """Its number. Moves have the upper half of those of a millisecond."""
        if self.passing is None:
            return self.place.sequence
        return self.passing.sequence + _MOVES_FROM

    @property
    def occurred_ms(self) -> int:
        """When it happened: by the phone that reported it, within the bounds of the job's times."""
        return int(self.fields.get("occurred_ms") or self.at_ms)

    @property
    def state(self) -> JobState | None:
        """The job's state after it; None if the version that wrote it did not say so."""
        name = self.fields.get("to") if self.kind == "job" else self.fields.get("state")
        return JobState(name) if name in _STATES else None

    @property
    def cause(self) -> str:
        """Why."""
        if self.kind == "job":
            return str(self.fields.get("cause") or "")
        if self.kind == "risk":
            return str(self.fields.get("to") or "")
        return self.what or self.kind

    @property
    def actor(self) -> str:
        """Who made the change: the driver for a report, the engine without another actor."""
        by_driver = self.driver if self.kind in _REPORTS else ""
        return str(self.fields.get("actor") or by_driver or "engine")

    @property
    def etas_ms(self) -> tuple[int | None, int | None] | None:
        """When the job was expected to be picked up and dropped off; None: not known of then."""
        etas = self.fields.get("etas")
        if etas:
            return etas[0] or None, etas[1] or None
        is_waiting = self.kind == "job" and self.state in _WITHOUT_DRIVER
        return (None, None) if is_waiting else None


_STATES: Final = frozenset(JobState)
_WITHOUT_DRIVER: Final = frozenset({_S.SCHEDULED, _S.QUEUED, _S.OFFERED})
_REPORTS: Final = frozenset({"problem", "proof", "attempted"})


def type_of(event: MarketEvent) -> EventType | None:
    """Return what readers see of an entry; None: nothing."""
    if event.kind == "job":
        return _type_of_change(event)
    if event.kind == "driver" and (presence := _presence(event)) is not None:
        return presence
    return _BY_KIND.get(event.kind) or _BY_KIND_AND_WHAT.get((event.kind, event.what))


def _type_of_change(event: MarketEvent) -> EventType | None:
    before, cause, state = event.fields.get("from"), event.cause, event.state
    if before == "":
        return _T.CREATED
    if cause == "held":
        return _T.HELD
    if cause == "turned_round":
        return _T.TURNED_ROUND
    if state is not None and before == state:
        return _T.TRANSFERRED if cause in {"transferred", "custody"} else _T.UPDATED
    return None if state is None else _BY_STATE[state]


def _presence(event: MarketEvent) -> EventType | None:
    """Return whether a driver has begun or stopped work: connected, and with a wish to."""
    wish = event.fields.get("wish", _OFFLINE)
    match event.what:
        case "connected" if wish != _OFFLINE and not event.fields.get("again"):
            return _T.DRIVER_ONLINE
        case "disconnected" if wish != _OFFLINE:
            return _T.DRIVER_OFFLINE
        case "available" | "paused" if event.fields.get("was") == _OFFLINE:
            return _T.DRIVER_ONLINE
        case "offline":
            return _T.DRIVER_OFFLINE
    return None
