"""The further calls of an operator, as steps without I/O: the methods of both clients.

As in `mallard_client.orders.requests`. Assignments are not repeated when an answer is lost.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypedDict, Unpack

from msgspec import UNSET

from mallard_client.http.request import Caller, Steps, path_of
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.control import (
    AlertList,
    AlertView,
    AuditPage,
    DeadLetterList,
    DeadLetterView,
    NodeList,
    NodeView,
    PauseRequest,
    PauseView,
    PolicyRequest,
    PolicyView,
    Revoked,
    RevokeRequest,
)
from mallard_protocol.resources import (
    AssignRequest,
    CloseRequest,
    DriverList,
    DriverProfile,
    DriverView,
    Job,
    MeetingPointRequest,
    RegisteredDriver,
    SuspendRequest,
    TransferRequest,
    UnassignRequest,
)

RoleName = Literal["driver", "orders", "operator", "store"]
AlertStateName = Literal["open", "acknowledged"]
_ANY: Final = "*"


class PausePlace(TypedDict, total=False):
    """What a pause covers, and why; nothing of it: the whole market.

    Attributes:
        mall: Only this mall.
        store: Only this shop of the mall.
        reason: For the audit log and other operators.
    """

    mall: str | None
    store: str | None
    reason: str | None


def assign(caller: Caller, job: str, driver: str) -> Steps[Job]:
    """Give a job that is not on board yet to a driver."""
    body = AssignRequest(driver)
    return caller.call("POST", path_of("jobs", job, "assign"), Job, body=body, repeatable=False)


def unassign(caller: Caller, job: str, reason: str) -> Steps[Job]:
    """Take a job that is not on board yet from its driver."""
    body = UnassignRequest(reason)
    return caller.call("POST", path_of("jobs", job, "unassign"), Job, body=body, repeatable=False)


def close_job(
    caller: Caller, job: str, state: Literal["returned", "delivered", "lost"], reason: str
) -> Steps[Job]:
    """End a job that is on board as `returned`, `delivered` or `lost`."""
    body = CloseRequest(state, reason)
    return caller.call("POST", path_of("jobs", job, "close"), Job, body=body, repeatable=False)


def drivers(
    caller: Caller,
    market: str,
    *,
    near: tuple[float, float] | None = None,
    radius_m: int | None = None,
) -> Steps[tuple[DriverView, ...]]:
    """Return the drivers of a market, or those within `radius_m` of `near` (lat, lon)."""
    point = None if near is None else f"{near[0]},{near[1]}"
    params = {"near": point, "radius_m": radius_m}
    found = yield from caller.call("GET", _drivers(market), DriverList, params=params)
    return found.items


def driver(caller: Caller, market: str, driver: str) -> Steps[RegisteredDriver]:
    """Return one driver: its entry in the register and its state."""
    return caller.call("GET", _drivers(market, driver), RegisteredDriver)


def put_driver(
    caller: Caller, market: str, driver: str, profile: DriverProfile
) -> Steps[RegisteredDriver]:
    """Replace a driver's entry in the register; ``DriverProfile()`` erases it.

    What the profile leaves out is no longer registered; a missing ``status`` is ``active``.
    """
    return caller.call("PUT", _drivers(market, driver), RegisteredDriver, body=profile)


def suspend(caller: Caller, market: str, driver: str, reason: str) -> Steps[DriverView]:
    """Suspend a driver: it gets no offers."""
    body = SuspendRequest(reason)
    return caller.call("POST", _drivers(market, driver, "suspend"), DriverView, body=body)


def resume(caller: Caller, market: str, driver: str) -> Steps[DriverView]:
    """Resume a suspended driver."""
    return caller.call("POST", _drivers(market, driver, "resume"), DriverView)


def transfer(
    caller: Caller,
    market: str,
    driver: str,
    *,
    jobs: Sequence[str] | None = None,
    to: str | None = None,
    at: tuple[float, float] | None = None,
) -> Steps[Job]:
    """Hand the parcels that a driver has on board over to another; return the transfer.

    Args:
        market: The market.
        driver: Who has them.
        jobs: Which of its jobs; None: all on board.
        to: Who gets them; None: the best driver who has room.
        at: Where the two meet (lat, lon); None: the driver's last position.
    """
    body = TransferRequest(
        jobs=UNSET if jobs is None else tuple(jobs),
        driver=UNSET if to is None else to,
        at=UNSET if at is None else MeetingPointRequest(*at),
    )
    return caller.call("POST", _drivers(market, driver, "transfer"), Job, body=body)


def pause(caller: Caller, market: str, **place: Unpack[PausePlace]) -> Steps[PauseView]:
    """Pause matching in a market, at a mall, or at a shop of it; offers and runs continue."""
    return _pause(caller, "pause", market, **place)


def unpause(caller: Caller, market: str, **place: Unpack[PausePlace]) -> Steps[PauseView]:
    """End a pause."""
    return _pause(caller, "resume", market, **place)


def revoke_tokens(
    caller: Caller, sub: str, role: RoleName, market: str | None = None
) -> Steps[Revoked]:
    """Refuse the tokens of a subject that were issued up to now; later ones work."""
    body = RevokeRequest(sub, role, market or UNSET)
    return caller.call("POST", "/v1/tokens/revoke", Revoked, body=body)


def alerts(
    caller: Caller,
    *,
    state: AlertStateName | None = None,
    market: str | None = None,
    cursor: str | None = None,
) -> Steps[AlertList]:
    """Return a page of alerts, newest first."""
    params = {"state": state, "market": market, "cursor": cursor}
    return caller.call("GET", "/v1/alerts", AlertList, params=params)


def acknowledge(caller: Caller, alert: str) -> Steps[AlertView]:
    """Acknowledge an alert; again changes nothing."""
    return caller.call("POST", path_of("alerts", alert, "acknowledge"), AlertView)


def dead_letters(
    caller: Caller, *, market: str | None = None, cursor: str | None = None
) -> Steps[DeadLetterList]:
    """Return a page of the work that was given up, newest first."""
    params = {"market": market, "cursor": cursor}
    return caller.call("GET", "/v1/dead-letters", DeadLetterList, params=params)


def retry(caller: Caller, letter: str) -> Steps[DeadLetterView]:
    """Try again what was given up. A second time it is 404."""
    path = path_of("dead-letters", letter, "retry")
    return caller.call("POST", path, DeadLetterView, repeatable=False)


def policy(caller: Caller, market: str) -> Steps[PolicyView]:
    """Return what is set of a market's policy, and all values in force."""
    return caller.call("GET", path_of("markets", market, "policy"), PolicyView)


def put_policy(
    caller: Caller,
    market: str,
    values: Mapping[str, Any],
    *,
    preset: str | None = None,
    version: int | None = None,
) -> Steps[PolicyView]:
    """Replace what is set of a market's policy, if it still has this version (None: any).

    It returns once all live nodes use it. Nothing set: the configuration counts alone.
    """
    level = UNSET if preset is None else ServiceLevel(preset)
    return caller.call(
        "PUT",
        path_of("markets", market, "policy"),
        PolicyView,
        headers={"If-Match": _ANY if version is None else f'"{version}"'},
        body=PolicyRequest(level, dict(values)),
    )


def nodes(caller: Caller) -> Steps[tuple[NodeView, ...]]:
    """Return the nodes of the deployment, oldest first."""
    found = yield from caller.call("GET", "/v1/nodes", NodeList)
    return found.items


def drain(caller: Caller, node: str) -> Steps[NodeView]:
    """Ask a node to hand its drivers over and to stop; again changes nothing."""
    return caller.call("POST", path_of("nodes", node, "drain"), NodeView)


def audit(
    caller: Caller,
    *,
    actor: str | None = None,
    since: datetime | None = None,
    market: str | None = None,
    cursor: str | None = None,
) -> Steps[AuditPage]:
    """Return a page of the audit log, newest first: who did what."""
    at = None if since is None else since.isoformat()
    params = {"actor": actor, "since": at, "market": market, "cursor": cursor}
    return caller.call("GET", "/v1/audit", AuditPage, params=params)


def _pause(caller: Caller, verb: str, market: str, **place: Unpack[PausePlace]) -> Steps[PauseView]:
    mall, store = place.get("mall"), place.get("store")
    parts = ["markets", market]
    parts += [] if mall is None else ["malls", mall]
    parts += [] if mall is None or store is None else ["stores", store]
    body = PauseRequest(place.get("reason") or UNSET)
    return caller.call("POST", path_of(*parts, verb), PauseView, body=body)


def _drivers(market: str, *parts: str) -> str:
    return path_of("markets", market, "drivers", *parts)
