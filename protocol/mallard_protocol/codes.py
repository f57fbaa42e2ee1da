"""The codes, reasons and limits of the contract, with the advice of each code.

The OpenAPI and AsyncAPI documents, the gateway and the clients read these tables.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

SUBPROTOCOL_MSGPACK = "mallard.v1.msgpack"
SUBPROTOCOL_JSON = "mallard.v1.json"
# In the server's order of preference.
SUBPROTOCOLS = (SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON)

MAX_FRAME_BYTES = 16_384
MAX_DEPTH = 8
# Lists and maps of one frame, five times what the largest frame of an app has.
MAX_CONTAINERS = 512
MAX_BODY_BYTES = 65_536
PING_MS = 25_000
LOCATION_MS = 4_000
HELLO_WITHIN_S = 5.0
RATE_FRAMES_PER_S = 20
RATE_WINDOW_S = 10
RATE_BYTES_PER_S = 65_536
# Enough for hours of fixes that an app stored without a connection.
RATE_BURST_BYTES = 4 * RATE_BYTES_PER_S
STORE_DOWN_CLOSE_S = 30.0
FUTURE_FIX_MS = 5_000
ANSWER_KEPT_MS = 600_000
IDEMPOTENCY_KEPT_MS = 86_400_000
TERMINAL_KEPT_MS = 7 * 86_400_000
# Default quotas of one service in one market.
MAX_OPEN_JOBS = 20_000
MAX_STORED_BYTES = 512 * 1024 * 1024
MAX_WAIT_S = 20
MAX_PAGE = 200
# How long a held job waits for an answer unless its order says otherwise.
HOLD_S = 4 * 3_600
LEAST_HOLD_S, MOST_HOLD_S = 60, 86_400
# The only requirement that is a check at the delivery; all others are equipment.
ID_CHECK = "id_check"
# The `aud` of every token.
TOKEN_AUDIENCE = "mallard"  # noqa: S105 - not a secret


class RequiredProof(StrEnum):
    """What a delivery needs before it counts."""

    PIN = "pin"
    PHOTO = "photo"
    SIGNATURE = "signature"
    AGE_CHECK = "age_check"


class Role(StrEnum):
    """What a token is for."""

    DRIVER = "driver"
    ORDERS = "orders"
    OPERATOR = "operator"
    # One shop's counter: its claims `mall` and `store` name the shop.
    STORE = "store"


class Close(IntEnum):
    """Why the server closed a driver's socket."""

    TOO_BIG = 1009
    DRAINING = 4001
    TOO_SLOW = 4002
    IDLE = 4003
    RATE = 4004
    TOKEN_EXPIRED = 4005
    NO_STORE = 4006
    NO_HELLO = 4008
    UNDECODABLE = 4500
    BAD_TOKEN = 4501
    WRONG_SCOPE = 4503
    NO_SUBPROTOCOL = 4506
    REPLACED = 4507


@dataclass(frozen=True, slots=True)
class Advice:
    """What a code means and whether a retry can succeed."""

    meaning: str
    retry: bool


CLOSE_ADVICE: dict[Close, Advice] = {
    Close.TOO_BIG: Advice("a frame over 16 KiB: mend the app", False),
    Close.DRAINING: Advice("this node goes down; connect again", True),
    Close.TOO_SLOW: Advice("the app does not read what it is sent", True),
    Close.IDLE: Advice("no frame for 2 x ping_ms", True),
    Close.RATE: Advice("over 20 frames or 64 KiB a second for several seconds: slow down", True),
    Close.TOKEN_EXPIRED: Advice("the token expired; get another first", True),
    Close.NO_STORE: Advice("the node has had no store for 30 s", True),
    Close.NO_HELLO: Advice("no hello within 5 s", True),
    Close.UNDECODABLE: Advice("a frame that cannot be decoded, or no hello first", False),
    Close.BAD_TOKEN: Advice("the token is not valid", False),
    Close.WRONG_SCOPE: Advice("a good token of the wrong role or market", False),
    Close.NO_SUBPROTOCOL: Advice("no subprotocol in common", False),
    Close.REPLACED: Advice("a newer hello of the same driver took over", False),
}

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0


class ErrorCode(StrEnum):
    """Why a frame that decodes was refused."""

    BAD_FIELD = "bad_field"
    UNKNOWN_TYPE = "unknown_type"
    NOT_YOURS = "not_yours"
    STALE_ATTEMPT = "stale_attempt"
    OFFER_CLOSED = "offer_closed"
    WRONG_STATE = "wrong_state"
    HOLDS_JOBS = "holds_jobs"
    NO_POSITION = "no_position"
    PROOF_NEEDED = "proof_needed"
    WRONG_CODE = "wrong_code"
    RATE_LIMITED = "rate_limited"
    STORE_UNAVAILABLE = "store_unavailable"


ERROR_ADVICE: dict[ErrorCode, Advice] = {
    ErrorCode.BAD_FIELD: Advice("a field is missing, of the wrong type or out of range", False),
    ErrorCode.UNKNOWN_TYPE: Advice("no such message type", False),
    ErrorCode.NOT_YOURS: Advice("no such offer or job of this driver", False),
    ErrorCode.STALE_ATTEMPT: Advice("the job has moved on to a later attempt", False),
    ErrorCode.OFFER_CLOSED: Advice("the offer is over", False),
    ErrorCode.WRONG_STATE: Advice("the job's state does not allow this step", False),
    ErrorCode.HOLDS_JOBS: Advice("finish or give up the jobs first", False),
    ErrorCode.NO_POSITION: Advice("send a fresh position first", True),
    ErrorCode.PROOF_NEEDED: Advice("this delivery needs more proof: `missing` names it", False),
    ErrorCode.WRONG_CODE: Advice("the code is not the one that the order gave", False),
    ErrorCode.RATE_LIMITED: Advice("too many frames; slow down", True),
    ErrorCode.STORE_UNAVAILABLE: Advice("the store cannot be reached; try again", True),
}


class ServiceLevel(StrEnum):
    """How soon an order is offered, and whether it may share a driver: `service_level`."""

    EXPRESS = "express"
    POOLED = "pooled"
    SAME_DAY = "same_day"


SERVICE_LEVEL_MEANING: dict[ServiceLevel, str] = {
    ServiceLevel.EXPRESS: "offered at once; its driver's only job until it ends",
    ServiceLevel.POOLED: "offered at once; may share a run",
    ServiceLevel.SAME_DAY: "may be held for company while its slack allows",
}


class OnShort(StrEnum):
    """What an order does if a shop has fewer parcels, or one of several has none: `on_short`."""

    DELIVER = "deliver"
    HOLD = "hold"
    FAIL = "fail"


class OnMissing(StrEnum):
    """What an order does if there is nothing to collect at all: `on_missing`."""

    HOLD = "hold"
    FAIL = "fail"


ON_SHORT_MEANING: dict[OnShort, str] = {
    OnShort.DELIVER: "deliver what is there",
    OnShort.HOLD: "wait for the shop before anything is collected; afterwards as `deliver`",
    OnShort.FAIL: "end the order; what is on board goes back",
}

ON_MISSING_MEANING: dict[OnMissing, str] = {
    OnMissing.HOLD: "wait until the shop or the order service says `ready`, for `hold_s` at most",
    OnMissing.FAIL: "end the order",
}


class OnUndeliverable(StrEnum):
    """What an order does if nobody takes it at the door: `on_undeliverable`."""

    RETURN = "return"
    LEAVE = "leave"
    HOLD = "hold"


ON_UNDELIVERABLE_MEANING: dict[OnUndeliverable, str] = {
    OnUndeliverable.RETURN: "the driver brings it back",
    OnUndeliverable.LEAVE: "the driver leaves it at the door and takes a photo",
    OnUndeliverable.HOLD: "it stays on board until an answer, `hold_s`, the deadline or the end of"
    " the driver's block; then it goes back",
}


class AnswerAction(StrEnum):
    """What an order service answers to a problem: `action`."""

    RETRY = "retry"
    LEAVE = "leave"
    RETURN = "return"
    WAIT = "wait"
    INSTRUCTIONS = "instructions"


ANSWER_ACTION_MEANING: dict[AnswerAction, str] = {
    AnswerAction.RETRY: "try the delivery again, also on the way back",
    AnswerAction.LEAVE: "leave it at the door and take a photo",
    AnswerAction.RETURN: "bring it back",
    AnswerAction.WAIT: "keep it on board; bounded as `hold` is",
    AnswerAction.INSTRUCTIONS: "read the text and go on",
}

# The problems of a delivery, each of which counts as a delivery attempt, once a visit.
CUSTOMER_PROBLEMS = ("customer_unreachable", "refused", "wrong_address")
# The attempt after which the parcels go back.
MOST_DELIVERY_ATTEMPTS = 3


class CancelReason(StrEnum):
    """Why an order was cancelled: `cancel_reason`. Any other text is `other` with a note."""

    CUSTOMER = "customer"
    STORE = "store"
    OUT_OF_STOCK = "out_of_stock"
    DUPLICATE = "duplicate"
    LATE = "late"
    FRAUD = "fraud"
    OTHER = "other"


class WhyNot(StrEnum):
    """Why a driver, or every driver, would not be offered a job: `why_not`."""

    ASKED_BEFORE = "asked_before"
    TOO_HEAVY = "too_heavy"
    TOO_BIG = "too_big"
    TOO_MANY_JOBS = "too_many_jobs"
    LACKS_EQUIPMENT = "lacks_equipment"
    EXPRESS_ALONE = "express_alone"
    TOO_LATE_FOR_PICKUP = "too_late_for_pickup"
    BLOCK_ENDS_TOO_SOON = "block_ends_too_soon"
    NOBODY_IN_REACH = "nobody_in_reach"
    NOBODY_FITS = "nobody_fits"
    STORE_NOT_READY = "store_not_ready"


WHY_NOT_MEANING: dict[WhyNot, str] = {
    WhyNot.ASKED_BEFORE: "the driver declined it, let it lapse or gave it up",
    WhyNot.TOO_HEAVY: "the vehicle cannot carry the weight",
    WhyNot.TOO_BIG: "the vehicle cannot carry the volume",
    WhyNot.TOO_MANY_JOBS: "the vehicle has no room for so many jobs",
    WhyNot.LACKS_EQUIPMENT: "the vehicle lacks something that the job requires",
    WhyNot.EXPRESS_ALONE: "an express job is its driver's only one until it ends",
    WhyNot.TOO_LATE_FOR_PICKUP: "the driver cannot collect before closing or the window's end",
    WhyNot.BLOCK_ENDS_TOO_SOON: "the driver's block ends before it would be done",
    WhyNot.NOBODY_IN_REACH: "no driver is near enough",
    WhyNot.NOBODY_FITS: "no driver near has the room, equipment or time",
    WhyNot.STORE_NOT_READY: "a driver found the store not ready or closed; see `held`",
}


class OfferClosedWhy(StrEnum):
    """Why an offer ended without the driver's own answer."""

    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    CANCELLED = "cancelled"
    TAKEN = "taken"
    COLLECTED = "collected"


class StateWhy(StrEnum):
    """Why the server sends a driver its state."""

    STALE = "stale"
    FIXES_REJECTED = "fixes_rejected"
    CLOCK_SKEW = "clock_skew"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    COOLING_DOWN = "cooling_down"
    UNREACHABLE = "unreachable"
    BLOCK_OVER = "block_over"
    BAD_FIELD = "bad_field"
    TRANSFER = "transfer"


class BarredWhy(StrEnum):
    """Why a driver gets no offers although it may be available."""

    SUSPENDED = "suspended"
    COOLING_DOWN = "cooling_down"
    UNREACHABLE = "unreachable"
    STALE = "stale"
    NO_POSITION = "no_position"
    BLOCK_OVER = "block_over"
    MARKET_PAUSED = "market_paused"


class FixDropped(StrEnum):
    """Why a position fix was dropped."""

    MALFORMED = "malformed"
    OLD = "old"
    FUTURE = "future"
    IMPOSSIBLE = "impossible"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


class JobReason(StrEnum):
    """Why a job that a driver holds or held has changed; also `reason` of a job."""

    COLLECTED = "collected"
    CANCELLED = "cancelled"
    ASSIGNED = "assigned"
    ARRIVED = "arrived"
    UNASSIGNED = "unassigned"
    SILENT = "silent"
    CLOSED = "closed"
    READY_CHANGED = "ready_changed"
    HANDED_OVER = "handed_over"
    UPDATED = "updated"
    HELD = "held"
    NOT_AT_COUNTER = "not_at_counter"
    STORE_CLOSED = "store_closed"
    SHORT = "short"
    TRANSFERRED = "transferred"
    NOTHING_TO_TRANSFER = "nothing_to_transfer"
    ANSWER = "answer"
    CUSTOMER_UNREACHABLE = "customer_unreachable"
    REFUSED = "refused"
    WRONG_ADDRESS = "wrong_address"
    NOBODY_IN_REACH = "nobody_in_reach"
    NOBODY_FITS = "nobody_fits"
    NOBODY_ACCEPTED = "nobody_accepted"
    NOT_READY_IN_TIME = "not_ready_in_time"
    TOO_MANY_ATTEMPTS = "too_many_attempts"


OFFER_CLOSED_MEANING: dict[OfferClosedWhy, str] = {
    OfferClosedWhy.EXPIRED: "nobody answered in time: take the card off the screen",
    OfferClosedWhy.WITHDRAWN: "taken back, or never acknowledged: take the card off the screen",
    OfferClosedWhy.CANCELLED: "the order was cancelled: take the card off the screen",
    OfferClosedWhy.TAKEN: "another driver accepted first: take the card off the screen",
    OfferClosedWhy.COLLECTED: "an earlier holder has the parcels: take the card off the screen",
}

STATE_WHY_MEANING: dict[StateWhy, str] = {
    StateWhy.STALE: "no position came for too long: send one to be offered jobs again",
    StateWhy.FIXES_REJECTED: "several fixes were refused: check the position source",
    StateWhy.CLOCK_SKEW: "the phone's clock is off: add the offset seen in `welcome`",
    StateWhy.SUSPENDED: "an operator took the driver out of matching",
    StateWhy.RESUMED: "an operator let the driver back into matching",
    StateWhy.COOLING_DOWN: "a short pause after a decline or a lapse; it ends by itself",
    StateWhy.UNREACHABLE: "an offer was not acknowledged; any frame ends this",
    StateWhy.BLOCK_OVER: "`until_ms` has passed: send `status` to go on",
    StateWhy.BAD_FIELD: "a wrong optional field of `hello` was left out: mend the app",
    StateWhy.TRANSFER: "your parcels go to another driver: you are paused, wait at the place",
}

BARRED_MEANING: dict[BarredWhy, str] = {
    BarredWhy.SUSPENDED: "an operator took the driver out of matching",
    BarredWhy.COOLING_DOWN: "a short pause after a decline or a lapse; it ends at `until_ms`",
    BarredWhy.UNREACHABLE: "an offer was not acknowledged; any frame on the socket ends this",
    BarredWhy.STALE: "the last position is too old: send one",
    BarredWhy.NO_POSITION: "no position is known: send one",
    BarredWhy.BLOCK_OVER: "`until_ms` has passed: send `status` to go on",
    BarredWhy.MARKET_PAUSED: "an operator paused the market",
}

FIX_DROPPED_MEANING: dict[FixDropped, str] = {
    FixDropped.MALFORMED: "its time or its place is missing or out of range",
    FixDropped.OLD: "it is older than the last one, or too old to say where the driver is",
    FixDropped.FUTURE: "it is more than 5 s ahead of the server: the phone's clock is off",
    FixDropped.IMPOSSIBLE: "no vehicle gets there from the last place in that time",
    FixDropped.OUTSIDE: "it lies outside the driver's market",
    FixDropped.UNKNOWN: "the driver has not said hello on a socket yet",
}

JOB_REASON_MEANING: dict[JobReason, str] = {
    JobReason.COLLECTED: "an earlier holder collected it: stop, the job is not yours",
    JobReason.CANCELLED: "the order was cancelled: stop; what is on board goes back",
    JobReason.ASSIGNED: "an operator gave you the job",
    JobReason.ARRIVED: "your position is at the mall: you need not report the arrival",
    JobReason.UNASSIGNED: "an operator took the job from you: stop",
    JobReason.SILENT: "you were away for too long and the job went on: stop",
    JobReason.CLOSED: "an operator closed the job",
    JobReason.HANDED_OVER: "the shop has handed the parcels over to you",
    JobReason.READY_CHANGED: "the parcels of a store are ready at another time",
    JobReason.UPDATED: "something of the job has changed: see `detail`",
    JobReason.HELD: "a shop cannot hand over its parcels now: the job waits without you",
    JobReason.NOT_AT_COUNTER: "failed: the parcels were not at the counter",
    JobReason.STORE_CLOSED: "failed: the shop was closed",
    JobReason.SHORT: "parcels were missing, and the order ends then",
    JobReason.TRANSFERRED: "another driver has the parcels now: the job is not yours",
    JobReason.NOTHING_TO_TRANSFER: "the transfer ended: none of its parcels is on board any more",
    JobReason.ANSWER: "the answer to a problem: do what `answer` says",
    JobReason.CUSTOMER_UNREACHABLE: "goes back: nobody was at the door",
    JobReason.REFUSED: "goes back: the customer refused it",
    JobReason.WRONG_ADDRESS: "goes back: the address was wrong",
    JobReason.NOBODY_IN_REACH: "expired: no driver was near enough",
    JobReason.NOBODY_FITS: "expired: no driver near had the room, equipment or time",
    JobReason.NOBODY_ACCEPTED: "expired: every driver asked said no or nothing",
    JobReason.NOT_READY_IN_TIME: "expired: not ready to be collected before its window ended",
    JobReason.TOO_MANY_ATTEMPTS: "expired: given up after too many rounds",
}


class ProblemCode(StrEnum):
    """The stable `code` of an HTTP problem."""

    MALFORMED_JSON = "malformed_json"
    BAD_REQUEST = "bad_request"
    IDEMPOTENCY_KEY_MISSING = "idempotency_key_missing"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    UPGRADE_REQUIRED = "upgrade_required"
    HEAD_TOO_LARGE = "head_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID_FIELDS = "invalid_fields"
    MALL_CLOSED = "mall_closed"
    DUPLICATE_EXTERNAL_ID = "duplicate_external_id"
    NOT_CANCELLABLE = "not_cancellable"
    WRONG_STATE = "wrong_state"
    DRIVER_UNAVAILABLE = "driver_unavailable"
    BAD_FIELD = "bad_field"
    NOT_YOURS = "not_yours"
    STALE_ATTEMPT = "stale_attempt"
    OFFER_CLOSED = "offer_closed"
    HOLDS_JOBS = "holds_jobs"
    NO_POSITION = "no_position"
    PROOF_NEEDED = "proof_needed"
    WRONG_CODE = "wrong_code"
    RATE_LIMITED = "rate_limited"
    NOT_IMPLEMENTED = "not_implemented"
    STORE_UNAVAILABLE = "store_unavailable"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORE_FULL = "store_full"
    EVENTS_TRIMMED = "events_trimmed"
    DRAINING = "draining"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """The HTTP status and title of a problem code, and whether a retry can succeed."""

    status: int
    title: str
    retry: bool = False


PROBLEMS: dict[ProblemCode, ProblemKind] = {
    ProblemCode.MALFORMED_JSON: ProblemKind(400, "The body is not well-formed JSON"),
    ProblemCode.BAD_REQUEST: ProblemKind(400, "The request cannot be understood"),
    ProblemCode.IDEMPOTENCY_KEY_MISSING: ProblemKind(400, "Idempotency-Key is missing"),
    ProblemCode.IDEMPOTENCY_KEY_INVALID: ProblemKind(400, "Idempotency-Key is not valid"),
    ProblemCode.IDEMPOTENCY_MISMATCH: ProblemKind(422, "Idempotency-Key was used for other JSON"),
    ProblemCode.UNAUTHORIZED: ProblemKind(401, "A valid bearer token is needed"),
    ProblemCode.FORBIDDEN: ProblemKind(403, "This token may not do that"),
    ProblemCode.NOT_FOUND: ProblemKind(404, "No such thing"),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(405, "The method is not allowed here"),
    ProblemCode.BODY_TOO_LARGE: ProblemKind(413, "The body is over 64 KiB"),
    ProblemCode.UPGRADE_REQUIRED: ProblemKind(426, "This is a WebSocket: send Upgrade: websocket"),
    ProblemCode.HEAD_TOO_LARGE: ProblemKind(431, "The head or the trailers are over 16 KiB"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: ProblemKind(415, "The body must be application/json"),
    ProblemCode.INVALID_FIELDS: ProblemKind(422, "Some fields are not valid"),
    ProblemCode.MALL_CLOSED: ProblemKind(422, "The mall is closed"),
    ProblemCode.DUPLICATE_EXTERNAL_ID: ProblemKind(409, "This external_id has a job already"),
    ProblemCode.NOT_CANCELLABLE: ProblemKind(409, "The job can no longer be cancelled"),
    ProblemCode.WRONG_STATE: ProblemKind(409, "The job's state does not allow this"),
    ProblemCode.DRIVER_UNAVAILABLE: ProblemKind(409, "The driver cannot take this job"),
    ProblemCode.BAD_FIELD: ProblemKind(422, "A field is missing, wrong or out of range"),
    ProblemCode.NOT_YOURS: ProblemKind(404, "No such offer or job of this driver"),
    ProblemCode.STALE_ATTEMPT: ProblemKind(409, "The job has moved on to a later attempt"),
    ProblemCode.OFFER_CLOSED: ProblemKind(409, "The offer is over"),
    ProblemCode.HOLDS_JOBS: ProblemKind(409, "Finish or give up the jobs first"),
    ProblemCode.NO_POSITION: ProblemKind(409, "Send a fresh position first"),
    ProblemCode.PROOF_NEEDED: ProblemKind(409, "This delivery needs more proof"),
    ProblemCode.WRONG_CODE: ProblemKind(409, "The code is not the one that the order gave"),
    ProblemCode.EVENTS_TRIMMED: ProblemKind(410, "These events are no longer kept"),
    ProblemCode.RATE_LIMITED: ProblemKind(429, "Too many requests", retry=True),
    ProblemCode.NOT_IMPLEMENTED: ProblemKind(501, "Not served yet"),
    ProblemCode.STORE_UNAVAILABLE: ProblemKind(503, "The store cannot be reached", retry=True),
    ProblemCode.QUOTA_EXCEEDED: ProblemKind(
        429, "This service has used up a quota of this market", retry=True
    ),
    ProblemCode.STORE_FULL: ProblemKind(503, "The store is full", retry=True),
    ProblemCode.DRAINING: ProblemKind(503, "This node is going down", retry=True),
    ProblemCode.INTERNAL: ProblemKind(500, "Something went wrong on our side"),
}
