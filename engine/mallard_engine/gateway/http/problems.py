"""Maps exceptions to `application/problem+json` responses with a stable `code` (RFC 9457).

    Starlette(routes=…, exception_handlers=EXCEPTION_HANDLERS)

A handler raises `HttpProblem` or one of the exceptions of the ports. Any other exception is logged
and answered with 500 `internal`; no traceback reaches the client.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mallard_engine.contract.advice import ERROR_ADVICE, PROBLEMS
from mallard_engine.contract.reading.bodies import BodyTooLarge, InvalidBody, MalformedJson
from mallard_engine.gateway.auth.tokens import BadToken, WrongScope
from mallard_engine.gateway.http.keyed_semaphore import QueueFull
from mallard_engine.gateway.orders.intake import InvalidOrder
from mallard_engine.gateway.orders.order_patch import TooLate
from mallard_engine.ports import (
    DriverUnavailable,
    DuplicateExternalId,
    IdempotencyMismatch,
    NoSuchDriver,
    NoSuchJob,
    NoSuchProblem,
    QuotaExceeded,
    Refused,
    StoreFull,
    StoreUnavailable,
    TooManyWrongCodes,
    WrongState,
)
from mallard_protocol.codes import ProblemCode
from mallard_protocol.resources import FieldError, Problem

MEDIA_TYPE: Final = "application/problem+json"
# Responses hold personal data or the state of this moment.
NOT_CACHED: Final = "no-store"
_RETRY_AFTER_S: Final = 1
# A full Redis or an exhausted quota does not recover within a second.
_RETRY_AFTER_FULL_S: Final = 10
_SLOW_TO_RECOVER: Final = frozenset({ProblemCode.STORE_FULL, ProblemCode.QUOTA_EXCEEDED})
# A detail may quote the name of an unknown field of any length.
_MAX_DETAIL_CHARS: Final = 500

_CODES_OF_STATUS: Final = {
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    413: ProblemCode.BODY_TOO_LARGE,
    415: ProblemCode.UNSUPPORTED_MEDIA_TYPE,
}


class HttpProblem(Exception):
    """A response that is an error.

    Args:
        code: the problem code.
        detail: an explanation for the caller; by default the title of the code.
        errors: the invalid fields.
        job: the id of the job that exists already.
        missing: see `ports.Refused`.
        tries_left: see `ports.Refused`.
        oldest: the id of the oldest event that is kept.
        headers: further response headers.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        job: str = "",
        missing: tuple[str, ...] = (),
        tries_left: int | None = None,
        oldest: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or code.value)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.job = job
        self.missing = missing
        self.tries_left = tries_left
        self.oldest = oldest
        self.headers = dict(headers or {})


def invalid_fields(*errors: FieldError) -> HttpProblem:
    """Return a 422 with these errors."""
    return HttpProblem(
        ProblemCode.INVALID_FIELDS,
        "; ".join(f"{error.pointer or 'the body'}: {error.detail}" for error in errors),
        errors=errors,
    )


def not_found(what: str) -> HttpProblem:
    """Return a 404. `what` names the kind of resource, as in `no such job`."""
    return HttpProblem(ProblemCode.NOT_FOUND, f"no such {what}")


def _of_status(error: HTTPException) -> HttpProblem:
    """Return the problem of an error that the router raised."""
    code = _CODES_OF_STATUS.get(error.status_code, ProblemCode.BAD_REQUEST)
    return HttpProblem(code, headers=error.headers)


def _unauthorized(error: BadToken) -> HttpProblem:
    challenge = {"WWW-Authenticate": 'Bearer realm="mallard"'}
    return HttpProblem(ProblemCode.UNAUTHORIZED, str(error), headers=challenge)


def _invalid_body(error: InvalidBody) -> HttpProblem:
    return invalid_fields(*(FieldError(it.pointer, it.detail) for it in error.violations))


def _plain(code: ProblemCode, detail: str = "") -> Callable[[Exception], HttpProblem]:
    """Map an exception to a code. The detail is the exception's text by default."""
    return lambda error: HttpProblem(code, detail or str(error))


_P: Final = ProblemCode
_PROBLEM_OF: Final[Mapping[type[Exception], Callable[[Any], HttpProblem]]] = {
    HttpProblem: lambda problem: problem,
    HTTPException: _of_status,
    BadToken: _unauthorized,
    WrongScope: _plain(_P.FORBIDDEN),
    InvalidBody: _invalid_body,
    MalformedJson: _plain(_P.MALFORMED_JSON),
    BodyTooLarge: _plain(_P.BODY_TOO_LARGE),
    InvalidOrder: lambda error: HttpProblem(error.code, str(error), errors=error.errors),
    TooLate: lambda error: HttpProblem(_P.TOO_LATE, str(error), errors=error.errors),
    NoSuchJob: lambda _error: not_found("job"),
    NoSuchProblem: lambda _error: not_found("problem of this job"),
    NoSuchDriver: lambda _error: not_found("driver"),
    Refused: lambda error: HttpProblem(
        ProblemCode(error.code),
        ERROR_ADVICE[error.code].meaning,
        missing=error.missing,
        tries_left=error.tries_left,
    ),
    TooManyWrongCodes: lambda error: HttpProblem(
        _P.RATE_LIMITED,
        "too many wrong codes: the driver can report the parcels itself",
        headers={"Retry-After": str(max(1, math.ceil(error.wait_s)))},
    ),
    WrongState: lambda error: HttpProblem(_P.WRONG_STATE, f"the job is {error.state}"),
    DriverUnavailable: _plain(_P.DRIVER_UNAVAILABLE),
    IdempotencyMismatch: _plain(_P.IDEMPOTENCY_MISMATCH, "the key belongs to another request"),
    DuplicateExternalId: lambda error: HttpProblem(_P.DUPLICATE_EXTERNAL_ID, job=error.job),
    StoreUnavailable: _plain(_P.STORE_UNAVAILABLE, "try again with the same request"),
    QueueFull: _plain(_P.RATE_LIMITED, "too many orders of this mall are waiting already"),
    QuotaExceeded: lambda error: HttpProblem(
        _P.QUOTA_EXCEEDED, f"the quota {error} of this service is used up"
    ),
    StoreFull: _plain(_P.STORE_FULL, "there is no room for another job now"),
    # Its text may contain what the caller must not see.
    Exception: lambda _error: HttpProblem(_P.INTERNAL),
}


def problem_of(error: Exception) -> HttpProblem:
    """Return the problem of an exception, with `Retry-After` if a retry can succeed."""
    kind = next(kind for kind in type(error).__mro__ if kind in _PROBLEM_OF)
    problem = _PROBLEM_OF[kind](error)
    if PROBLEMS[problem.code].retry:
        full = problem.code in _SLOW_TO_RECOVER
        retry_after_s = _RETRY_AFTER_FULL_S if full else _RETRY_AFTER_S
        problem.headers.setdefault("Retry-After", str(retry_after_s))
    return problem


def problem_body(problem: HttpProblem) -> Problem:
    """Return the body of a problem."""
    kind = PROBLEMS[problem.code]
    return Problem(
        type=f"urn:mallard:problem:{problem.code}",
        title=kind.title,
        status=kind.status,
        code=problem.code,
        detail=problem.detail[:_MAX_DETAIL_CHARS] or kind.title,
        errors=problem.errors or UNSET,
        job=problem.job or UNSET,
        missing=problem.missing or UNSET,
        oldest=problem.oldest or UNSET,
        tries_left=UNSET if problem.tries_left is None else problem.tries_left,
    )


def problem_response(problem: HttpProblem) -> Response:
    """Return the response, with `Retry-After` if a retry can succeed."""
    problem = problem_of(problem)
    body = problem_body(problem)
    response = Response(msgspec.json.encode(body), body.status, problem.headers, MEDIA_TYPE)
    response.headers.setdefault("cache-control", NOT_CACHED)
    return response


async def _answer(_request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))


async def _client_gone(_request: Request, _error: Exception) -> None:
    """The client disconnected while it was sending its body."""


# The server logs exceptions that only `Exception` matches, with their traceback.
EXCEPTION_HANDLERS: Final[Mapping[Any, Any]] = {
    **dict.fromkeys(_PROBLEM_OF, _answer),
    ClientDisconnect: _client_gone,
}
