"""The endpoint of the driver socket: admits a handshake and serves the socket to its end.

It is a bare ASGI application that uses the protocol directly (`protocol.DriverSocketProtocol`). One
task serves a socket, and it sleeps while messages need no awaiting.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from mallard_engine.contract.reading.frames import FrameReader, for_subprotocol
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.socket.admission import AdmissionDenied, Refusal, common_subprotocol
from mallard_engine.gateway.socket.connection import DriverConnection
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.transport.protocol import DriverSocketProtocol, protocol_of
from mallard_engine.logs import CountingLog
from mallard_protocol.codes import Close, ProblemCode

_log = structlog.get_logger(__name__)
# Unauthenticated clients cause these lines: hundreds per second during a drain or an attack.
_refused = CountingLog(_log, "sockets refused")
_closed = CountingLog(_log, "sockets closed")

_PROBLEMS: Final[Mapping[Refusal, Callable[[], HttpProblem]]] = {
    Refusal.QUERY: lambda: HttpProblem(
        ProblemCode.BAD_REQUEST, "no query string: a token does not belong in a URL"
    ),
    Refusal.ORIGIN: lambda: HttpProblem(
        ProblemCode.FORBIDDEN, "this Origin may not open a driver socket without a bearer token"
    ),
}


class DriverSocket:
    """The endpoint of `GET /v1/driver`."""

    def __init__(self, services: SocketServices) -> None:
        self._services = services
        self._open: set[DriverSocketProtocol] = set()

    def __len__(self) -> int:
        """Number of open sockets, including those before their hello."""
        return len(self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until it ends."""
        await receive()  # websocket.connect
        admission = self._services.admission
        protocol = protocol_of(scope)
        refusal = admission.refusal(scope)
        if refusal is not None:
            protocol.refuse(_PROBLEMS[refusal](), refusal.value)
            return
        if self._is_address_over(scope):
            protocol.refuse(HttpProblem(ProblemCode.RATE_LIMITED), "address")
            return
        # Accepted even if it is closed at once: an app sees a close code, but rarely a status.
        subprotocol = common_subprotocol(scope["subprotocols"])
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        self._open.add(protocol)
        close = 1011  # unless it ends normally
        try:
            close = await self._serve(scope, protocol, subprotocol)
        finally:
            self._open.discard(protocol)
            self._services.metrics.socket_closed(close)
            if close == Close.BAD_TOKEN:
                self._services.limiter.count_bad_token(scope)

    def _is_address_over(self, scope: Scope) -> bool:
        """Whether the handshake has no valid token and its address is over its limit."""
        try:
            if self._services.admission.admit_by_header(scope["headers"]) is not None:
                return False
        except AdmissionDenied:
            pass
        return self._services.limiter.is_address_over(scope)

    def end_all(self, code: Close) -> None:
        """Close every socket that is still open."""
        for protocol in self._open:
            protocol.end(code, code.name.lower())

    async def _serve(
        self, scope: Scope, protocol: DriverSocketProtocol, subprotocol: str | None
    ) -> int:
        """Return the code that the socket was closed with."""
        try:
            reader = self._reader(subprotocol)
            admitted = self._services.admission.admit_by_header(scope["headers"])
        except AdmissionDenied as denied:
            protocol.end(denied.code, denied.code.name.lower())
            _refused.count(denied.code.name.lower())
            return denied.code
        connection = DriverConnection(self._services, protocol, reader, admitted)
        _log.debug("socket open", session=connection.id, subprotocol=subprotocol)
        close = 1011  # unless it ends normally
        try:
            code = await protocol.read_messages(connection.handle)
            close = connection.code or code
        finally:
            await connection.close()
            _closed.count(str(close))
            _log.debug("socket closed", session=connection.id, close=close, **connection.who)
        return close

    def _reader(self, subprotocol: str | None) -> FrameReader:
        if subprotocol is None:
            raise AdmissionDenied(Close.NO_SUBPROTOCOL)
        if self._services.draining:
            raise AdmissionDenied(Close.DRAINING)
        return for_subprotocol(subprotocol)
