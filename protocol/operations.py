"""Every operation of the order API, as data; the OpenAPI document is drawn from this table."""

from dataclasses import dataclass
from typing import Any, Final

from protocol import resources
from protocol.codes import MAX_PAGE, MAX_WAIT_S, SUBPROTOCOLS, ProblemCode, Role
from protocol.lifecycle import JobState

P = ProblemCode
_ORDERS = (Role.ORDERS, Role.OPERATOR)
_OPERATOR = (Role.OPERATOR,)
_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter or request header. ``schema``: JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]
    place: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    ``roles``: whose tokens may call it, none: no token is needed. ``body``: a struct of
    ``resources``. ``answer``: likewise, or a media type, or None for no content worth describing.
    ``problems``: its own problem codes; those of every call with a token or a body are added.
    ``headers``: response headers and what they say. ``served``: False until a later issue.
    """

    method: str
    path: str
    summary: str
    tag: str
    roles: tuple[Role, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: type | None = None
    status: int = 200
    answer: type | str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    problems: tuple[ProblemCode, ...] = ()
    served: bool = True


def _query(name: str, description: str, **schema: Any) -> Parameter:
    return Parameter(name, description, schema)


_WAIT = _query(
    "wait_s",
    "Wait up to so many seconds for `assigned` or an end",
    type="integer",
    minimum=0,
    maximum=MAX_WAIT_S,
)
_MARKET = Parameter("market", "Only of this market", _ID)
_LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "Go on after this event", {"type": "string"}, place="header"
)
_IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "1-255 visible ASCII characters, kept 24 h for this service and market",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    place="header",
    required=True,
)

OPERATIONS: Final = (
    Operation(
        method="post",
        path="/v1/jobs",
        summary="Submit a job. Never waits for a match unless asked to",
        tag="jobs",
        roles=_ORDERS,
        parameters=(_IDEMPOTENCY_KEY, _WAIT),
        body=resources.JobRequest,
        status=201,
        answer=resources.Job,
        headers=(
            ("Location", "The job's path"),
            ("Idempotent-Replayed", "`true`: an earlier, equal request made this job"),
        ),
        problems=(
            P.IDEMPOTENCY_KEY_MISSING,
            P.IDEMPOTENCY_KEY_INVALID,
            P.IDEMPOTENCY_MISMATCH,
            P.DUPLICATE_EXTERNAL_ID,
            P.MALL_CLOSED,
            P.STORE_FULL,
        ),
    ),
    Operation(
        method="get",
        path="/v1/jobs",
        summary="List jobs, newest first",
        tag="jobs",
        roles=_ORDERS,
        parameters=(
            _MARKET,
            Parameter(
                "state",
                "Only in this state",
                {"type": "string", "enum": [state.value for state in JobState]},
            ),
            Parameter("external_id", "Only with this external id", _ID),
            _query("limit", "Page size", type="integer", minimum=1, maximum=MAX_PAGE),
            _query(
                "cursor", "`next_cursor` of the page before; empty: the first page", type="string"
            ),
        ),
        answer=resources.JobList,
    ),
    Operation(
        method="get",
        path="/v1/jobs/{id}",
        summary="Read a job",
        tag="jobs",
        roles=_ORDERS,
        parameters=(_WAIT,),
        answer=resources.Job,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/jobs/{id}/cancel",
        summary="Cancel a job that is not on board yet; again gives the same answer",
        tag="jobs",
        roles=_ORDERS,
        body=resources.CancelRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.NOT_CANCELLABLE),
    ),
    Operation(
        method="post",
        path="/v1/jobs/{id}/ready",
        summary="Tell when the parcels of a store are ready",
        tag="jobs",
        roles=_ORDERS,
        body=resources.ReadyRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{id}/explain",
        summary="Why this driver: the last round and everyone who was asked",
        tag="jobs",
        roles=_ORDERS,
        answer=resources.Explanation,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{id}/events",
        summary="A job's events as server-sent events, at least once",
        tag="events",
        roles=_ORDERS,
        parameters=(_LAST_EVENT_ID,),
        answer="text/event-stream",
        problems=(P.NOT_FOUND, P.EVENTS_TRIMMED),
        served=False,
    ),
    Operation(
        method="get",
        path="/v1/events",
        summary="A market's events as server-sent events, at least once",
        tag="events",
        roles=_ORDERS,
        parameters=(_MARKET, _LAST_EVENT_ID),
        answer="text/event-stream",
        problems=(P.EVENTS_TRIMMED,),
        served=False,
    ),
    Operation(
        method="post",
        path="/v1/quotes",
        summary="Would this job find a driver now? Stores nothing",
        tag="jobs",
        roles=_ORDERS,
        body=resources.JobRequest,
        answer=resources.Quote,
        problems=(P.MALL_CLOSED,),
    ),
    Operation(
        method="get",
        path="/v1/markets",
        summary="List the markets with their malls",
        tag="markets",
        roles=_ORDERS,
        answer=resources.MarketList,
    ),
    Operation(
        method="get",
        path="/v1/markets/{market}",
        summary="Read one market",
        tag="markets",
        roles=_ORDERS,
        answer=resources.Market,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="get",
        path="/v1/markets/{market}/drivers",
        summary="List the drivers near a point, in every state",
        tag="operators",
        roles=_OPERATOR,
        parameters=(
            _query(
                "near",
                "The point: latitude, comma, longitude, in degrees",
                type="string",
                pattern=r"^-?[0-9]{1,2}(\.[0-9]+)?,-?[0-9]{1,3}(\.[0-9]+)?$",
            ),
            _query("radius_m", "How far from it, in metres", type="number", exclusiveMinimum=0),
        ),
        answer=resources.DriverList,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/suspend",
        summary="Take a driver out of matching until resumed",
        tag="operators",
        roles=_OPERATOR,
        body=resources.SuspendRequest,
        answer=resources.DriverView,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/resume",
        summary="Let a suspended driver be offered jobs again",
        tag="operators",
        roles=_OPERATOR,
        answer=resources.DriverView,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/jobs/{id}/assign",
        summary="Give a job to a driver, from any state before `picked_up`",
        tag="operators",
        roles=_OPERATOR,
        body=resources.AssignRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.DRIVER_UNAVAILABLE),
    ),
    Operation(
        method="post",
        path="/v1/jobs/{id}/unassign",
        summary="Take a job from its driver and look for another",
        tag="operators",
        roles=_OPERATOR,
        body=resources.UnassignRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        method="post",
        path="/v1/jobs/{id}/close",
        summary="Close a job that is on board",
        tag="operators",
        roles=_OPERATOR,
        body=resources.CloseRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        method="get",
        path="/v1/driver",
        summary="The driver socket (WebSocket); its messages are in the AsyncAPI document",
        tag="drivers",
        roles=(Role.DRIVER,),
        parameters=(
            Parameter(
                "Sec-WebSocket-Protocol",
                f"One or both of {', '.join(SUBPROTOCOLS)}",
                {"type": "string"},
                place="header",
                required=True,
            ),
        ),
        status=101,
        problems=(P.FORBIDDEN, P.UPGRADE_REQUIRED),
    ),
    Operation(
        method="post",
        path="/v1/driver/locations",
        summary="Send position fixes without a socket; bad ones are dropped, and it says why",
        tag="drivers",
        roles=(Role.DRIVER,),
        body=resources.FixesRequest,
        answer=resources.FixesResult,
    ),
    Operation(
        method="get",
        path="/v1/driver/state",
        summary="The driver's state, offer and jobs, as `welcome` tells them",
        tag="drivers",
        roles=(Role.DRIVER,),
        answer=resources.DriverTruth,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/driver/status",
        summary="What the driver wants now, and until when",
        tag="drivers",
        roles=(Role.DRIVER,),
        body=resources.StatusRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NO_POSITION, P.HOLDS_JOBS),
    ),
    Operation(
        method="post",
        path="/v1/driver/offers/{offer}/accept",
        summary="Take an offer; again gives the same answer for 10 min",
        tag="drivers",
        roles=(Role.DRIVER,),
        body=resources.AcceptRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.OFFER_CLOSED),
    ),
    Operation(
        method="post",
        path="/v1/driver/offers/{offer}/decline",
        summary="Decline an offer; again gives the same answer for 10 min",
        tag="drivers",
        roles=(Role.DRIVER,),
        body=resources.DeclineRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.OFFER_CLOSED),
    ),
    Operation(
        method="post",
        path="/v1/driver/jobs/{job}/progress",
        summary="Report a step of a held job; repeatable",
        tag="drivers",
        roles=(Role.DRIVER,),
        body=resources.ProgressRequest,
        answer=resources.DriverReply,
        problems=(
            P.NOT_FOUND,
            P.BAD_FIELD,
            P.NOT_YOURS,
            P.STALE_ATTEMPT,
            P.WRONG_STATE,
            P.PROOF_NEEDED,
            P.WRONG_CODE,
        ),
    ),
    Operation(
        method="post",
        path="/v1/driver/problems",
        summary="Report a problem at a store, with a customer or on the road",
        tag="drivers",
        roles=(Role.DRIVER,),
        body=resources.ProblemRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.STALE_ATTEMPT),
    ),
    Operation(
        method="get",
        path="/livez",
        summary="The process lives; touches nothing",
        tag="service",
    ),
    Operation(
        method="get",
        path="/readyz",
        summary="This node takes traffic",
        tag="service",
        answer=resources.Readiness,
        problems=(P.STORE_UNAVAILABLE, P.DRAINING),
    ),
    Operation(
        method="get",
        path="/metrics",
        summary="Prometheus metrics",
        tag="service",
        answer="text/plain",
    ),
    Operation(
        method="get",
        path="/openapi.json",
        summary="This document",
        tag="service",
        answer="application/json",
    ),
    Operation(
        method="get",
        path="/asyncapi.json",
        summary="The driver socket's document",
        tag="service",
        answer="application/json",
    ),
    Operation(
        method="get",
        path="/docs",
        summary="Both documents as a page",
        tag="service",
        answer="text/html",
        served=False,
    ),
)

_QUERY_NAMES: Final = {
    (operation.method.upper(), operation.path): frozenset(
        parameter.name for parameter in operation.parameters if parameter.place == "query"
    )
    for operation in OPERATIONS
}


def query_names(method: str, path: str) -> frozenset[str]:
    """Return the query parameters of an operation, by its method in upper case and its path."""
    return _QUERY_NAMES[method, path]
