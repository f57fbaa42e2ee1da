"""What operations have in common: roles, parameters, response headers, problem codes."""

from typing import Any, Final

from mallard_engine.contract.operations.operation import Parameter
from mallard_protocol.codes import MAX_PAGE, MAX_WAIT_S, ProblemCode, Role

ORDERS: Final = (Role.ORDERS, Role.OPERATOR)
OPERATOR: Final = (Role.OPERATOR,)
DRIVER: Final = (Role.DRIVER,)
STORE: Final = (Role.STORE,)

ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}


def query(name: str, description: str, **schema: Any) -> Parameter:
    """Return a query parameter with this JSON Schema."""
    return Parameter(name, description, schema)


def instant(name: str, description: str) -> Parameter:
    """Return a time parameter: RFC 3339 with an offset, between 1970 and 2100."""
    return query(name, description, type="string", format="date-time")


MARKET: Final = Parameter("market", "Only in this market", ID)
WAIT: Final = query(
    "wait_s",
    "Seconds to wait for `assigned` or the job's end",
    type="integer",
    minimum=0,
    maximum=MAX_WAIT_S,
)
# The parameters of each list that is read in pages.
PAGE: Final = (
    query("limit", "Page size", type="integer", minimum=1, maximum=MAX_PAGE),
    query(
        "cursor",
        "`next_cursor` of the page before, with the same filters; empty: the first page. A page may"
        " hold fewer than `limit` items, or none, and still have a next",
        type="string",
    ),
)
LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID", "Resume after this event", {"type": "string"}, place="header"
)
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "1-255 visible ASCII characters, kept 24 h for this service and market",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    place="header",
    required=True,
)

IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    "Entity tags that the caller knows: 304 if one of them is the present one",
    {"type": "string"},
    place="header",
)
IF_MATCH: Final = Parameter(
    "If-Match",
    "Entity tags: 412 unless one of them is the job's, whatever its estimates",
    {"type": "string"},
    place="header",
)
ETAG: Final = (("ETag", "The entity tag of the response"),)

# The headers of each operation that creates a job.
JOB_MADE_HEADERS: Final = (
    ("Location", "The job's path"),
    ("Idempotent-Replayed", "`true`: an earlier request made this job"),
)
JOB_MADE_PROBLEMS: Final = (
    ProblemCode.DUPLICATE_EXTERNAL_ID,
    ProblemCode.MALL_CLOSED,
    ProblemCode.QUOTA_EXCEEDED,
    ProblemCode.STORE_FULL,
)
