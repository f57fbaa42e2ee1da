"""One HTTP request and its answer, and the flow control of its connection."""

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mallard_engine.gateway.http.problems import HttpProblem, problem_response
from mallard_engine.logs import RateLimitedLog
from mallard_protocol.codes import ProblemCode

_log = RateLimitedLog(structlog.get_logger(__name__))


class Flow(FlowControl):
    """Flow control that stays paused while a pipelined request waits for its turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_held = False

    def hold(self) -> None:
        """Read nothing, whoever asks for more."""
        self._is_held = True
        self.pause_reading()

    def release(self) -> None:
        """Read again."""
        self._is_held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read again, unless held."""
        if not self._is_held:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """A request and its answer."""

    async def run_asgi(self, app: Any) -> None:
        """Run the application.

        A request that is cancelled, because the node ends, is answered 503 without a traceback.
        """
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            await self._fail(ProblemCode.DRAINING)
        except Exception as error:  # noqa: BLE001 - logged, and answered 500
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
        """Drop what the request holds; the application may keep a reference to it for a while."""
        self.body = bytearray()

    def break_off(self) -> None:
        """The client is gone, or is answered otherwise."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()


def _nothing() -> None:
    pass
