"""Operators: the audit log."""

import contextlib
from typing import Any, Final

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.operator_calls import OperatorCall
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.control.paging import read_cursor, write_cursor
from mallard_engine.gateway.http.parameters import bad_request, instant_ms, is_id, whole_number
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import AuditLog
from mallard_protocol.codes import MAX_PAGE
from mallard_protocol.control import AuditEntry, AuditPage
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS

_DEFAULT_PAGE: Final = 50
# A page reads at most this many entries, including those that the filter leaves out.
_MOST_READ: Final = 2_000
_PIECE: Final = 200


class AuditApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._places = services.places
        self._log: AuditLog = services.store.audit_log

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"listAudit": self.page}

    async def page(self, request: Request, principal: Principal) -> Response:
        """Return a page of the log; a bounded operator sees the calls on its markets."""
        limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
        actor = request.query_params.get("actor")
        if actor is not None and not is_id(actor):
            raise bad_request("actor is 1-64 of A-Z a-z 0-9 _ . : -")
        market = request.query_params.get("market")
        if market is not None and market not in self._places.markets:
            raise bad_request("no such market")
        since_ms = instant_ms(request, "since", default=EARLIEST_MS)
        at_ms, name = LATEST_MS, "~"
        if cursor := request.query_params.get("cursor"):
            at, name = read_cursor(cursor)
            if not at.isdecimal():
                raise bad_request("cursor is not a next_cursor of an earlier page")
            at_ms = int(at)
        found: list[OperatorCall] = []
        read = 0
        more = True
        while more and len(found) < limit and read < _MOST_READ:
            piece = await self._log.before(at_ms, name, since_ms, _PIECE)
            more = len(piece) == _PIECE
            read += len(piece)
            for call in piece:
                at_ms, name = call.at_ms, call.id
                reached = principal.markets is None or call.market in principal.markets
                if reached and actor in {None, call.actor} and market in {None, call.market}:
                    found.append(call)
                    if len(found) == limit:
                        more = True
                        break
        cursor = write_cursor((f"{at_ms:014}", name)) if more and found else None
        return JsonResponse(AuditPage(tuple(map(_view, found)), cursor))


def _view(call: OperatorCall) -> AuditEntry:
    return AuditEntry(
        id=call.id,
        at=Moment.at_ms(call.at_ms),
        actor=call.actor,
        operation=call.operation,
        method=call.method,
        path=call.path,
        market=call.market or UNSET,
        status=call.status or UNSET,
        code=call.code or UNSET,
        body=_body(call.body),
    )


def _body(text: str) -> Any:
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(text) if text else UNSET
    return text
