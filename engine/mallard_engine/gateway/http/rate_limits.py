"""Rate limits of the HTTP API: per token, per service and, without a valid token, per address.

Each node counts in memory, so behind a load balancer over n nodes a service has n times its limit.
Requests within their limits then pass a fair semaphore before any work is done for them: a thousand
requests of one service delay a request of another by a few.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mallard_engine.config.settings import Settings
from mallard_engine.contract.operations.table import OPERATIONS
from mallard_engine.gateway.auth.tokens import BadToken, Principal, Tokens, bearer
from mallard_engine.gateway.http.problems import HttpProblem, problem_response
from mallard_engine.gateway.http.request_parsing import received_already
from mallard_engine.gateway.limits.client_address import TrustedProxies
from mallard_engine.gateway.limits.fair_semaphore import FairSemaphore
from mallard_engine.gateway.limits.token_buckets import Buckets, Level, Rate
from mallard_engine.gateway.pages.routes import is_page
from mallard_engine.logs import CountingLog
from mallard_protocol.codes import MAX_BODY_BYTES, ProblemCode, Role

_limited = CountingLog(structlog.get_logger(__name__), "requests limited")

# By path: only fixed paths have a cost of their own.
_UNLIMITED_PATHS: Final = frozenset(it.path for it in OPERATIONS if not it.cost)
_COSTS: Final = {(it.method.upper(), it.path): it.cost for it in OPERATIONS if it.cost != 1}
# Requests are mostly CPU work, so higher limits add waiting time for others and no throughput.
_CONCURRENT_OF_ONE_CALLER: Final = 4
_CONCURRENT: Final = 16
# Delays each 429, so that a client that ignores it is bounded on each of its connections. Without
# the delay, two connections that kept posting 59 KiB to a full quota used a third of a core.
_REFUSED_AFTER_S: Final = 0.25
_TOO_MANY_REQUESTS: Final = 429
# Parsing and storing 64 KiB takes about as long as eight common requests.
_BYTES_OF_ONE_REQUEST: Final = 8 * 1024
_MAX_COST_OF_BODY: Final = MAX_BODY_BYTES // _BYTES_OF_ONE_REQUEST
_SLOT: Final = "mallard.slot"
_CHARGE: Final = "mallard.charge"


def limits_of(settings: Settings) -> "Limits":
    """Return the limits that a node's settings configure."""
    service = Rate(settings.service_rate_per_s, settings.service_burst)
    return Limits(
        service=service,
        token=service,
        driver=Rate(settings.driver_rate_per_s, settings.driver_burst),
        shop=Rate(settings.shop_rate_per_s, settings.shop_burst),
        connects=Rate(settings.connect_rate_per_s, settings.connect_burst),
        address=Rate(settings.address_rate_per_s, settings.address_burst),
        waits_of_one=settings.service_waits,
        waits=settings.waits,
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a node. A rate of 0 means no limit."""

    service: Rate
    token: Rate
    driver: Rate
    shop: Rate
    connects: Rate
    address: Rate
    waits_of_one: int
    waits: int


class RateLimiter:
    """Counts requests and refuses those over a limit.

    Args:
        limits: the limits.
        proxies: whose `X-Forwarded-For` is trusted.
        limited: called with the kind of each limit that refuses a request.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        limits: Limits,
        proxies: TrustedProxies,
        limited: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limits = limits
        self._proxies = proxies
        self._limited = limited
        self._clock = clock
        self._service = Buckets(limits.service)
        self._token = Buckets(limits.token)
        self._driver = Buckets(limits.driver)
        self._shop = Buckets(limits.shop)
        self._connects = Buckets(limits.connects)
        self._address = Buckets(limits.address)
        self._waits: Counter[Hashable] = Counter()
        self.concurrency = FairSemaphore(_CONCURRENT_OF_ONE_CALLER, _CONCURRENT)

    def charge(self, principal: Principal, token: str, cost: float) -> dict[str, str]:
        """Count a request; return the `RateLimit` fields. Raises `HttpProblem` 429.

        The fields are those of draft-ietf-httpapi-ratelimit-headers-10.
        """
        now_s = self._clock()
        counted = self._buckets_of(principal, token)
        levels = {name: buckets.look(key, now_s, cost) for name, buckets, key in counted}
        fields = _fields({name: buckets.rate for name, buckets, _ in counted}, levels)
        for name, level in levels.items():
            if level.wait_s:
                raise self._refused(name, level, fields)
        for _, buckets, key in counted:
            buckets.take(key, now_s, cost)
        return fields

    def charge_body(self, principal: Principal, token: str, size: int) -> None:
        """Count the body of a request that was charged before, `size` bytes.

        A client may not have stated the size in advance, so the buckets may owe this much.
        """
        if cost := cost_of_body(size):
            now_s = self._clock()
            for _, buckets, key in self._buckets_of(principal, token):
                buckets.owe(key, now_s, cost)

    def _buckets_of(self, principal: Principal, token: str) -> list[tuple[str, Buckets, Hashable]]:
        kinds: list[tuple[str, Buckets, Hashable]]
        if principal.role is Role.DRIVER:
            kinds = [("driver", self._driver, principal.caller)]
        elif principal.shop is not None:
            kinds = [("shop", self._shop, principal.caller)]
        else:
            kinds = [
                ("token", self._token, hash(token)),
                ("service", self._service, principal.caller),
            ]
        return [it for it in kinds if it[1].rate.per_s]

    def charge_address(self, scope: Scope) -> None:
        """Count a request without a valid token. Raises `HttpProblem` 429."""
        if not self._limits.address.per_s:
            return
        level = self._address.take(self._proxies.client_of(scope), self._clock())
        if level.wait_s:
            rates = {"address": self._limits.address}
            raise self._refused("address", level, _fields(rates, {"address": level}))

    def count_bad_token(self, scope: Scope) -> None:
        """Count a token that was refused already."""
        with suppress(HttpProblem):
            self.charge_address(scope)

    def is_address_over(self, scope: Scope) -> bool:
        """Whether the address is over its limit of requests without a valid token."""
        if not self._limits.address.per_s:
            return False
        level = self._address.look(self._proxies.client_of(scope), self._clock())
        if level.wait_s:
            self._count("address")
        return bool(level.wait_s)

    def may_connect(self, market: str, driver: str) -> bool:
        """Count a driver's handshake; return whether it is within the limit."""
        if not self._limits.connects.per_s:
            return True
        level = self._connects.take((market, driver), self._clock())
        if level.wait_s:
            self._count("connects")
        return not level.wait_s

    def begin_wait(self, caller: Hashable) -> None:
        """Count a request that waits (`wait_s`). Raises `HttpProblem` 429."""
        limits = self._limits
        if limits.waits and (
            self._waits[caller] >= limits.waits_of_one or self._waits.total() >= limits.waits
        ):
            self._count("waits")
            raise _problem(1.0, "too many requests wait already: ask without wait_s")
        self._waits[caller] += 1

    def end_wait(self, caller: Hashable) -> None:
        """Count the end of a wait."""
        self._waits[caller] -= 1
        if not self._waits[caller]:
            del self._waits[caller]

    def _refused(self, kind: str, level: Level, fields: Mapping[str, str]) -> HttpProblem:
        self._count(kind)
        return _problem(level.wait_s, f"over the limit of this {kind}", fields)

    def _count(self, kind: str) -> None:
        self._limited(kind)
        _limited.count(kind)


class RequestSlot:
    """A request's place in the fair semaphore of all callers, released while it only waits."""

    __slots__ = ("_caller", "_semaphore", "is_held")

    def __init__(self, semaphore: FairSemaphore, caller: Hashable) -> None:
        self._semaphore = semaphore
        self._caller = caller
        self.is_held = False

    async def acquire(self) -> None:
        """Wait for the semaphore unless the request holds it already."""
        if not self.is_held:
            await self._semaphore.acquire(self._caller)
            self.is_held = True

    def release(self) -> None:
        """Release the semaphore if the request holds it."""
        if self.is_held:
            self.is_held = False
            self._semaphore.release(self._caller)


class _Receiving:
    """Receives a request's body, without its slot while the body has not arrived.

    Otherwise a few services that send a byte a second would hold all slots for as long as a body
    may take. A complete body is passed to `charge` with its size in bytes.
    """

    __slots__ = ("_charge", "_receive", "_size", "_slot", "_was_held")

    def __init__(self, receive: Receive, slot: RequestSlot, charge: Callable[[int], None]) -> None:
        self._receive = receive
        self._slot = slot
        self._charge = charge
        self._size = 0
        self._was_held = False

    async def __call__(self) -> Message:
        slot = self._slot
        message = received_already(self._receive) if slot.is_held else None
        if message is None:
            if slot.is_held:
                slot.release()
                self._was_held = True
            message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._charge(self._size)
                if self._was_held:
                    self._was_held = False
                    await slot.acquire()
        return message


def slot_of(request: Request) -> RequestSlot | None:
    """Return the slot of a request; None for a request that needs none."""
    slot: RequestSlot | None = request.scope.get(_SLOT)
    return slot


def charge_of(request: Request) -> Callable[[float], dict[str, str]] | None:
    """Return what counts one more request of the same caller; None if nothing is counted.

    It takes the cost of that request, returns the new `RateLimit` fields, and raises `HttpProblem`
    429.
    """
    charge: Callable[[float], dict[str, str]] | None = request.scope.get(_CHARGE)
    return charge


def cost_of_body(size: int) -> int:
    """Return what a body of `size` bytes costs beside the request that brings it, at most eight."""
    return min(size // _BYTES_OF_ONE_REQUEST, _MAX_COST_OF_BODY)


class RateLimitMiddleware:
    """ASGI middleware that applies a `RateLimiter`."""

    def __init__(self, app: ASGIApp, tokens: Tokens, limiter: RateLimiter) -> None:
        self._app = app
        self._tokens = tokens
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        if (
            scope["type"] != "http"
            or scope["path"] in _UNLIMITED_PATHS
            or is_page(scope["path"])
            or scope["method"] == "OPTIONS"
        ):
            await self._app(scope, receive, send)
            return
        try:
            token = bearer(Headers(scope=scope).getlist("authorization"))
            principal = self._tokens.verify(token)
        except BadToken:
            await self._answer_unauthenticated(scope, receive, send)
            return
        try:
            cost = _COSTS.get((scope["method"], scope["path"]), 1.0)
            fields = self._limiter.charge(principal, token, cost)
            waits = _asks_to_wait(scope["query_string"])
            if waits:
                self._limiter.begin_wait(principal.caller)
        except HttpProblem as problem:
            await _refuse(problem, scope, receive, send)
            return
        slot = RequestSlot(self._limiter.concurrency, principal.caller)
        scope[_SLOT] = slot
        scope[_CHARGE] = partial(self._limiter.charge, principal, token)
        receiving = _Receiving(receive, slot, partial(self._limiter.charge_body, principal, token))
        try:
            await slot.acquire()
            await self._app(scope, receiving, _answering(send, fields, slot))
        finally:
            slot.release()
            if waits:
                self._limiter.end_wait(principal.caller)

    async def _answer_unauthenticated(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._limiter.charge_address(scope)
        except HttpProblem as problem:
            await _refuse(problem, scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _refuse(problem: HttpProblem, scope: Scope, receive: Receive, send: Send) -> None:
    # Hundreds may be delayed at a time, and a traceback would keep the frames of each.
    problem.__traceback__ = None
    await asyncio.sleep(_REFUSED_AFTER_S)
    await problem_response(problem)(scope, receive, send)


def _asks_to_wait(query: bytes) -> bool:
    return any(part.startswith(b"wait_s=") and part != b"wait_s=0" for part in query.split(b"&"))


def _answering(send: Send, fields: Mapping[str, str], slot: RequestSlot) -> Send:
    """Return what sends a response with these fields, after the slot has been released.

    A 429 is delayed here as well: that of a full quota follows after most of the work.
    """

    async def send_with_fields(message: Message) -> None:
        if message["type"] == "http.response.start":
            slot.release()  # the client may read nothing for seconds
            if message["status"] == _TOO_MANY_REQUESTS:
                await asyncio.sleep(_REFUSED_AFTER_S)
            headers = MutableHeaders(scope=message)
            for name, value in fields.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_fields


def _fields(rates: Mapping[str, Rate], levels: Mapping[str, Level]) -> dict[str, str]:
    """Return the fields: all policies, and what is left of the one with the least."""
    if not levels:
        return {}
    policies = ", ".join(
        f'"{name}";q={rate.burst};w={max(1, math.ceil(rate.burst / rate.per_s))}'
        for name, rate in rates.items()
    )
    name, level = min(levels.items(), key=lambda it: it[1].left / rates[it[0]].burst)
    reset_s = math.ceil(level.wait_s or level.full_s)
    return {
        "RateLimit-Policy": policies,
        "RateLimit": f'"{name}";r={level.left};t={max(1, reset_s)}',
    }


def _problem(wait_s: float, detail: str, fields: Mapping[str, str] | None = None) -> HttpProblem:
    retry = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return HttpProblem(ProblemCode.RATE_LIMITED, detail, headers={**retry, **(fields or {})})
