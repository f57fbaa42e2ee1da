"""Endpoints of webhooks: an order service manages its own; operators see all and may delete all."""

import base64
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.events import OPERATORS_ONLY
from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.contract.webhooks import (
    MAX_WEBHOOKS,
    ROTATION_S,
    TEST_EVENT,
    ReplayRequest,
    WebhookPatch,
    WebhookRequest,
)
from mallard_engine.core.webhooks.destinations import BadUrl
from mallard_engine.core.webhooks.endpoints import Endpoint, Secret, rotated
from mallard_engine.gateway.auth.tokens import Principal, WrongScope
from mallard_engine.gateway.http.endpoints.jobs.access import owner_of
from mallard_engine.gateway.http.endpoints.webhooks.recovery import begin_replay
from mallard_engine.gateway.http.endpoints.webhooks.views import delivery_view, webhook_view
from mallard_engine.gateway.http.parameters import bad_request, is_id, whole_number
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields, not_found
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, encode_json, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.timestamps import CLOCK_SKEW_MS, Moment, epoch_ms
from mallard_engine.gateway.webhooks.sender import Message
from mallard_engine.ports import Attempt, NoSuchWebhook, TooManyWebhooks
from mallard_protocol.codes import MAX_PAGE, ProblemCode
from mallard_protocol.events import Event
from mallard_protocol.resources import FieldError
from mallard_protocol.webhooks import (
    DeliveryList,
    DeliveryOutcome,
    DisabledReason,
    NewWebhook,
    Replay,
    RotatedSecret,
    WebhookList,
    WebhookState,
)

_DEFAULT_PAGE: Final = 50
_SECRET_BYTES: Final = 32
# Tests that wait for an endpoint, of a node and of one caller. An endpoint may take 10 s.
_MOST_TESTS: Final = 32
_MOST_TESTS_OF_ONE: Final = 4
_RETRY_AFTER_S: Final = 5
# Changes of one endpoint at the same time: each tries again.
_MOST_CHANGES: Final = 8


class WebhooksApi:
    """Handlers of endpoints of webhooks."""

    def __init__(self, services: SocketServices) -> None:
        self._services = services
        self._store = services.store
        self._webhooks = services.store.webhooks
        self._sender = services.sender
        self._tests: Counter[Hashable] = Counter()

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "createWebhook": self.create,
            "listWebhooks": self.list,
            "getWebhook": self.read,
            "updateWebhook": self.update,
            "deleteWebhook": self.delete,
            "rotateWebhookSecret": self.rotate,
            "testWebhook": self.test,
            "replayWebhook": self.replay,
            "listWebhookDeliveries": self.deliveries,
        }

    async def create(self, request: Request, principal: Principal) -> Response:
        """Store an endpoint and return its secret."""
        body = decode_json_body(await read_body(request), WebhookRequest)
        await self._check(principal, body.url, body.types, body.markets)
        now_ms, secret = self._store.now_ms(), _new_secret()
        endpoint = Endpoint(
            id=f"wh_{secrets.token_hex(12)}",
            owner=principal.sub,
            service=owner_of(principal),
            url=body.url,
            types=_distinct(body.types),
            markets=self._markets(principal, body.markets),
            description=body.description,
            secrets=(Secret(secret),),
            created_ms=now_ms,
            updated_ms=now_ms,
            granted_ms=principal.issued_ms,
        )
        try:
            created = await self._webhooks.create(endpoint)
        except TooManyWebhooks:
            raise HttpProblem(
                ProblemCode.QUOTA_EXCEEDED, f"you have {MAX_WEBHOOKS} endpoints: delete one"
            ) from None
        self._services.webhooks.endpoint_changed()
        created = await self._unless_revoked(created, principal)
        view = webhook_view(created, NewWebhook, secret=secret)
        return JsonResponse(view, headers={"Location": f"/v1/webhooks/{endpoint.id}"})

    async def list(self, request: Request, principal: Principal) -> Response:
        """Return a page of endpoints."""
        limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
        cursor = request.query_params.get("cursor") or ""
        after = _read_cursor(cursor) if cursor else (-1, "")
        known = (await self._webhooks.all()).by_id.values()
        own = [it for it in known if _may_see(principal, it)]
        own = sorted((it for it in own if _rank(it) > after), key=_rank)
        page = own[:limit]
        more = f"{page[-1].created_ms}/{page[-1].id}" if len(own) > limit else None
        return JsonResponse(WebhookList(tuple(map(webhook_view, page)), more))

    async def read(self, request: Request, principal: Principal) -> Response:
        """Return an endpoint."""
        return JsonResponse(webhook_view(await self._seen(request, principal)))

    async def update(self, request: Request, principal: Principal) -> Response:
        """Change an endpoint, all or nothing."""
        body = decode_json_body(await read_body(request), WebhookPatch)
        url = None if body.url is UNSET else body.url
        types = () if body.types is UNSET else body.types
        markets = () if body.markets is UNSET else body.markets
        endpoint = await self._own(request, principal)
        await self._check(principal, url, types, markets)
        reached = self._markets(principal, markets)
        wants = None if body.state is UNSET else WebhookState(body.state)

        def changed(was: Endpoint) -> Endpoint:
            return replace(
                was,
                url=was.url if body.url is UNSET else body.url,
                types=was.types if body.types is UNSET else _distinct(body.types),
                markets=was.markets if body.markets is UNSET else reached,
                description=was.description if body.description is UNSET else body.description,
                updated_ms=self._store.now_ms(),
                granted_ms=principal.issued_ms,
            )

        endpoint = await self._change(endpoint, changed, is_enabling=wants is WebhookState.ENABLED)
        if wants is WebhookState.DISABLED:
            await self._webhooks.disable(endpoint.id, DisabledReason.OWNER)
            endpoint = await self._webhooks.get(endpoint.id)
        self._services.webhooks.endpoint_changed()
        endpoint = await self._unless_revoked(endpoint, principal)
        return JsonResponse(webhook_view(endpoint))

    async def delete(self, request: Request, principal: Principal) -> Response:
        """Delete an endpoint."""
        await self._webhooks.delete(await self._seen(request, principal))
        return Response(status_code=204)

    async def rotate(self, request: Request, principal: Principal) -> Response:
        """Make a new secret, beside which the newest before it signs for a day."""
        endpoint = await self._own(request, principal)
        secret, until_ms = _new_secret(), self._store.now_ms() + ROTATION_S * 1000

        def changed(was: Endpoint) -> Endpoint:
            return replace(
                was,
                secrets=rotated(was.secrets, secret, until_ms),
                updated_ms=self._store.now_ms(),
                granted_ms=principal.issued_ms,
            )

        await self._unless_revoked(await self._change(endpoint, changed), principal)
        return JsonResponse(RotatedSecret(endpoint.id, secret, Moment.at_ms(until_ms)))

    async def test(self, request: Request, principal: Principal) -> Response:
        """Post an event that has not happened, and return how it went."""
        endpoint = await self._own(request, principal)
        caller = principal.caller
        if self._tests[caller] >= _MOST_TESTS_OF_ONE or self._tests.total() >= _MOST_TESTS:
            raise HttpProblem(
                ProblemCode.RATE_LIMITED,
                "too many tests at once",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        if slot := slot_of(request):
            slot.release()  # a waiting request uses no CPU
        self._tests[caller] += 1
        try:
            return JsonResponse(delivery_view(await self._tried(endpoint)))
        finally:
            self._tests -= Counter((caller,))

    async def _tried(self, endpoint: Endpoint) -> Attempt:
        now_ms = self._store.now_ms()
        event = Event(
            id=f"test_{secrets.token_hex(12)}",
            sequence=0,
            type=TEST_EVENT,
            occurred_at=Moment.at_ms(now_ms),
            recorded_at=Moment.at_ms(now_ms),
            market=next(iter(endpoint.markets or self._services.places.markets)),
            data={"webhook": endpoint.id},
        )
        message = Message(event.id, encode_json(event))
        answer = await self._sender.post(endpoint.url, message, endpoint.signs_with(now_ms))
        outcome = DeliveryOutcome.FAILED if answer.error else DeliveryOutcome.DELIVERED
        return Attempt(
            event=event.id,
            type=event.type,
            attempt=1,
            at_ms=now_ms,
            duration_ms=answer.duration_ms,
            outcome=outcome,
            status=answer.status,
            error=answer.error,
        )

    async def replay(self, request: Request, principal: Principal) -> Response:
        """Begin to queue events again."""
        body = decode_json_body(await read_body(request), ReplayRequest)
        endpoint = await self._own(request, principal)
        from_ms, now_ms = epoch_ms(body.from_), self._store.now_ms()
        if from_ms > now_ms + CLOCK_SKEW_MS:
            raise invalid_fields(FieldError("/from", "this moment has not come yet"))
        if endpoint.disabled is not None:
            raise HttpProblem(ProblemCode.WRONG_STATE, "the endpoint is disabled: enable it first")
        markets = self._services.places.markets
        begins_ms = await begin_replay(self._store, endpoint, markets, min(from_ms, now_ms))
        return JsonResponse(Replay(endpoint.id, Moment.at_ms(begins_ms)))

    async def deliveries(self, request: Request, principal: Principal) -> Response:
        """Return a page of the endpoint's log."""
        limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
        cursor = request.query_params.get("cursor") or None
        if cursor is not None and not _is_place(cursor):
            raise bad_request(_BAD_CURSOR)
        endpoint = await self._seen(request, principal)
        attempts, more = await self._webhooks.log(endpoint.id, cursor, limit)
        return JsonResponse(DeliveryList(tuple(map(delivery_view, attempts)), more))

    async def _seen(self, request: Request, principal: Principal) -> Endpoint:
        """Return the endpoint of the path. That of another service is reported as missing."""
        name = request.path_params["id"]
        try:
            endpoint = await self._webhooks.get(name) if is_id(name) else None
        except NoSuchWebhook:
            endpoint = None
        if endpoint is None or not _may_see(principal, endpoint):
            raise not_found("webhook")
        return endpoint

    async def _own(self, request: Request, principal: Principal) -> Endpoint:
        """Return the endpoint of the path, which must be the principal's own."""
        endpoint = await self._seen(request, principal)
        if (endpoint.owner, endpoint.service) != (principal.sub, owner_of(principal)):
            raise WrongScope("only its owner may change this; operators may read and delete it")
        return endpoint

    async def _change(
        self,
        endpoint: Endpoint,
        change: Callable[[Endpoint], Endpoint],
        *,
        is_enabling: bool = False,
    ) -> Endpoint:
        """Change an endpoint as it is stored now."""
        try:
            for _ in range(_MOST_CHANGES):
                enable = is_enabling and endpoint.disabled is not None
                done = await self._webhooks.update(endpoint, change(endpoint), enable=enable)
                if done is not None:
                    return done
                endpoint = await self._webhooks.get(endpoint.id)
        except NoSuchWebhook:
            raise not_found("webhook") from None
        raise HttpProblem(
            ProblemCode.RATE_LIMITED,
            "another request changed this endpoint: try again",
            headers={"Retry-After": "1"},
        )

    async def _unless_revoked(self, endpoint: Endpoint, principal: Principal) -> Endpoint:
        """Disable what a token has changed that was revoked since it was checked."""
        if self._services.tokens.is_revoked(principal):
            await self._webhooks.disable(endpoint.id, DisabledReason.REVOKED)
            endpoint = await self._webhooks.get(endpoint.id)
        return endpoint

    def _markets(self, principal: Principal, stated: tuple[str, ...]) -> tuple[str, ...]:
        """Return the markets of an endpoint; a token for some markets has events of these only."""
        if stated or principal.markets is None:
            return _distinct(stated)
        return tuple(filter(principal.reaches, self._services.places.markets))

    async def _check(
        self,
        principal: Principal,
        url: str | None,
        types: tuple[str, ...],
        markets: tuple[str, ...],
    ) -> None:
        """Check what is stated of an endpoint; report all errors together."""
        errors = []
        if url is not None and (why := await _url_error(self._sender.check(url))):
            errors.append(FieldError("/url", why))
        if owner_of(principal) is not None:
            errors += [
                FieldError(f"/types/{index}", "this type is for operators")
                for index, kind in enumerate(types)
                if kind in OPERATORS_ONLY
            ]
        errors += [
            FieldError(f"/markets/{index}", "no such market for this token")
            for index, market in enumerate(markets)
            if market not in self._services.places.markets or not principal.reaches(market)
        ]
        if errors:
            raise invalid_fields(*errors)


def _may_see(principal: Principal, endpoint: Endpoint) -> bool:
    """Whether the principal may know of an endpoint: not if it reaches further than the token."""
    if owner_of(principal) not in {None, endpoint.service}:
        return False
    if principal.markets is None:
        return True
    return bool(endpoint.markets) and all(map(principal.reaches, endpoint.markets))


async def _url_error(check: Awaitable[None]) -> str:
    """Return why a URL is refused; empty if it is not."""
    try:
        await check
    except BadUrl as problem:
        return str(problem)
    return ""


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values))


_BAD_CURSOR: Final = "cursor is not a next_cursor of an earlier page"


def _rank(endpoint: Endpoint) -> tuple[int, str]:
    return endpoint.created_ms, endpoint.id


def _read_cursor(text: str) -> tuple[int, str]:
    at, slash, name = text.partition("/")
    if not slash or not _is_number(at) or not is_id(name):
        raise bad_request(_BAD_CURSOR)
    return int(at), name


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def _is_place(text: str) -> bool:
    ms, dash, n = text.partition("-")
    return bool(dash) and _is_number(ms) and _is_number(n)
