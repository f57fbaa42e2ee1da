"""HTTP calls without I/O: requests, interpretation of answers, and retries.

A call is a generator of steps: it yields a `Request` and is sent the `Response` (or the `Failure`
to get one), or it yields a `Pause` and is sent None when it is over. Its return value is the
call's. The async and the sync client share this core and only execute the steps.
"""

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from mallard_client.backoff import FullJitter
from mallard_client.errors import ApiProblem, BadAnswer, CallFailed, Unreachable
from mallard_client.http.server_pool import Servers
from mallard_protocol.resources import Problem

T = TypeVar("T")
Outcome: TypeAlias = "Response | Failure | None"

# Status codes after which the same request may succeed later.
_LATER: Final = frozenset({429, 502, 503, 504})
_TOO_MANY_REQUESTS: Final = 429
_NO_CONTENT: Final = 204
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_ANSWER_WITHIN_S: Final = 10.0
TRIES: Final = 6
WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `repeatable`: sending it twice has the effect of sending it once."""

    method: str
    url: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = True
    timeout_s: float = _ANSWER_WITHIN_S


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request. `retry_after_s`: the server's ``Retry-After``, in seconds."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Tagged(Generic[T]):
    """An answer with its entity tag, which a later call may name as its condition."""

    value: T
    etag: str


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer; it is unknown whether the request had an effect."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next step."""

    seconds: float


class CallOptions(TypedDict, total=False):
    """`content` is a body that is no JSON; `longer_s`, how much longer the server may take."""

    params: Mapping[str, str | int | None] | None
    headers: Mapping[str, str] | None
    body: msgspec.Struct | Mapping[str, object] | None
    content: bytes | None
    repeatable: bool
    longer_s: float


Step = Request | Pause
Steps = Generator[Step, Response | Failure | None, T]


class Caller:
    """Sends requests to equal servers in turn, with retries. Pure but for `rng` and `clock`.

    A call is sent at most `tries` times, and not again once `within_s` have passed (plus what it
    asks the server to wait). `clock` counts seconds from any origin. Raises `ValueError` for an
    address that is not an HTTP URL.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        tries: int = TRIES,
        within_s: float = WITHIN_S,
    ) -> None:
        for url in base_urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is not the address of an engine: http://HOST:PORT")
        self.servers: Final = Servers(base_urls)
        self._tries = tries
        self._within_s = within_s
        self.rng = rng
        self.clock = clock

    def call(
        self, method: str, path: str, answer: type[T], **options: Unpack[CallOptions]
    ) -> Steps[T]:
        """Call until the engine gives a final answer, and decode it as `answer`.

        Retries requests that failed or that something other than the engine answered (if
        `repeatable`), and 429, 502, 503, 504, after full jitter but not before ``Retry-After``, on
        the next server if there are several. Raises `ApiProblem`, `BadAnswer`, `Unreachable`.
        """
        answered = yield from self.tagged(method, path, answer, **options)
        return answered.value

    def tagged(
        self, method: str, path: str, answer: type[T], **options: Unpack[CallOptions]
    ) -> Steps[Tagged[T]]:
        """As `call`, with the entity tag of the answer; empty if it has none."""
        body, content = options.get("body"), options.get("content")
        repeatable, longer_s = options.get("repeatable", True), options.get("longer_s", 0)
        params, headers = options.get("params") or {}, options.get("headers") or {}
        encoded = content if body is None else msgspec.json.encode(body)
        media_type = "application/json" if content is None else "application/octet-stream"
        jitter = FullJitter(self.rng, first_s=_FIRST_WAIT_S, max_s=_LONGEST_WAIT_S)
        tries_left = self._tries
        until = self.clock() + self._within_s + longer_s
        while True:
            base_url = self.servers.next()
            outcome = yield Request(
                method,
                base_url + path,
                {name: value for name, value in params.items() if value is not None},
                {**headers, **({"Content-Type": media_type} if encoded else {})},
                encoded,
                repeatable,
                _ANSWER_WITHIN_S + longer_s,
            )
            self.servers.note(base_url, answered=isinstance(outcome, Response))
            try:
                value = _decoded(outcome, answer)
                etag = outcome.etag if isinstance(outcome, Response) else None
                return Tagged(value, etag or "")
            except CallFailed as failure:
                tries_left -= 1
                wait_s = jitter.next_s()
                if isinstance(outcome, Response) and outcome.retry_after_s is not None:
                    wait_s += outcome.retry_after_s
                may_wait = self.clock() + wait_s <= until
                if (
                    not tries_left
                    or not may_wait
                    or not _worth_repeating(failure, repeatable=repeatable)
                ):
                    raise
            yield Pause(wait_s)


def path_of(*parts: str) -> str:
    """Return the path of a resource."""
    return "/v1/" + "/".join(quote(part, safe=":") for part in parts)


def retry_after_s(header: str | None, date: str | None = None) -> float | None:
    """Read a ``Retry-After``: seconds, or a time, from which the answer's ``Date`` is subtracted.

    None if it is malformed, or a time without a ``Date``: the local clock may differ.
    """
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        then, now = parsedate_to_datetime(header), parsedate_to_datetime(date or "")
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return None


def may_pass(failure: CallFailed) -> bool:
    """Whether a failure is temporary: the same request may succeed later."""
    if isinstance(failure, ApiProblem):
        return failure.status in _LATER or not failure.code
    return True


def _worth_repeating(failure: CallFailed, *, repeatable: bool) -> bool:
    if isinstance(failure, ApiProblem) and failure.status == _TOO_MANY_REQUESTS:
        return True  # refused before it could have an effect
    return repeatable and may_pass(failure)


def _decoded(outcome: Outcome, answer: type[T]) -> T:
    """Decode the engine's answer. Raises `CallFailed`."""
    if not isinstance(outcome, Response):
        raise Unreachable(outcome.reason if outcome else "no answer")
    if outcome.status >= 400:
        raise problem_of(outcome.status, outcome.body, outcome.retry_after_s)
    try:
        if outcome.status < 300:
            if outcome.status == _NO_CONTENT:
                return msgspec.convert(None, type=answer)
            return msgspec.json.decode(outcome.body, type=answer)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadAnswer(f"{outcome.status} with a body that is not the engine's: {error}") from None
    raise BadAnswer(f"{outcome.status}: the engine redirects nowhere, so this is something else")


def problem_of(status: int, body: bytes, retry_after_s: float | None) -> ApiProblem:
    """Return the refusal that an answer is; without a code if it is a proxy's page."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeError):
        detail = "the answer is no problem document"
        return ApiProblem(status, "", detail, retry_after_s=retry_after_s)
    return ApiProblem(
        status,
        problem.code,
        problem.detail,
        () if problem.errors is UNSET else problem.errors,
        None if problem.job is UNSET else problem.job,
        retry_after_s,
        oldest=None if problem.oldest is UNSET else problem.oldest,
    )
