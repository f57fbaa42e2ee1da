"""Streams of events over HTTP (server-sent events)."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mallard_engine.contract.events import OPERATORS_ONLY
from mallard_engine.core.event_ids import Place, event_id, read_event_id
from mallard_engine.gateway.auth.tokens import Principal, bearer
from mallard_engine.gateway.events.streams import EventStream, TooManyStreams, Wanted
from mallard_engine.gateway.events.tail import START
from mallard_engine.gateway.events.views import Reader
from mallard_engine.gateway.http.endpoints.jobs.access import job_of, owner_of
from mallard_engine.gateway.http.parameters import bad_request
from mallard_engine.gateway.http.problems import NOT_CACHED, HttpProblem
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.ports import StoreUnavailable
from mallard_protocol.codes import ProblemCode
from mallard_protocol.events import MAX_STREAMS, EventType

# A job's first event is recorded when the job is; the place of an event may be off a little.
_MARGIN_MS: Final = 5_000
_RETRY_AFTER_S: Final = 5
# The transport cuts a client that takes nothing for two seconds.
_SLOW_S: Final = 1.0


class EventsApi:
    """Handlers of the streams."""

    def __init__(self, services: SocketServices) -> None:
        self._services = services
        self._store = services.store

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"streamEvents": self.of_market, "streamJobEvents": self.of_job}

    async def of_market(self, request: Request, principal: Principal) -> Response:
        """Stream the events of a market, from now on or after an event."""
        market = request.query_params.get("market")
        if market is None:
            raise bad_request("market is required")
        if market not in self._services.places.markets:
            raise bad_request("no such market")
        types = _types(request.query_params.get("types"), principal)
        after = await self._after(request, market)
        after = after or await self._services.streams.newest(market)
        return self._stream(request, principal, market, after, types=types)

    async def of_job(self, request: Request, principal: Principal) -> Response:
        """Stream the events of a job, from its first one or after an event, until it ends."""
        job = await job_of(request, principal, self._store)
        after = await self._after(request, job.market)
        first = Place(max(0, job.created_ms - _MARGIN_MS), 0)
        return self._stream(
            request,
            principal,
            job.market,
            max(after or first, first),
            job=job.id,
            has_ended=job.terminal,
        )

    def _stream(
        self,
        request: Request,
        principal: Principal,
        market: str,
        after: Place,
        *,
        job: str = "",
        types: Collection[str] | None = None,
        has_ended: bool = False,
    ) -> Response:
        if self._services.leaving.is_set():
            raise HttpProblem(ProblemCode.DRAINING)
        if request.method == "HEAD":
            return Response(media_type=_MEDIA_TYPE, headers=_HEADERS)
        token = bearer(request.headers.getlist("authorization"))
        self._services.tokens.verify(token)  # it may have been revoked since the request began
        # A client that loses the stream before its first event then misses none.
        begins = {} if job else {"Last-Event-ID": event_id(market, after)}
        wanted = Wanted(
            market=market,
            reader=Reader(owner_of(principal)),
            after=after,
            token=hash(token),
            expires_ms=principal.expires_ms,
            principal=principal,
            job=job,
            types=types,
            has_ended=has_ended,
        )
        try:
            stream = self._services.streams.open(wanted)
        except TooManyStreams:
            self._services.metrics.request_limited("streams")
            raise HttpProblem(
                ProblemCode.RATE_LIMITED,
                f"this token has {MAX_STREAMS} streams open",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            ) from None
        if slot := slot_of(request):
            slot.release()  # an open stream uses little CPU
        return EventStreamResponse(stream, begins)

    async def _after(self, request: Request, market: str) -> Place | None:
        """Return the place after which to begin; None: the request names none."""
        named = request.headers.getlist("last-event-id")
        if len(named) > 1:
            raise bad_request("Last-Event-ID is given twice")
        text = named[0] if named and named[0] else request.query_params.get("after")
        if text is None:
            return None
        try:
            of_market, place = read_event_id(text)
        except ValueError:
            raise bad_request(
                "the event to begin after does not have the form of an event id"
            ) from None
        if of_market != market or place.ms > self._store.now_ms() + _MARGIN_MS:
            raise bad_request("the event to begin after is not of this market")
        ends = await self._store.event_log.ends(market)
        # The market had no event when the stream began, so none before its first one is missing.
        if ends is not None and START < place < ends[0]:
            raise HttpProblem(
                ProblemCode.EVENTS_TRIMMED,
                "events after that one are no longer kept",
                oldest=event_id(market, ends[0]),
            )
        return place


def _types(text: str | None, principal: Principal) -> Collection[str] | None:
    """Return the wanted types; None: all."""
    if text is None:
        return None
    types = set(text.split(","))
    if unknown := types - set(EventType):
        raise bad_request(f"types: {min(unknown)[:64]!r} is not a type of event")
    if owner_of(principal) is not None and types & OPERATORS_ONLY:
        raise bad_request(f"types: {min(types & OPERATORS_ONLY)} is for operators")
    return frozenset(types)


_MEDIA_TYPE: Final = "text/event-stream"
# A proxy must not buffer the stream.
_HEADERS: Final = {"Cache-Control": NOT_CACHED, "X-Accel-Buffering": "no"}


class EventStreamResponse(Response):
    """A response that lasts as long as its stream and its client."""

    media_type = _MEDIA_TYPE

    def __init__(self, stream: EventStream, headers: Mapping[str, str]) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        stream = self._stream
        clock = asyncio.get_running_loop().time
        watching = asyncio.create_task(_watch(receive, stream), name="stream's client")
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            # An outage ends the stream: its client connects again, perhaps to another node.
            with contextlib.suppress(StoreUnavailable):
                async with aclosing(stream.texts()) as texts:
                    async for text in texts:
                        began_s = clock()
                        await send(_body(text, more=True))
                        stream.was_slow = clock() - began_s >= _SLOW_S
                        if watching.done():
                            break
            await send(_body(b"", more=False))
        finally:
            await asyncio.sleep(0)  # a client that was cut is noticed in the next turn
            stream.was_slow &= watching.done()
            watching.cancel()
            await stream.close()


def _body(text: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": text, "more_body": more}


async def _watch(receive: Receive, stream: EventStream) -> None:
    """End the stream when its client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()
