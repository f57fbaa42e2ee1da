"""Records every call of an operator that may change something, before it is executed.

The routing is the only place that calls handlers, and it passes every such call through here, so no
operation can be forgotten. Without Redis the call is answered 503 and not executed. Its
outcome is recorded afterwards; if that fails, the entry stays without one, and the log has it.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from mallard_engine.contract.advice import PROBLEMS
from mallard_engine.core.operator_calls import OperatorCall
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.problems import problem_of
from mallard_engine.ports import Storage, StoreUnavailable

_log = structlog.get_logger(__name__)

# A body that is longer is not kept.
_MOST_BODY: Final = 4_096
_MOST_PATH: Final = 256


class BodyCopy:
    """Passes a request's body on and keeps a copy of a short one."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept = b""
        self._is_whole = True

    async def __call__(self) -> Message:
        """Receive the next message."""
        message = await self._receive()
        self._kept += message.get("body", b"")
        if len(self._kept) > _MOST_BODY:
            self._kept, self._is_whole = b"", False
        return message

    @property
    def text(self) -> str:
        """The body; empty if it was long."""
        return self._kept.decode(errors="replace") if self._is_whole else ""


class AuditedCalls:
    """Executes calls of operators and records them.

    Args:
        store: the storage in which calls are recorded.
    """

    def __init__(self, store: Storage) -> None:
        self._store = store

    async def carry_out(
        self,
        request: Request,
        principal: Principal,
        *,
        operation: str,
        market: str | None,
        body: BodyCopy | None,
        call: Callable[[], Awaitable[Response]],
    ) -> Response:
        """Carry out a call.

        Args:
            request: the request.
            principal: the operator.
            operation: the operation's name.
            market: the market that it names.
            body: its body, if the log keeps it.
            call: what carries it out.
        """
        now_ms = self._store.now_ms()
        noted = OperatorCall(
            id=f"call_{now_ms:014}-{secrets.token_hex(6)}",
            at_ms=now_ms,
            actor=principal.sub,
            operation=operation,
            method=request.method,
            path=request.url.path[:_MOST_PATH],
            market=market or "",
        )
        await self._store.audit_log.note(noted)
        try:
            response = await call()
        except Exception as error:
            code = problem_of(error).code
            await self._finish(noted, PROBLEMS[code].status, code.value, body)
            raise
        await self._finish(noted, response.status_code, "", body)
        return response

    async def _finish(
        self, noted: OperatorCall, status: int, code: str, body: BodyCopy | None
    ) -> None:
        done = replace(noted, status=status, code=code, body=body.text if body else "")
        _log.info(
            "operator call",
            actor=done.actor,
            operation=done.operation,
            path=done.path,
            status=status,
        )
        try:
            await self._store.audit_log.note(done)
        except StoreUnavailable:
            _log.warning("outcome of an operator's call not stored", call=done.id)
