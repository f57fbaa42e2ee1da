"""Serves the built pages on loopback, with the recorded answers of a world behind them.

There is no engine: lists are pages of the world as it is, and `/v1/events` sends what changes it.
A world that stands still (`is_still`) makes pictures that are always the same.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from mallard_engine.gateway.events.broadcast import frame_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, encode_json
from mallard_engine.gateway.pages.routes import PageRoutes
from mallard_protocol.control import AlertList, AuditPage
from mallard_protocol.events import Event
from mallard_protocol.resources import DriverList, JobList, MarketList, Problem
from tests.pages.recorded.details import audit, explanation, policy
from tests.pages.recorded.world import World

_TICK_S: Final = 0.05
# An engine takes about so long for a page of a list.
_ANSWER_S: Final = 0.02
_STREAM: Final = "text/event-stream; charset=utf-8"


class Recorded:
    """The answers of a world.

    `sent`: how many events each stream was sent.

    Args:
        world: what there is.
        kept: the events before, for the replay.
        is_still: nothing happens.
        change: what to make of the JSON of each answer.
    """

    def __init__(
        self,
        world: World,
        kept: Sequence[Event] = (),
        *,
        is_still: bool = False,
        change: Callable[[Any], Any] | None = None,
    ) -> None:
        self.world = world
        self.sent = 0
        self._kept = kept
        self._is_still = is_still
        self._change = change
        self._listeners: set[asyncio.Queue[bytes]] = set()

    def routes(self) -> list[Route]:
        """Return the routes that the console asks."""
        answers: Mapping[str, Callable[[Request], Any]] = {
            "/v1/markets": lambda _: MarketList((self.world.market,)),
            "/v1/jobs": self._jobs,
            "/v1/jobs/{id}": lambda it: self.world.jobs.get(it.path_params["id"]),
            "/v1/jobs/{id}/explain": lambda it: explanation(self.world, it.path_params["id"]),
            "/v1/markets/{market}/drivers": lambda _: DriverList(tuple(self.world.drivers())),
            "/v1/markets/{market}/drivers/{id}": lambda it: self.world.driver(it.path_params["id"]),
            "/v1/markets/{market}/policy": lambda _: policy(self.world),
            "/v1/alerts": lambda _: AlertList(tuple(self.world.alerts.values()), None),
            "/v1/audit": lambda _: AuditPage(audit(self.world), None),
        }
        return [
            *(Route(path, self._answering(answer)) for path, answer in answers.items()),
            Route("/v1/events", self._events),
        ]

    async def play(self) -> None:
        """Let the world go on, and tell it to those who listen."""
        began, start_ms = time.monotonic(), self.world.now_ms
        while True:
            await asyncio.sleep(_TICK_S)
            events = self.world.advance(start_ms + int((time.monotonic() - began) * 1000))
            if not events:
                continue
            text = b"".join(frame_of(event).text for event in events)
            self.sent += len(events)
            for listener in self._listeners:
                listener.put_nowait(text)

    def _jobs(self, request: Request) -> JobList:
        query = request.query_params
        start, limit = int(query.get("cursor", "0")), int(query["limit"])
        wanted = self.world.open_jobs()
        more = str(start + limit) if start + limit < len(wanted) else None
        return JobList(tuple(wanted[start : start + limit]), more)

    def _answering(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            await asyncio.sleep(_ANSWER_S)
            found = answer(request)
            if found is None:
                return _json(Problem("about:blank", "Not found", 404, "not_found", "-"), 404)
            return _json(self._changed(found))

        return handle

    def _changed(self, content: Any) -> Any:
        if self._change is None:
            return content
        return self._change(msgspec.json.decode(encode_json(content)))

    async def _events(self, request: Request) -> Response:
        after = request.headers.get("last-event-id")
        if after is not None and after.endswith(".1-0"):
            oldest = f"evt_{self.world.market.id}.0-0"
            trimmed = Problem("about:blank", "Gone", 410, "events_trimmed", "gone", oldest=oldest)
            return _json(trimmed, 410)
        kept = self._kept if after is not None and after.endswith(".0-0") else ()
        return StreamingResponse(self._stream(kept), media_type=_STREAM)

    async def _stream(self, kept: Sequence[Event]) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield b": mallard\n\n" + b"".join(self._frame(event) for event in kept)
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), 15)
                except TimeoutError:
                    yield b":\n\n"
        finally:
            self._listeners.discard(queue)

    def _frame(self, event: Event) -> bytes:
        if self._change is None:
            return frame_of(event).text
        return b"data: " + encode_json(self._changed(event)) + b"\n\n"

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Play while the server runs, unless the world stands still."""
        playing = None if self._is_still else asyncio.create_task(self.play())
        yield
        if playing is not None:
            playing.cancel()


@contextmanager
def serving(recorded: Recorded, others: Sequence[BaseRoute] = ()) -> Iterator[str]:
    """Serve on a free port of loopback, in a thread of its own; yield the address."""
    routes = [*PageRoutes().routes(), *recorded.routes(), *others]
    config = uvicorn.Config(
        Starlette(routes=routes, lifespan=recorded.lifespan),
        ws="websockets-sansio",
        log_level="critical",
        lifespan="on",
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.force_exit = server.should_exit = True
            thread.join(timeout=10)


def _json(content: Any, status: int = 200) -> Response:
    response = JsonResponse(content)
    response.status_code = status
    return response
