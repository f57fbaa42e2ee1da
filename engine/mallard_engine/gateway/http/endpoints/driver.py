"""A driver's requests over HTTP, for an app whose socket is suspended.

They are those of the socket, carried out by the same code: a body is a message of the socket
without `type`, `id` and what the path names, and a refusal is a problem with the socket's code.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.gateway.auth import Principal, WrongScope
from mallard_engine.gateway.http.parameters import is_id
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import DRIVERS, Method, route
from mallard_engine.gateway.socket.handshake import welcome
from mallard_engine.gateway.socket.request_handlers import Requests
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Session
from mallard_engine.ports import Refused
from mallard_protocol.bodies import InvalidBody, decode_json_body
from mallard_protocol.codes import ErrorCode, ProblemCode
from mallard_protocol.messages import Accept, Decline, Problem, Progress, Status
from mallard_protocol.resources import (
    AcceptRequest,
    DeclineRequest,
    DriverReply,
    DriverTruth,
    FieldError,
    ProblemRequest,
    ProgressRequest,
    StatusRequest,
)

# What each message of the socket is called as the body of a request.
_BODIES: Final[dict[Any, Any]] = {
    Status: StatusRequest,
    Accept: AcceptRequest,
    Decline: DeclineRequest,
    Progress: ProgressRequest,
    Problem: ProblemRequest,
}
# Nobody matches replies to requests by it here.
_NO_ID: Final = 0


class DriverApi:
    """The endpoints that stand in for a driver's socket."""

    def __init__(self, services: SocketServices) -> None:
        self._services = services
        self._tokens = services.tokens

    def routes(self) -> list[Route]:
        """The routes of this part."""
        offer = "/v1/driver/offers/{offer}"
        requests = {
            "/v1/driver/status": Status,
            f"{offer}/accept": Accept,
            f"{offer}/decline": Decline,
            "/v1/driver/jobs/{job}/progress": Progress,
            "/v1/driver/problems": Problem,
        }
        return [
            route("/v1/driver/state", self._tokens, get=Method(self.state, DRIVERS)),
            *(
                route(path, self._tokens, post=Method(self._handler(message), DRIVERS))
                for path, message in requests.items()
            ),
        ]

    async def state(self, _request: Request, principal: Principal) -> Response:
        """How things are with the driver, as `welcome` tells it."""
        session = await self._heard(principal)
        snapshot = await self._services.store.drivers.snapshot(session.market, session.driver)
        truth = welcome(
            self._services,
            snapshot,
            market=session.market,
            session="",
            expires_ms=principal.expires_ms,
        )
        return JsonResponse(_only(truth, DriverTruth))

    def _handler(self, message: Any) -> Any:
        async def handle(request: Request, principal: Principal) -> Response:
            told = _message(message, await read_body(request), request.path_params)
            session = await self._heard(principal)
            reply = await Requests(self._services, session).carry_out(told)
            return JsonResponse(_only(reply, DriverReply))

        return handle

    async def _heard(self, principal: Principal) -> Session:
        """Note the sign of life; a session for this one request.

        Raises `NoSuchDriver` for a driver who has never said hello.
        """
        market = principal.market
        if market is None or market not in self._services.places.markets:
            raise WrongScope("the token's market is not served here")
        session = Session(market, principal.sub)
        answered = await self._services.dispatcher.alive(market, principal.sub)
        session.learn(answered.driver)
        return session


def _message(message: Any, body: bytes, named: dict[str, str]) -> Any:
    """The message of the socket that a request stands for; no body is an empty one."""
    if not all(map(is_id, named.values())):
        raise Refused(ErrorCode.NOT_YOURS)
    try:
        told = decode_json_body(body or b"{}", _BODIES[message])
    except InvalidBody as error:
        raise HttpProblem(
            ProblemCode.BAD_FIELD,
            str(error),
            errors=[FieldError(it.pointer, it.detail) for it in error.violations],
        ) from None
    fields = {name: getattr(told, name) for name in told.__struct_fields__}
    return message(id=_NO_ID, **fields, **named)


def _only(frame: Any, body: Any) -> Any:
    """The frame's fields that the body has, too."""
    return body(**{name: getattr(frame, name) for name in body.__struct_fields__})
