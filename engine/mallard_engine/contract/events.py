"""What the documents say of each type of event, and which types operators alone read."""

from typing import Final

from mallard_protocol.events import EventType

_T = EventType

EVENT_MEANING: dict[EventType, str] = {
    _T.CREATED: "the job was submitted",
    _T.SCHEDULED: "it waits for the next opening of its mall",
    _T.QUEUED: "it waits for a driver; `cause` says why, if it waits again",
    _T.OFFERED: "it is offered to a driver",
    _T.ASSIGNED: "a driver holds it",
    _T.ARRIVED: "its driver is at the mall",
    _T.PICKED_UP: "parcels are on board",
    _T.RETURNING: "its parcels are on their way back",
    _T.DELIVERED: "it was delivered",
    _T.RETURNED: "its parcels are back",
    _T.CANCELLED: "it was cancelled",
    _T.EXPIRED: "no driver took it in time",
    _T.LOST: "an operator closed it: the parcel is lost",
    _T.FAILED: "a shop or the order's rule ended it, and no parcel was carried",
    _T.HELD: "it waits for a shop",
    _T.TURNED_ROUND: "its parcels are to be delivered after all",
    _T.COLLECTED: "a shop has handed over its parcels, or has none",
    _T.ATTEMPTED: "nobody took the parcels at the door",
    _T.TRANSFER_STARTED: "a transfer of its parcels to another driver has begun",
    _T.TRANSFERRED: "another driver has taken its parcels over",
    _T.RISK_CHANGED: "its `risk` has changed",
    _T.ETA_CHANGED: "its expected times have changed",
    _T.UPDATED: "another field of it has changed",
    _T.DRIVER_MOVED: "where its driver is; `data` has the position and the `eta` only",
    _T.PROOF: "its driver has given a proof",
    _T.PROBLEM: "its driver has reported a problem",
    _T.PROBLEM_RESOLVED: "a problem of it is resolved",
    _T.DRIVER_ONLINE: "a driver is connected and works",
    _T.DRIVER_OFFLINE: "a driver has stopped work or lost its connection",
    _T.DRIVER_SUSPENDED: "an operator has taken a driver out of matching",
    _T.DRIVER_RESUMED: "an operator has let a driver back into matching",
    _T.DRIVER_WAKE: "there is news for a driver without a connection: wake its app",
    _T.ALERT_RAISED: "an alert was raised",
    _T.ALERT_ACKNOWLEDGED: "an alert was acknowledged",
    _T.MARKET_PAUSED: "matching was paused at a market, a mall or a shop",
    _T.MARKET_RESUMED: "matching was resumed at a market, a mall or a shop",
    _T.MARKET_REWOUND: "writes after `since` may be lost: submit missing orders again",
    _T.POLICY_CHANGED: "the policy of the market has changed",
    _T.WEBHOOK_DISABLED: "an endpoint of webhooks was disabled",
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
