"""The codes, reasons and limits of the contract.

The engine's `contract/meanings.py` and `contract/advice.py` say what each of them means.
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
# A photo or signature that a driver uploads, how many of them no report may name yet, and for how
# long those are kept.
MAX_PROOF_BYTES = 2 * 1024 * 1024
MOST_UNUSED_PROOFS = 20
UNUSED_PROOF_KEPT_MS = 86_400_000
PROOF_MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")
PROOF_LINK_KEPT_S = 900
# How long after its end a job can be followed by its customer's link.
TRACKED_AFTER_END_MS = 86_400_000
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
# The market of robot drivers; see `mallard_engine.contract.sandbox`.
SANDBOX_MARKET = "sandbox"
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
    Close.DRAINING: Advice("this node stops or is busy; connect again", True),
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


class ServiceLevel(StrEnum):
    """How soon an order is offered, and whether it may share a driver: `service_level`."""

    EXPRESS = "express"
    POOLED = "pooled"
    SAME_DAY = "same_day"


class OnShort(StrEnum):
    """What an order does if a shop has fewer parcels, or one of several has none: `on_short`."""

    DELIVER = "deliver"
    HOLD = "hold"
    FAIL = "fail"


class OnMissing(StrEnum):
    """What an order does if there is nothing to collect at all: `on_missing`."""

    HOLD = "hold"
    FAIL = "fail"


class OnUndeliverable(StrEnum):
    """What an order does if nobody takes it at the door: `on_undeliverable`."""

    RETURN = "return"
    LEAVE = "leave"
    HOLD = "hold"


class AnswerAction(StrEnum):
    """What an order service answers to a problem: `action`."""

    RETRY = "retry"
    LEAVE = "leave"
    RETURN = "return"
    WAIT = "wait"
    INSTRUCTIONS = "instructions"


# The problems of a delivery, each of which counts as a delivery attempt, once a visit.
CUSTOMER_PROBLEMS = ("customer_unreachable", "refused", "wrong_address")
# The problems that alert operators, with a job or without one.
DANGERS = ("unsafe", "accident")
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
    PAUSED = "paused"


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
    TOO_LATE = "too_late"
    PRECONDITION_FAILED = "precondition_failed"
    DRIVER_UNAVAILABLE = "driver_unavailable"
    BAD_FIELD = "bad_field"
    NOT_YOURS = "not_yours"
    STALE_ATTEMPT = "stale_attempt"
    OFFER_CLOSED = "offer_closed"
    HOLDS_JOBS = "holds_jobs"
    NO_POSITION = "no_position"
    PROOF_NEEDED = "proof_needed"
    WRONG_CODE = "wrong_code"
    PRECONDITION_REQUIRED = "precondition_required"
    RATE_LIMITED = "rate_limited"
    STORE_UNAVAILABLE = "store_unavailable"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORE_FULL = "store_full"
    EVENTS_TRIMMED = "events_trimmed"
    DRAINING = "draining"
    INTERNAL = "internal"
