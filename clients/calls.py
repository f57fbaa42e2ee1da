"""HTTP calls without I/O: what to send, what an answer means, when to try again.

A call is a generator of steps: it yields a `Request` and is sent the `Response` (or the `Failure`
to get one), or it yields a `Pause` and is sent None when it is over. Its return value is the
call's. So one core serves an async and a sync client, which only carry steps out.
"""

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from clients.backoff import FullJitter
from clients.errors import ApiProblem, Unreachable
from clients.servers import Servers
from protocol.resources import Problem

T = TypeVar("T")

# Answers after which the same request may work later.
_LATER: Final = frozenset({429, 502, 503, 504})
_TOO_MANY_REQUESTS: Final = 429
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_ANSWER_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `repeatable`: sending it twice is as sending it once."""

    method: str
    url: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = True
    timeout_s: float = _ANSWER_WITHIN_S


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. `retry_after_s`: the server's wish, in seconds."""

    status: int
    body: bytes
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing came back; whether the request had an effect is unknown."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next step."""

    seconds: float


Step = Request | Pause
Steps = Generator[Step, Response | Failure | None, T]


class Caller:
    """Sends requests to equal servers in turn, with retries. Pure but for its `dice`."""

    def __init__(self, base_urls: Sequence[str], *, tries: int, dice: random.Random) -> None:
        self._servers = Servers(base_urls)
        self._tries = tries
        self._dice = dice

    def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        params: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str] | None = None,
        body: msgspec.Struct | Mapping[str, object] | None = None,
        repeatable: bool = True,
        longer_s: float = 0,
    ) -> Steps[T]:
        """Call until there is an answer that is worth having, and decode it as `answer`.

        Tried again: what did not come through (if `repeatable`), and 429, 502, 503, 504, after full
        jitter but not before ``Retry-After``; on the next server if there are several. `longer_s`
        is how much longer than usual the server may take. Raises `ApiProblem`, `Unreachable`.
        """
        encoded = None if body is None else msgspec.json.encode(body)
        jitter = FullJitter(self._dice, first_s=_FIRST_WAIT_S, max_s=_LONGEST_WAIT_S)
        tries_left = self._tries
        while True:
            base_url = self._servers.next()
            outcome = yield Request(
                method,
                base_url + path,
                {name: value for name, value in (params or {}).items() if value is not None},
                {**(headers or {}), **({"Content-Type": "application/json"} if encoded else {})},
                encoded,
                repeatable,
                _ANSWER_WITHIN_S + longer_s,
            )
            self._servers.note(base_url, answered=isinstance(outcome, Response))
            if isinstance(outcome, Response) and outcome.status < 400:
                return msgspec.json.decode(outcome.body, type=answer)
            tries_left -= 1
            if not tries_left or not _worth_repeating(outcome, repeatable=repeatable):
                raise _error(outcome)
            wait_s = jitter.next_s()
            if isinstance(outcome, Response) and outcome.retry_after_s is not None:
                wait_s += outcome.retry_after_s
            yield Pause(wait_s)


def retry_after_s(header: str | None) -> float | None:
    """Read a ``Retry-After`` in seconds; None for its other form, a date, and for nonsense."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def _worth_repeating(outcome: Response | Failure | None, *, repeatable: bool) -> bool:
    if isinstance(outcome, Response):
        if outcome.status == _TOO_MANY_REQUESTS:  # turned away before it could have an effect
            return True
        return repeatable and outcome.status in _LATER
    return repeatable


def _error(outcome: Response | Failure | None) -> ApiProblem | Unreachable:
    if not isinstance(outcome, Response):
        return Unreachable(outcome.reason if outcome else "nothing came back")
    try:
        problem = msgspec.json.decode(outcome.body, type=Problem)
    except msgspec.MsgspecError:  # a proxy's page, not the engine's problem
        return ApiProblem(outcome.status, "", "the answer is no problem document")
    return ApiProblem(
        outcome.status,
        problem.code,
        problem.detail,
        () if problem.errors is UNSET else problem.errors,
        None if problem.job is UNSET else problem.job,
    )
