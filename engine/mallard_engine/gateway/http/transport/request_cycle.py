"""One HTTP request with its response, and the flow control of its connection."""

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mallard_engine.gateway.http.problems import HttpProblem, problem_response
from mallard_engine.gateway.http.transport.signal import Signal
from mallard_engine.logs import RateLimitedLog
from mallard_protocol.codes import ProblemCode

_log = RateLimitedLog(structlog.get_logger(__name__))


class Flow(FlowControl):
    """Flow control that stays paused while a pipelined request waits."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = Signal(is_set=True)  # type: ignore[assignment]
        self._is_held = False

    def hold(self) -> None:
        """Pause reading until `release`, whatever else asks to resume."""
        self._is_held = True
        self.pause_reading()

    def release(self) -> None:
        """Resume reading."""
        self._is_held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Resume reading unless it is held."""
        if not self._is_held:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """A request and its response."""

    async def run_asgi(self, app: Any) -> None:
        """Run the application.

        A request that is cancelled because the node shuts down is answered with 503, without a
        traceback.
        """
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            await self._fail(ProblemCode.DRAINING)
        except Exception as error:  # noqa: BLE001 - it is logged and answered with 500
            _log.error("request failed", error=type(error).__name__, example={"exc_info": error})
            await self._fail(ProblemCode.INTERNAL)
        else:
            if not self.response_complete and not self.disconnected:
                _log.error("the application returned without a complete answer")
                await self._fail(ProblemCode.INTERNAL)
        finally:
            self.on_response = _nothing

    async def _fail(self, code: ProblemCode) -> None:
        if self.response_started:
            self.transport.close()
            return
        response = problem_response(HttpProblem(code))
        self.keep_alive = False
        await self.send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        await self.send(
            {"type": "http.response.body", "body": bytes(response.body), "more_body": False}
        )

    def forget(self) -> None:
        """Drop the body: the application may keep a reference to the request for a while."""
        self.body = bytearray()

    def abort(self) -> None:
        """Tell the application that the client is gone or gets another answer."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()


def _nothing() -> None:
    pass
