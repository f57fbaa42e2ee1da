"""The exceptions that the clients raise."""

from mallard_protocol.codes import CLOSE_ADVICE, Close
from mallard_protocol.resources import FieldError


class ClientError(Exception):
    """Any failure that a client of this package raises."""


class RequestRefused(ClientError):
    """The engine answered a driver's request with ``error``.

    ``code`` is one of ``mallard_protocol.codes.ErrorCode`` (or a newer one, as text); ``retry``:
    the same request may work later; ``missing``: the kinds of proof that ``proof_needed`` asks for;
    ``tries_left``: how many wrong values ``wrong_code`` still allows.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry: bool,
        missing: tuple[str, ...] = (),
        tries_left: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.retry = retry
        self.missing = missing
        self.tries_left = tries_left


class NoAnswer(ClientError):
    """A request was not answered in time; it is unknown whether it had an effect.

    An answer that comes later still updates the client's state.
    """


class NoToken(ClientError):
    """The app's token provider failed, or returned an unusable token."""


class LinkLost(ClientError):
    """The socket ended before the answer came."""


class QueueFull(ClientError):
    """Too many reports are unanswered; the client accepts no more."""


class Stopped(ClientError):
    """The connection is over and a retry cannot help.

    ``close_code`` is the socket's (None when no code ended it); ``by_app``: the app left.
    """

    def __init__(self, reason: str, *, close_code: int | None = None, by_app: bool = False) -> None:
        super().__init__(reason)
        self.close_code = close_code
        self.by_app = by_app

    @classmethod
    def closed(cls, code: int, reason: str) -> "Stopped":
        """Return the exception for a socket that the server closed with `code`."""
        advice = CLOSE_ADVICE.get(Close(code)) if code in CLOSE_CODES else None
        meaning = advice.meaning if advice else "the server said not to try again"
        return cls(f"closed with {code}: {reason or meaning}", close_code=code)


CLOSE_CODES = frozenset(Close)


class CallFailed(ClientError):
    """A call of the order API failed.

    ``idempotency_key`` is the key of a submission: pass it to `submit` again to repeat it safely.
    """

    idempotency_key: str | None = None


class ApiProblem(CallFailed):
    """The order API refused a request: an RFC 9457 problem.

    ``code`` is one of ``mallard_protocol.codes.ProblemCode`` (or a newer one, as text; empty when
    the answer was not a problem document, for example a proxy's page); ``errors`` name the fields
    that are wrong; ``job`` is the job that has a duplicate ``external_id`` already;
    ``retry_after_s`` is the server's ``Retry-After``; ``oldest`` the oldest event that is kept, if
    those asked for were trimmed.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        job: str | None = None,
        retry_after_s: float | None = None,
        *,
        oldest: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if code else f"{status}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.job = job
        self.retry_after_s = retry_after_s
        self.oldest = oldest


class BadAnswer(CallFailed):
    """The answer is not the engine's, but for example a page of a proxy or a captive portal."""


class Unreachable(CallFailed):
    """No attempt was answered by an engine; it is unknown whether the call had an effect."""
