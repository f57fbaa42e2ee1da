"""Signing in with a one-time code."""

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.gateway.auth.sign_in import take_token
from mallard_engine.gateway.auth.tokens import BadToken
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import PublicHandler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_protocol.session import Session, SessionExchange


class SessionApi:
    """Handlers of signing in. They take no token; the code is the credential."""

    def __init__(self, services: Services) -> None:
        self._codes = services.store.sign_in_codes
        self._tokens = services.tokens

    def public_handlers(self) -> dict[str, PublicHandler]:
        """Return the handlers by the operation's name."""
        return {"exchangeSessionCode": self.exchange}

    async def exchange(self, request: Request) -> Response:
        """Return the token that a code stands for; a code that is no longer valid is 404."""
        body = decode_json_body(await read_body(request), SessionExchange)
        token = await take_token(self._codes, body.code)
        if token is None:
            raise not_found("code")
        try:
            principal = self._tokens.verify(token)
        except BadToken:
            raise not_found("code") from None  # expired or revoked meanwhile
        return JsonResponse(Session(token, Moment.at_ms(principal.expires_ms)))
