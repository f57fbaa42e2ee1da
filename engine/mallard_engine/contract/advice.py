"""What the server says with an error code: the text, the HTTP status, whether to try again."""

from dataclasses import dataclass

from mallard_protocol.codes import Advice, ErrorCode, ProblemCode

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
    ProblemCode.BODY_TOO_LARGE: ProblemKind(413, "The body is too large"),
    ProblemCode.UPGRADE_REQUIRED: ProblemKind(426, "This is a WebSocket: send Upgrade: websocket"),
    ProblemCode.HEAD_TOO_LARGE: ProblemKind(431, "The head or the trailers are over 16 KiB"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: ProblemKind(415, "The body has a type not taken here"),
    ProblemCode.INVALID_FIELDS: ProblemKind(422, "Some fields are not valid"),
    ProblemCode.MALL_CLOSED: ProblemKind(422, "The mall is closed"),
    ProblemCode.DUPLICATE_EXTERNAL_ID: ProblemKind(409, "This external_id has a job already"),
    ProblemCode.NOT_CANCELLABLE: ProblemKind(409, "The job can no longer be cancelled"),
    ProblemCode.WRONG_STATE: ProblemKind(409, "The state does not allow this"),
    ProblemCode.TOO_LATE: ProblemKind(409, "It is too late to change this"),
    ProblemCode.PRECONDITION_FAILED: ProblemKind(412, "It has changed: read it again"),
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
    ProblemCode.PRECONDITION_REQUIRED: ProblemKind(428, "Send If-Match with the version"),
    ProblemCode.RATE_LIMITED: ProblemKind(429, "Too many requests", retry=True),
    ProblemCode.STORE_UNAVAILABLE: ProblemKind(503, "The store cannot be reached", retry=True),
    ProblemCode.QUOTA_EXCEEDED: ProblemKind(
        429, "This service has used up a quota of this market", retry=True
    ),
    ProblemCode.STORE_FULL: ProblemKind(503, "The store is full", retry=True),
    ProblemCode.DRAINING: ProblemKind(503, "This node is going down", retry=True),
    ProblemCode.INTERNAL: ProblemKind(500, "Something went wrong on our side"),
}
