"""Hands the events of a market to the open streams of this node.

Each event is read and encoded once for each kind of reader that listens, however many streams that
are: they share the encoded bytes.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

import structlog

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.events.tail import Tail
from mallard_engine.gateway.events.views import EventViews, Reader
from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_engine.logs import RateLimitedLog
from mallard_engine.metrics import Metrics
from mallard_engine.ports import StoreUnavailable
from mallard_engine.tasks import cancel
from mallard_protocol.events import ENDS, Event, EventType

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)
_RETRY_S: Final = 0.2
# What waits in memory for a stream: one with more does not read fast enough.
_MOST_WAITING: Final = 1_000
_MOST_BYTES: Final = 1 << 20
_ENDS: Final = frozenset(it.value for it in ENDS)


class Frame(NamedTuple):
    """An encoded event. `ends`: the last one of its job."""

    text: bytes
    ends: bool


def encoded(event: Event) -> bytes:
    """Return an event as a server-sent event (WHATWG HTML, section 9.2)."""
    head = f"id: {event.id}\nevent: {event.type}\ndata: ".encode()
    return head + encode_json(event) + b"\n\n"


class Listener:
    """One open stream: what it wants, and what waits to be sent.

    Args:
        reader: who reads.
        types: the types that it wants; None: all.
        job: the only job that it wants; empty: all.
    """

    __slots__ = (
        "_bytes",
        "arrived",
        "is_over",
        "is_slow",
        "job",
        "place",
        "reader",
        "types",
        "waiting",
    )

    def __init__(self, reader: Reader, types: Collection[str] | None = None, job: str = "") -> None:
        self.reader = reader
        self.types = types
        self.job = job
        # The stream has every event up to here.
        self.place = Place(0, 0)
        self.waiting: deque[Frame] = deque()
        self.arrived = asyncio.Event()
        self.is_over = False
        self.is_slow = False
        self._bytes = 0

    def wants(self, event: MarketEvent) -> bool:
        """Whether the stream has this event; also False if its reader may not see it."""
        if self.job and event.job != self.job and event.type is not EventType.MARKET_REWOUND:
            return False
        if self.types is not None and event.type not in self.types:
            return False
        return self.reader.may_read(event) and not (self.job and not _is_of_jobs(event))

    def put(self, frame: Frame) -> None:
        """Queue an event. A stream with too many ends."""
        if self.is_over:
            return
        self._bytes += len(frame.text)
        if len(self.waiting) >= _MOST_WAITING or self._bytes > _MOST_BYTES:
            self.is_slow = True
            self.end()
            return
        self.waiting.append(frame)
        self.arrived.set()

    def take(self) -> list[Frame]:
        """Remove and return what waits."""
        frames = list(self.waiting)
        self.waiting.clear()
        self._bytes = 0
        self.arrived.clear()
        return frames

    def end(self) -> None:
        """End the stream after what waits."""
        self.is_over = True
        self.arrived.set()


def _is_of_jobs(event: MarketEvent) -> bool:
    kind = event.type or ""
    return kind.startswith("job.") or kind == EventType.MARKET_REWOUND


class _Market:
    """The streams of a market, by what they want.

    `place`: up to where events are handed out, or are about to be.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.task: asyncio.Task[None] | None = None
        self._all: defaultdict[Reader, set[Listener]] = defaultdict(set)
        self._of_job: defaultdict[str, set[Listener]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._all or self._of_job)

    def add(self, listener: Listener) -> None:
        if listener.job:
            self._of_job[listener.job].add(listener)
        else:
            self._all[listener.reader].add(listener)

    def discard(self, listener: Listener) -> None:
        _discard(self._all, listener.reader, listener)
        _discard(self._of_job, listener.job, listener)

    def listeners(self) -> Iterator[Listener]:
        """Yield all streams."""
        for group in (*self._all.values(), *self._of_job.values()):
            yield from group

    def listeners_of(self, event: MarketEvent) -> Iterator[Listener]:
        """Yield the streams that want an event."""
        if event.type is None:
            return
        if event.type is EventType.MARKET_REWOUND:
            groups = [*self._all.values(), *self._of_job.values()]
        else:
            readers = (Reader(event.service), Reader(None))
            groups = [self._all.get(reader, set()) for reader in readers]
            groups.append(self._of_job.get(event.job, set()))
        for group in groups:
            for listener in group:
                if event.is_after(listener.place) and listener.wants(event):
                    yield listener


_Key = TypeVar("_Key")


def _discard(index: dict[_Key, set[Listener]], key: _Key, listener: Listener) -> None:
    listeners = index.get(key, set())
    listeners.discard(listener)
    if not listeners:
        index.pop(key, None)


class Broadcast:
    """The open streams of a node, by market.

    Args:
        tail: the reader of the markets' streams.
        views: makes what readers see.
        metrics: counts what is sent.
        now_ms: Redis's clock.
        sleep: waits before the next attempt while Redis is unavailable.
    """

    def __init__(
        self,
        tail: Tail,
        views: EventViews,
        metrics: Metrics,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tail = tail
        self._views = views
        self._metrics = metrics
        self._now_ms = now_ms
        self._sleep = sleep
        self._markets: dict[str, _Market] = {}

    async def place_of(self, market: str) -> Place:
        """Return up to where events are handed out: without streams, the newest event's place.

        Raises:
            StoreUnavailable: it could not be read.
        """
        here = self._markets.get(market)
        return await self._tail.newest(market) if here is None else here.place

    def join(self, market: str, listener: Listener, read_to: Place) -> bool:
        """Hand out to a stream what comes after its place.

        Args:
            market: the market.
            listener: the stream.
            read_to: up to where it has everything.

        Returns:
            False, and no effect, if later events have been handed out already.
        """
        here = self._markets.get(market)
        if here is None:
            here = self._markets[market] = _Market(read_to)
            here.task = asyncio.create_task(self._hand_out_all(market, here), name="broadcast")
        elif here.place > read_to:
            return False
        here.add(listener)
        return True

    async def leave(self, market: str, listener: Listener) -> None:
        """Hand out nothing more to a stream."""
        here = self._markets.get(market)
        if here is None:
            return
        here.discard(listener)
        if not here:
            del self._markets[market]
            await cancel(here.task)

    async def _hand_out_all(self, market: str, here: _Market) -> None:
        try:
            await self._follow(market, here)
        except Exception as error:  # noqa: BLE001 - no stream may be silent from now on
            _often.error("events not handed out", example={"exc_info": error})
            # Their clients connect again, and continue after the last event that they have.
            del self._markets[market]
            for listener in here.listeners():
                listener.end()

    async def _follow(self, market: str, here: _Market) -> None:
        async with aclosing(self._tail.follow(market, here.place)) as pages:
            async for events in pages:
                # From now on a new stream reads these events itself.
                here.place = events[-1].place
                wanted = [it for it in events if next(here.listeners_of(it), None) is not None]
                if wanted:
                    await self._hand_out(here, wanted)

    async def _hand_out(self, here: _Market, events: Sequence[MarketEvent]) -> None:
        frames = await self._frames(here, events)
        for event in events:
            sent = 0
            for listener in list(here.listeners_of(event)):
                frame = frames.get((listener.reader, event.id))
                if frame is not None:
                    listener.put(frame)
                    sent += 1
            if sent:
                self._metrics.events_sent(event.type or "", sent)
                self._metrics.event_lag(max(0, self._now_ms() - event.at_ms) / 1000)

    async def _frames(
        self, here: _Market, events: Sequence[MarketEvent]
    ) -> dict[tuple[Reader, str], Frame]:
        by_reader: defaultdict[Reader, list[MarketEvent]] = defaultdict(list)
        for event in events:
            for reader in {listener.reader for listener in here.listeners_of(event)}:
                by_reader[reader].append(event)
        while True:
            try:
                loaded = await self._views.load(events)
                shown = await asyncio.gather(
                    *(self._views.shown(own, loaded, it) for it, own in by_reader.items())
                )
            except StoreUnavailable as problem:
                _often.warning("events wait for Redis", reason=str(problem))
                await self._sleep(_RETRY_S)
            else:
                return {
                    (reader, event.id): frame_of(event)
                    for reader, own in zip(by_reader, shown, strict=True)
                    for event in own
                }


def frame_of(event: Event) -> Frame:
    """Return an event encoded."""
    return Frame(encoded(event), event.type in _ENDS)
