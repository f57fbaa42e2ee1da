"""Queues the events of a market for the endpoints that want them.

The market's position moves in the step that queues, fenced by its former value: whichever nodes
work on a market, each event is queued once. That step also fails if an endpoint has changed since
this node read the endpoints, so a new one misses nothing.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import structlog

from mallard_engine.contract.webhooks import BACKLOG_PATIENCE_S
from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.webhooks.endpoints import Endpoint
from mallard_engine.gateway.events.tail import START, Tail
from mallard_engine.gateway.events.views import Reader
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import Endpoints, EventLog, NoSuchWebhook, StoreUnavailable, Webhooks
from mallard_engine.tasks import cancel
from mallard_protocol.events import EventType

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)
_RETRY_S: Final = 0.2
# Events of this period are queued in one step.
_GATHER_S: Final = 0.02
# A replay pauses while this many deliveries of its endpoint wait.
_REPLAY_UNTIL: Final = 1_000
_REPLAY_PAGE: Final = 200
# How many pages in a row are queued for an endpoint that is behind.
_STEPS_BEHIND: Final = 10


class _Moved(Exception):
    """Another node has queued events of the market."""


class KnownEndpoints:
    """The endpoints as this node knows them."""

    def __init__(self, store: Webhooks) -> None:
        self._store = store
        self.known = Endpoints(-1, {})

    async def refresh(self, version: int | None = None) -> None:
        """Read them, unless they are at this version already.

        Raises:
            StoreUnavailable: they could not be read.
        """
        if version is None or version != self.known.version:
            self.known = await self._store.all()

    def of(self, market: str) -> list[Endpoint]:
        """Return those that get events of a market now."""
        return [
            it for it in self.known.by_id.values() if it.disabled is None and it.reaches(market)
        ]


class FanOut:
    """Queues the events of the markets that this node has leased.

    Args:
        store: the storage of the queues.
        log: the events.
        tail: the reader of the events.
        endpoints: the endpoints that this node knows.
        on_queued: called when deliveries have been queued.
        now_ms: Redis's clock.
    """

    def __init__(
        self,
        store: Webhooks,
        log: EventLog,
        tail: Tail,
        endpoints: KnownEndpoints,
        on_queued: Callable[[], None],
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._log = log
        self._tail = tail
        self._endpoints = endpoints
        self._on_queued = on_queued
        self._now_ms = now_ms
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def work_on(self, markets: Iterable[str]) -> None:
        """Follow these markets and no others; one without endpoints is not read."""
        wanted = {market for market in markets if self._endpoints.of(market)}
        for market in self._tasks.keys() - wanted:
            await self._end(market)
        for market in wanted - self._tasks.keys():
            self._tasks[market] = asyncio.create_task(self._follow(market), name="webhook fan-out")

    async def stop(self) -> None:
        """Follow nothing more."""
        for market in list(self._tasks):
            await self._end(market)

    async def _end(self, market: str) -> None:
        await cancel(self._tasks.pop(market))

    async def _follow(self, market: str) -> None:
        while True:
            try:
                await self._follow_from(market, await self._store.position(market))
            except StoreUnavailable as problem:
                _often.warning("webhooks wait for Redis", reason=str(problem))
                await self._sleep(_RETRY_S)
            except _Moved:
                await self._sleep(_RETRY_S)
            except Exception as error:  # noqa: BLE001 - the market's next events must be queued
                _often.error("webhook fan-out failed", example={"exc_info": error})
                await self._sleep(_RETRY_S)

    async def _follow_from(self, market: str, position: Place | None) -> None:
        # No endpoint needs events from before the oldest endpoint.
        since = min((it.since_ms for it in self._endpoints.of(market)), default=0)
        start = max(position or Place(0, 0), Place(since, 0))
        async with aclosing(self._tail.follow(market, start)) as pages:
            async for events in pages:
                await self._queue(market, position, events)
                position = events[-1].place
                await self._sleep(_GATHER_S)

    async def _queue(
        self, market: str, position: Place | None, events: Sequence[MarketEvent]
    ) -> None:
        while True:
            known = self._endpoints.known
            chosen, wanted = wanted_of(events, self._endpoints.of(market))
            verdict = await self._store.queue(
                market, (position, events[-1].place), chosen, wanted, known.version
            )
            if verdict == "moved":
                raise _Moved
            if verdict == "ok":
                break
            await self._endpoints.refresh()
        if wanted:
            self._on_queued()

    async def read_stored(self, endpoints: Iterable[str]) -> None:
        """Move the replays of these endpoints on by one step, and those that are behind by some.

        Raises:
            StoreUnavailable: the outcome is unknown.
        """
        own = frozenset(endpoints)
        known = self._endpoints.known.by_id
        for endpoint, market, after, to in await self._store.replays():
            if endpoint not in own or endpoint not in known:
                continue
            with contextlib.suppress(NoSuchWebhook):
                it = await self._store.get(endpoint)
                if it.waiting < _REPLAY_UNTIL:
                    await self._replay(it, market, after, to)
        for endpoint, market, after in await self._store.behind():
            if endpoint in own:
                with contextlib.suppress(NoSuchWebhook):
                    await self._catch_up(endpoint, market, after)

    async def _replay(self, endpoint: Endpoint, market: str, after: Place, to: Place) -> None:
        read = await self._log.read(market, after, _REPLAY_PAGE)
        page = [event for event in read if event.place <= to]
        is_over = len(page) < _REPLAY_PAGE
        at = to if is_over else page[-1].place
        wanted = [event for event in page if gets(endpoint, event)]
        if await self._store.replay(endpoint.id, market, (after, at), to, wanted) and wanted:
            self._on_queued()

    async def _catch_up(self, name: str, market: str, after: Place) -> None:
        """Queue what an endpoint that is behind has not had yet, while few deliveries wait.

        What it has not had is kept only in the stream, so its backlog has no limit. Events that
        have left the stream are lost to it, and the endpoint's record says so. An endpoint without
        successes is not waited for: it is disabled when too many deliveries wait.
        """
        for _ in range(_STEPS_BEHIND):
            endpoint = await self._store.get(name)
            ends = await self._log.ends(market)
            if endpoint.waiting >= _REPLAY_UNTIL and endpoint.succeeds(
                self._now_ms(), BACKLOG_PATIENCE_S * 1000
            ):
                return
            missed_ms = ends[0].ms if ends is not None and START < after < ends[0] else 0
            to = await self._store.position(market) or after
            read = await self._log.read(market, after, _REPLAY_PAGE)
            page = [event for event in read if event.place <= to]
            at = page[-1].place if len(page) == _REPLAY_PAGE else to
            wanted = [
                event
                for event in page
                if gets(endpoint, event) and endpoint.since_ms <= event.place.ms
            ]
            is_behind = await self._store.catch_up(name, market, (after, at), wanted, missed_ms)
            if missed_ms:
                _often.warning("webhook has missed events that are no longer kept", endpoint=name)
            if wanted:
                self._on_queued()
            if not is_behind:
                return
            after = at


def gets(endpoint: Endpoint, event: MarketEvent) -> bool:
    """Whether an endpoint wants an event and its owner may read it."""
    return endpoint.wants(event) and Reader(endpoint.service).may_read(event)


def wanted_of(
    events: Sequence[MarketEvent], endpoints: Sequence[Endpoint]
) -> tuple[Sequence[MarketEvent], Mapping[str, Sequence[int]]]:
    """Return the events that any endpoint gets, and by endpoint the indexes of its own."""
    chosen: list[MarketEvent] = []
    wanted: defaultdict[str, list[int]] = defaultdict(list)
    by_service = _by_service(endpoints)
    for event in events:
        at_ms = (event.passing or event.place).ms
        asked = endpoints
        if event.type is not EventType.MARKET_REWOUND:
            asked = [*by_service[event.service], *by_service[None]]
        getting = [it for it in asked if it.since_ms <= at_ms and gets(it, event)]
        for endpoint in getting:
            wanted[endpoint.id].append(len(chosen))
        if getting:
            chosen.append(event)
    return chosen, wanted


def _by_service(endpoints: Iterable[Endpoint]) -> defaultdict[str | None, list[Endpoint]]:
    """Return endpoints by whose events they get: hundreds of others need not be asked for each."""
    found: defaultdict[str | None, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        found[endpoint.service].append(endpoint)
    return found
