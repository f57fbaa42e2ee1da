"""The table of the HTTP API's operations.

The OpenAPI document is generated from it, and the engine builds its routes, token checks, query
checks and rate limits from it.
"""

from dataclasses import dataclass
from typing import Any, Final

from mallard_protocol import counter, resources
from mallard_protocol.codes import MAX_PAGE, MAX_WAIT_S, SUBPROTOCOLS, ProblemCode, Role
from mallard_protocol.lifecycle import JobState

P = ProblemCode
_ORDERS = (Role.ORDERS, Role.OPERATOR)
_OPERATOR = (Role.OPERATOR,)
_STORE = (Role.STORE,)
_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter or request header. `schema` is a JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]
    place: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Args:
        name: the `operationId`, which code generators use as a function's name. The engine finds
            the handler by it.
        method: in lower case.
        tag: one of `TAGS`.
        roles: the roles whose tokens may call it; empty if it needs no token.
        body: the struct of the request body.
        status: the status of a successful response.
        accepted: it may answer 202 as well: accepted, and carried out later.
        answer: the struct of the response, or a media type; None if there is no content to
            describe.
        headers: name and description of each response header.
        problems: its own problem codes. Those of every operation with a token or a body are added.
        cost: what one request takes from its rate limits; 0 if it is not limited.
        served: False if the operation is specified and not implemented: it answers 501.
    """

    name: str
    method: str
    path: str
    summary: str
    tag: str
    roles: tuple[Role, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: type | None = None
    status: int = 200
    accepted: bool = False
    answer: type | str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    problems: tuple[ProblemCode, ...] = ()
    cost: float = 1.0
    served: bool = True

    @property
    def query_names(self) -> frozenset[str]:
        """The query parameters that it knows."""
        return frozenset(it.name for it in self.parameters if it.place == "query")


def _query(name: str, description: str, **schema: Any) -> Parameter:
    return Parameter(name, description, schema)


_WAIT = _query(
    "wait_s",
    "Wait up to so many seconds for `assigned` or an end",
    type="integer",
    minimum=0,
    maximum=MAX_WAIT_S,
)


def _instant(name: str, description: str) -> Parameter:
    """Return a time parameter: RFC 3339 with an offset, between 1970 and 2100."""
    return _query(name, description, type="string", format="date-time")


_MARKET = Parameter("market", "Only of this market", _ID)
_STATES: Final = "|".join(JobState)
_LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "Go on after this event", {"type": "string"}, place="header"
)
_LIMIT = _query("limit", "Page size", type="integer", minimum=1, maximum=MAX_PAGE)
_CURSOR = _query(
    "cursor",
    "`next_cursor` of the page before; empty: the first page. A page may hold fewer than `limit`"
    " items, or none, and still have a next",
    type="string",
)
_IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "1-255 visible ASCII characters, kept 24 h for this service and market",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    place="header",
    required=True,
)

# The groups of operations in the documents and in generated code.
TAGS: Final = (
    ("Jobs", "Submit jobs and follow them"),
    ("Quotes", "Whether a job would find a driver"),
    ("Events", "What happens in a market, as it happens"),
    ("Markets", "Where the engine serves"),
    ("Operators", "What people do by hand: drivers and jobs of a market"),
    ("Drivers", "What a driver app calls besides its socket"),
    ("Shops", "What the counter of a shop calls"),
    ("Health", "Probes and metrics of a node"),
    ("Documents", "This contract"),
)

OPERATIONS: Final = (
    Operation(
        name="submitJob",
        method="post",
        path="/v1/jobs",
        summary="Submit a job. Never waits for a match unless asked to",
        tag="Jobs",
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
            P.QUOTA_EXCEEDED,
            P.STORE_FULL,
        ),
    ),
    Operation(
        name="listJobs",
        method="get",
        path="/v1/jobs",
        summary="List jobs, newest first",
        tag="Jobs",
        roles=_ORDERS,
        parameters=(
            _MARKET,
            _query(
                "state",
                "Only in one of these states, separated by commas",
                type="string",
                pattern=f"^({_STATES})(,({_STATES}))*$",
            ),
            Parameter("external_id", "Only with this external id", _ID),
            _instant("created_from", "Only created then or later"),
            _instant("created_to", "Only created before then"),
            _instant(
                "updated_since", "Only changed then or later; a new estimate (`eta`) is no change"
            ),
            _query("limit", "Page size", type="integer", minimum=1, maximum=MAX_PAGE),
            _query(
                "cursor",
                "`next_cursor` of the page before, with the same filters; empty: the first page."
                " A page may hold fewer than `limit` jobs, or none, and still have a next",
                type="string",
            ),
        ),
        answer=resources.JobList,
    ),
    Operation(
        name="getJob",
        method="get",
        path="/v1/jobs/{id}",
        summary="Read a job",
        tag="Jobs",
        roles=_ORDERS,
        parameters=(_WAIT,),
        answer=resources.Job,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="cancelJob",
        method="post",
        path="/v1/jobs/{id}/cancel",
        summary="Cancel a job; one on board comes back (202). Again gives the same answer",
        tag="Jobs",
        roles=_ORDERS,
        body=resources.CancelRequest,
        accepted=True,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.NOT_CANCELLABLE),
    ),
    Operation(
        name="markParcelsReady",
        method="post",
        path="/v1/jobs/{id}/ready",
        summary="Tell when the parcels of a store are ready",
        tag="Jobs",
        roles=_ORDERS,
        body=resources.ReadyRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        name="answerProblem",
        method="post",
        path="/v1/jobs/{id}/problems/{problem}/answer",
        summary="Answer a problem that the driver has reported; it reaches the driver",
        tag="Jobs",
        roles=_ORDERS,
        body=resources.AnswerRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        name="redeliverJob",
        method="post",
        path="/v1/jobs/{id}/redeliver",
        summary="Deliver the parcels of a returned job after all; again gives the same job",
        tag="Jobs",
        roles=_ORDERS,
        body=resources.RedeliverRequest,
        status=201,
        answer=resources.Job,
        headers=(
            ("Location", "The job's path"),
            ("Idempotent-Replayed", "`true`: an earlier request made this job"),
        ),
        problems=(
            P.NOT_FOUND,
            P.WRONG_STATE,
            P.DUPLICATE_EXTERNAL_ID,
            P.MALL_CLOSED,
            P.QUOTA_EXCEEDED,
            P.STORE_FULL,
        ),
    ),
    Operation(
        name="explainJob",
        method="get",
        path="/v1/jobs/{id}/explain",
        summary="Why this driver: the last round and everyone who was asked",
        tag="Jobs",
        roles=_ORDERS,
        answer=resources.Explanation,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="streamJobEvents",
        method="get",
        path="/v1/jobs/{id}/events",
        summary="A job's events as server-sent events, at least once",
        tag="Events",
        roles=_ORDERS,
        parameters=(_LAST_EVENT_ID,),
        answer="text/event-stream",
        problems=(P.NOT_FOUND, P.EVENTS_TRIMMED),
        served=False,
    ),
    Operation(
        name="streamEvents",
        method="get",
        path="/v1/events",
        summary="A market's events as server-sent events, at least once",
        tag="Events",
        roles=_ORDERS,
        parameters=(_MARKET, _LAST_EVENT_ID),
        answer="text/event-stream",
        problems=(P.EVENTS_TRIMMED,),
        served=False,
    ),
    Operation(
        name="getQuote",
        method="post",
        path="/v1/quotes",
        summary="Would this job find a driver now? Stores nothing",
        tag="Quotes",
        roles=_ORDERS,
        body=resources.JobRequest,
        answer=resources.Quote,
        problems=(P.MALL_CLOSED,),
        cost=4.0,  # it ranks drivers and stores nothing, so no quota bounds it
    ),
    Operation(
        name="listMarkets",
        method="get",
        path="/v1/markets",
        summary="List the markets with their malls",
        tag="Markets",
        roles=_ORDERS,
        answer=resources.MarketList,
    ),
    Operation(
        name="getMarket",
        method="get",
        path="/v1/markets/{market}",
        summary="Read one market",
        tag="Markets",
        roles=_ORDERS,
        answer=resources.Market,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="listDrivers",
        method="get",
        path="/v1/markets/{market}/drivers",
        summary="List the drivers near a point, in every state",
        tag="Operators",
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
        name="getDriver",
        method="get",
        path="/v1/markets/{market}/drivers/{driver}",
        summary="Read one driver: its entry in the register and its state",
        tag="Operators",
        roles=_OPERATOR,
        answer=resources.RegisteredDriver,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="registerDriver",
        method="put",
        path="/v1/markets/{market}/drivers/{driver}",
        summary="Replace a driver's entry in the register; `{}` erases it",
        tag="Operators",
        roles=_OPERATOR,
        body=resources.DriverProfile,
        answer=resources.RegisteredDriver,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="suspendDriver",
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/suspend",
        summary="Take a driver out of matching until resumed",
        tag="Operators",
        roles=_OPERATOR,
        body=resources.SuspendRequest,
        answer=resources.DriverView,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="transferJobs",
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/transfer",
        summary="Hand the parcels on board over to another driver",
        tag="Operators",
        roles=_OPERATOR,
        body=resources.TransferRequest,
        status=201,
        answer=resources.Job,
        headers=(("Location", "The transfer"),),
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.DRIVER_UNAVAILABLE),
    ),
    Operation(
        name="resumeDriver",
        method="post",
        path="/v1/markets/{market}/drivers/{driver}/resume",
        summary="Let a suspended driver be offered jobs again",
        tag="Operators",
        roles=_OPERATOR,
        answer=resources.DriverView,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="assignJob",
        method="post",
        path="/v1/jobs/{id}/assign",
        summary="Give a job to a driver, from any state before `picked_up`",
        tag="Operators",
        roles=_OPERATOR,
        body=resources.AssignRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.DRIVER_UNAVAILABLE),
    ),
    Operation(
        name="unassignJob",
        method="post",
        path="/v1/jobs/{id}/unassign",
        summary="Take a job from its driver and look for another",
        tag="Operators",
        roles=_OPERATOR,
        body=resources.UnassignRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        name="closeJob",
        method="post",
        path="/v1/jobs/{id}/close",
        summary="Close a job that is on board",
        tag="Operators",
        roles=_OPERATOR,
        body=resources.CloseRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        name="openDriverSocket",
        method="get",
        path="/v1/driver",
        summary="The driver socket (WebSocket); its messages are in the AsyncAPI document",
        tag="Drivers",
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
        name="sendLocations",
        method="post",
        path="/v1/driver/locations",
        summary="Send position fixes without a socket; bad ones are dropped, and it says why",
        tag="Drivers",
        roles=(Role.DRIVER,),
        body=resources.FixesRequest,
        answer=resources.FixesResult,
    ),
    Operation(
        name="getDriverState",
        method="get",
        path="/v1/driver/state",
        summary="The driver's state, offer and jobs, as `welcome` tells them",
        tag="Drivers",
        roles=(Role.DRIVER,),
        answer=resources.DriverTruth,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="setDriverStatus",
        method="post",
        path="/v1/driver/status",
        summary="What the driver wants now, and until when",
        tag="Drivers",
        roles=(Role.DRIVER,),
        body=resources.StatusRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NO_POSITION, P.HOLDS_JOBS),
    ),
    Operation(
        name="acceptOffer",
        method="post",
        path="/v1/driver/offers/{offer}/accept",
        summary="Take an offer; again gives the same answer for 10 min",
        tag="Drivers",
        roles=(Role.DRIVER,),
        body=resources.AcceptRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.OFFER_CLOSED),
    ),
    Operation(
        name="declineOffer",
        method="post",
        path="/v1/driver/offers/{offer}/decline",
        summary="Decline an offer; again gives the same answer for 10 min",
        tag="Drivers",
        roles=(Role.DRIVER,),
        body=resources.DeclineRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.OFFER_CLOSED),
    ),
    Operation(
        name="reportProgress",
        method="post",
        path="/v1/driver/jobs/{job}/progress",
        summary="Report a step of a held job; repeatable",
        tag="Drivers",
        roles=(Role.DRIVER,),
        body=resources.ProgressRequest,
        answer=resources.DriverReply,
        problems=(
            P.NOT_FOUND,
            P.BAD_FIELD,
            P.NOT_YOURS,
            P.STALE_ATTEMPT,
            P.WRONG_STATE,
            P.NO_POSITION,
            P.PROOF_NEEDED,
            P.WRONG_CODE,
        ),
    ),
    Operation(
        name="reportProblem",
        method="post",
        path="/v1/driver/problems",
        summary="Report a problem at a store, with a customer or on the road",
        tag="Drivers",
        roles=(Role.DRIVER,),
        body=resources.ProblemRequest,
        answer=resources.DriverReply,
        problems=(P.NOT_FOUND, P.BAD_FIELD, P.NOT_YOURS, P.STALE_ATTEMPT),
    ),
    Operation(
        name="listPickups",
        method="get",
        path="/v1/stores/{mall}/{store}/pickups",
        summary="List the shop's jobs that are open or were collected today, newest first",
        tag="Shops",
        roles=_STORE,
        parameters=(_LIMIT, _CURSOR),
        answer=counter.ShopPickupList,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="reportPickup",
        method="post",
        path="/v1/stores/{mall}/{store}/pickups/{job}",
        summary="Say what the shop has of a job's parcels; repeatable until they are collected",
        tag="Shops",
        roles=_STORE,
        body=counter.PickupReport,
        answer=counter.ShopPickup,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        name="handOverParcels",
        method="post",
        path="/v1/stores/{mall}/{store}/pickups/{job}/handover",
        summary="Hand over parcels against the code that the driver shows; repeatable",
        tag="Shops",
        roles=_STORE,
        body=counter.HandoverRequest,
        answer=counter.ShopPickup,
        problems=(P.NOT_FOUND, P.WRONG_STATE, P.WRONG_CODE),
    ),
    Operation(
        name="listReturns",
        method="get",
        path="/v1/stores/{mall}/{store}/returns",
        summary="List the jobs that come back to the shop, with the code that the driver types",
        tag="Shops",
        roles=_STORE,
        parameters=(_LIMIT, _CURSOR),
        answer=counter.ShopReturnList,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="receiveReturn",
        method="post",
        path="/v1/stores/{mall}/{store}/returns/{job}",
        summary="Say that a job's parcels have come back: it ends as returned; repeatable",
        tag="Shops",
        roles=_STORE,
        answer=counter.ShopReturn,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    Operation(
        name="setShopHours",
        method="post",
        path="/v1/stores/{mall}/{store}/hours",
        summary="Close the shop until a time, or open it again; repeatable",
        tag="Shops",
        roles=_STORE,
        body=counter.ShopHoursRequest,
        answer=counter.ShopHours,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="checkLiveness",
        method="get",
        path="/livez",
        summary="The process lives; touches nothing",
        tag="Health",
        cost=0.0,
        answer="text/plain",
    ),
    Operation(
        name="checkReadiness",
        method="get",
        path="/readyz",
        summary="This node takes traffic",
        tag="Health",
        cost=0.0,
        answer=resources.Readiness,
        problems=(P.STORE_UNAVAILABLE, P.DRAINING),
    ),
    Operation(
        name="getMetrics",
        method="get",
        path="/metrics",
        summary="Prometheus metrics",
        tag="Health",
        cost=0.0,
        answer="text/plain",
    ),
    Operation(
        name="getOpenApiDocument",
        method="get",
        path="/openapi.json",
        summary="This document",
        tag="Documents",
        answer="application/json",
    ),
    Operation(
        name="getAsyncApiDocument",
        method="get",
        path="/asyncapi.json",
        summary="The driver socket's document",
        tag="Documents",
        answer="application/json",
    ),
    Operation(
        name="getDocumentationPage",
        method="get",
        path="/docs",
        summary="Both documents as a page",
        tag="Documents",
        answer="text/html",
        served=False,
    ),
)
