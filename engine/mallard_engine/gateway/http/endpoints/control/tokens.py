"""Operators: revoke tokens."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.gateway.auth.tokens import Principal, WrongScope
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import StoreFull
from mallard_protocol.codes import ProblemCode, Role
from mallard_protocol.control import Revoked, RevokeRequest
from mallard_protocol.resources.problems import FieldError


class TokensApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._places = services.places
        self._revoked = services.revoked

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"revokeTokens": self.revoke}

    async def revoke(self, request: Request, principal: Principal) -> Response:
        """Revoke the tokens of a subject that were issued up to now; repeatable."""
        body = decode_json_body(await read_body(request), RevokeRequest)
        market = "" if body.market is UNSET else body.market
        if market and market not in self._places.markets:
            raise invalid_fields(FieldError("/market", "no such market"))
        if principal.markets is not None:
            if not market:
                raise WrongScope("this token may revoke tokens of its own markets only")
            principal.require_market(market)
        try:
            at_ms = await self._revoked.revoke(body.sub, Role(body.role), market)
        except StoreFull as full:
            raise HttpProblem(ProblemCode.STORE_FULL, str(full)) from None
        return JsonResponse(
            Revoked(
                sub=body.sub,
                role=body.role,
                revoked_before=Moment.at_ms(at_ms),
                market=market or UNSET,
            )
        )
