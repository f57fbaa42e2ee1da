"""One reader of the streams, and its followers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import cast

import pytest

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.events import tail as tail_module
from mallard_engine.gateway.events.broadcast import Broadcast
from mallard_engine.gateway.events.streams import EventStream, EventStreams, Wanted
from mallard_engine.gateway.events.tail import START, Tail
from mallard_engine.gateway.events.views import EventViews, Reader
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, EventLog, MovedJob, Storage, StoreUnavailable
from mallard_protocol.codes import Role
from tests.support import GUARD_S, eventually

MARKET = "phoenix"


class Log(EventLog):
    """A log in memory. `down`: Redis is unavailable."""

    def __init__(self) -> None:
        self.events: list[MarketEvent] = []
        self.grown = asyncio.Event()
        self.down = False
        self.fault: Exception | None = None
        self.tails = 0
        self.pages = 0

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            place = Place(len(self.events) + 1, 0)
            self.events.append(MarketEvent(MARKET, place, place.ms, "job"))
        self.grown.set()

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        self._check()
        return (self.events[0].place, self.events[-1].place) if self.events else None

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        self._check()
        self.pages += 1
        await asyncio.sleep(0)
        return [it for it in self.events if it.place > after][:limit]

    async def has(self, market: str, event: str) -> bool:
        return any(str(it.place) == event for it in self.events)

    async def tail(self, after: Mapping[str, Place], block_ms: int) -> Sequence[MarketEvent]:
        self._check()
        self.tails += 1
        if self.fault:
            raise self.fault
        self.grown.clear()
        found = [it for it in self.events if it.place > after[MARKET]]
        if not found:
            try:
                async with asyncio.timeout(0.01):
                    await self.grown.wait()
            except TimeoutError:
                return []
        return [it for it in self.events if it.place > after[MARKET]]

    def left(self, market: str) -> None:
        pass

    async def publish_move(self, market: str, fix: DriverFix, stops: Sequence[MovedJob]) -> None:
        raise NotImplementedError

    async def heading(self, market: str, driver: str) -> float | None:
        raise NotImplementedError

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("down")


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def tail(log: Log) -> AsyncIterator[Tail]:
    async def no_wait(_: float) -> None:
        await asyncio.sleep(0.001)

    tail = Tail(log, no_wait)
    tail.start()
    yield tail
    await tail.stop()


async def collect(tail: Tail, after: Place, count: int) -> list[int]:
    """Follow until so many events have come."""
    seen: list[int] = []
    async with asyncio.timeout(GUARD_S), aclosing(tail.follow(MARKET, after)) as pages:
        async for page in pages:
            seen += [event.place.ms for event in page]
            if len(seen) >= count:
                break
    return seen


async def test_follower_gets_stored_then_new_events_without_gap(tail: Tail, log: Log) -> None:
    log.write(1_200)
    following = asyncio.create_task(collect(tail, START, 1_500))
    for _ in range(300):
        await asyncio.sleep(0.0005)
        log.write()
    assert await following == list(range(1, 1_501))


async def test_followers_share_one_reader(tail: Tail, log: Log) -> None:
    following = [asyncio.create_task(collect(tail, START, 20)) for _ in range(50)]
    await asyncio.sleep(0.05)
    pages = log.pages
    for _ in range(20):
        log.write()
        await asyncio.sleep(0.001)
    assert await asyncio.gather(*following) == [list(range(1, 21))] * 50
    assert log.pages == pages  # none has read Redis itself


async def test_no_event_is_lost_by_an_unexpected_error(tail: Tail, log: Log) -> None:
    following = asyncio.create_task(collect(tail, START, 3))
    log.write()
    await eventually(lambda: log.tails)
    tails, log.fault = log.tails, RuntimeError("a reply that nobody expected")
    await eventually(lambda: log.tails > tails)
    log.write(2)
    log.fault = None
    assert await following == [1, 2, 3]


class BusyLog(Log):
    """A log to which something is written whenever it is read."""

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        ends = await super().ends(market)
        self.write()
        return ends

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        page = await super().read(market, after, limit)
        self.write()
        return page


async def test_follower_joins_though_there_is_always_more() -> None:
    """Else it would read all alone, for ever, and so would each of hundreds."""
    log = BusyLog()
    log.write()
    tail = Tail(log)
    tail.start()
    following = asyncio.create_task(collect(tail, START, 100))
    while not following.done():
        await asyncio.sleep(0.001)
        log.write()
    assert await following == list(range(1, len(following.result()) + 1))
    assert log.pages <= 5
    await tail.stop()


async def test_stream_joins_though_there_is_always_more() -> None:
    log = BusyLog()
    log.write()
    tail = Tail(log)
    tail.start()
    metrics = Metrics()
    views = EventViews(cast("Storage", None))
    broadcast = Broadcast(tail, views, metrics, lambda: 0)
    streams = EventStreams(log, broadcast, views, metrics, lambda: 0, most=100)
    another = Principal("other", Role.ORDERS, None, expires_ms=2**50)
    wanted = Wanted(
        market=MARKET,
        reader=Reader("other"),
        after=Place(1, 0),
        token=1,
        expires_ms=2**50,
        principal=another,
    )

    async def waits(stream: EventStream) -> None:
        async with aclosing(stream.texts()) as texts:
            async for _ in texts:
                pass

    opened = [streams.open(wanted) for _ in range(20)]
    waiting = [asyncio.create_task(waits(it)) for it in opened]
    for _ in range(200):
        await asyncio.sleep(0.001)
        log.write()
    assert log.pages <= 10 * len(opened)
    for stream in opened:
        stream.end()
        await stream.close()
    await asyncio.gather(*waiting)
    await tail.stop()


async def test_follower_that_falls_behind_reads_the_store(
    tail: Tail, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "_MOST_WAITING", 10)
    seen: list[int] = []
    async with asyncio.timeout(GUARD_S), aclosing(tail.follow(MARKET, START)) as pages:
        async for page in pages if log.events else _begun(pages, log):
            seen += [event.place.ms for event in page]
            if len(seen) == 1:
                log.write(50)
                await asyncio.sleep(0.05)
            if len(seen) >= 51:
                break
    assert seen == list(range(1, 52))


async def _begun(
    pages: AsyncIterator[Sequence[MarketEvent]], log: Log
) -> AsyncIterator[Sequence[MarketEvent]]:
    asyncio.get_running_loop().call_later(0.02, log.write)
    async for page in pages:
        yield page


async def test_outage_of_the_store_loses_no_event(tail: Tail, log: Log) -> None:
    following = asyncio.create_task(collect(tail, START, 30))
    for number in range(30):
        log.down = number % 3 == 0
        log.write()
        await asyncio.sleep(0.005)
    log.down = False
    assert await following == list(range(1, 31))


async def test_reader_rests_without_followers(tail: Tail, log: Log) -> None:
    log.write()
    await collect(tail, START, 1)
    await asyncio.sleep(0.05)
    before = log.tails
    await asyncio.sleep(0.05)
    assert log.tails == before


async def test_place_beyond_the_end_of_a_shorter_stream_follows_on(tail: Tail, log: Log) -> None:
    log.write(2)  # Redis has lost what came after
    following = asyncio.create_task(collect(tail, Place(2, 7), 1))
    await asyncio.sleep(0.02)
    log.write()
    assert await following == [3]
