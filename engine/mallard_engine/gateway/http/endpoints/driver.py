"""A driver's requests over HTTP, for an app whose socket is suspended.

The code that serves the socket serves them. A request body is the socket message without `type`,
`id` and the fields that the path names; an error is a problem with the socket's error code.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import InvalidBody, decode_json_body
from mallard_engine.gateway.auth.tokens import Principal, WrongScope
from mallard_engine.gateway.http.parameters import is_id
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.socket.handshake import welcome
from mallard_engine.gateway.socket.request_handlers import Requests
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Session
from mallard_engine.ports import Refused
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

# The operation of each socket message, and the message's form as a request body.
_REQUESTS: Final[Mapping[str, tuple[Any, Any]]] = {
    "setDriverStatus": (Status, StatusRequest),
    "acceptOffer": (Accept, AcceptRequest),
    "declineOffer": (Decline, DeclineRequest),
    "reportProgress": (Progress, ProgressRequest),
    "reportProblem": (Problem, ProblemRequest),
}
# The id matches replies to requests on a socket; over HTTP it has no use.
_NO_ID: Final = 0


class DriverApi:
    """Handlers that do what a driver's socket does."""

    def __init__(self, services: SocketServices) -> None:
        self._services = services

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "getDriverState": self.state,
            **{name: self._handler(*types) for name, types in _REQUESTS.items()},
        }

    async def state(self, _request: Request, principal: Principal) -> Response:
        """Return the driver's state, offer and jobs, as `welcome` does on a socket."""
        session = await self._session(principal)
        snapshot = await self._services.store.drivers.snapshot(session.market, session.driver)
        truth = welcome(
            self._services,
            snapshot,
            market=session.market,
            session="",
            expires_ms=principal.expires_ms,
        )
        return JsonResponse(_only(truth, DriverTruth))

    def _handler(self, message: Any, body: Any) -> Handler:
        async def handle(request: Request, principal: Principal) -> Response:
            data = await read_body(request)
            asked = _message(message, body, data, request.path_params)
            session = await self._session(principal)
            reply = await Requests(self._services, session).execute(asked)
            return JsonResponse(_only(reply, DriverReply))

        return handle

    async def _session(self, principal: Principal) -> Session:
        """Refresh the driver's lease and return a session for this one request.

        Raises:
            WrongScope: the token's market is not served here.
            NoSuchDriver: the driver has never sent a hello.
        """
        market = principal.market
        if market is None or market not in self._services.places.markets:
            raise WrongScope("the token's market is not served here")
        session = Session(market, principal.sub)
        answered = await self._services.dispatcher.drivers.alive(market, principal.sub)
        session.learn(answered.driver)
        return session


def _message(message: Any, body: Any, data: bytes, named: dict[str, str]) -> Any:
    """Build the socket message that a request stands for. No body is an empty object."""
    if not all(map(is_id, named.values())):
        raise Refused(ErrorCode.NOT_YOURS)
    try:
        decoded = decode_json_body(data or b"{}", body)
    except InvalidBody as error:
        raise HttpProblem(
            ProblemCode.BAD_FIELD,
            str(error),
            errors=[FieldError(it.pointer, it.detail) for it in error.violations],
        ) from None
    fields = {name: getattr(decoded, name) for name in decoded.__struct_fields__}
    return message(id=_NO_ID, **fields, **named)


def _only(frame: Any, body: Any) -> Any:
    """Copy the fields of a frame that the body has."""
    return body(**{name: getattr(frame, name) for name in body.__struct_fields__})
