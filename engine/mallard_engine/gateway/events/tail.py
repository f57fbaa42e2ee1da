"""Reads the event streams of markets once for all their followers on this node.

A follower names the place after which it continues. It first reads what is stored after that place,
then gets what the one reader of the node reads, without a gap. A follower that falls behind reads
again from Redis, so that it costs no memory and delays no other.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import groupby
from typing import Final

import structlog

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import EventLog, StoreUnavailable
from mallard_engine.tasks import cancel, without_end

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

# Upper bound of the delay until a newly followed market is read.
_BLOCK_MS: Final = 200
_RETRY_S: Final = 0.2
_PAGE: Final = 500
# Events that wait in memory for a follower. One with more reads them from Redis again.
_MOST_WAITING: Final = 5_000
START: Final = Place(0, 0)


class _Follower:
    """The events that the reader has for one follower."""

    __slots__ = ("arrived", "has_lapsed", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[MarketEvent] = deque()
        self.arrived = asyncio.Event()
        self.has_lapsed = False

    def put(self, events: Sequence[MarketEvent]) -> None:
        if len(self.waiting) + len(events) > _MOST_WAITING:
            self.has_lapsed = True
            self.waiting.clear()
        if not self.has_lapsed:
            self.waiting.extend(events)
        self.arrived.set()

    async def take(self) -> list[MarketEvent]:
        await self.arrived.wait()
        self.arrived.clear()
        events = list(self.waiting)
        self.waiting.clear()
        return events


class Tail:
    """The one reader of a node.

    Args:
        log: The events of the markets.
        sleep: Waits before the next attempt while Redis is unavailable.
    """

    def __init__(
        self, log: EventLog, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._log = log
        self._sleep = sleep
        # By market: up to where it was read.
        self._places: dict[str, Place] = {}
        self._followers: dict[str, set[_Follower]] = {}
        self._has_markets = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reading the markets that have followers."""
        self._task = asyncio.create_task(without_end(self._read, "event tail"), name="event tail")

    async def stop(self) -> None:
        """Stop reading."""
        await cancel(self._task)
        self._task = None

    async def newest(self, market: str) -> Place:
        """Return the place of the market's newest event.

        Raises:
            StoreUnavailable: it could not be read.
        """
        ends = await self._log.ends(market)
        return ends[1] if ends else START

    async def follow(
        self, market: str, after: Place
    ) -> AsyncGenerator[Sequence[MarketEvent], None]:
        """Yield the market's events after a place, in order and without gaps, as they are written.

        It waits while Redis is unavailable, and never ends by itself. An event that was trimmed
        before it was read is left out: the caller compares its place with `EventLog.ends`.
        """
        place, follower = after, None
        try:
            while True:
                try:
                    if follower is None:
                        read_to = await self._place_of(market)
                        page = () if place >= read_to else await self._page(market, place)
                        ends = page[-1].place if page else max(place, read_to)
                        here = self._places.get(market)
                        # No event came meanwhile that the page lacks. Events that come from now on
                        # wait: a moment without events might never come.
                        if here is not None and read_to <= ends >= here:
                            follower = self._join(market)
                    else:
                        page = [it for it in await follower.take() if it.is_after(place)]
                        if follower.has_lapsed:
                            self._leave(market, follower)
                            follower = None
                except StoreUnavailable as problem:
                    _often.warning("events wait for Redis", reason=str(problem))
                    await self._sleep(_RETRY_S)
                    continue
                if page:
                    place = page[-1].place
                    yield page
        finally:
            if follower is not None:
                self._leave(market, follower)

    async def _page(self, market: str, after: Place) -> Sequence[MarketEvent]:
        return await self._log.read(market, after, _PAGE)

    async def _place_of(self, market: str) -> Place:
        """Return up to where the market is read: its newest event if it was not followed."""
        if market not in self._followers:
            newest = await self.newest(market)
            if market not in self._followers:
                self._places[market] = newest
        return self._places[market]

    def _join(self, market: str) -> _Follower:
        follower = _Follower()
        self._followers.setdefault(market, set()).add(follower)
        self._has_markets.set()
        return follower

    def _leave(self, market: str, follower: _Follower) -> None:
        followers = self._followers[market]
        followers.discard(follower)
        if not followers:
            del self._followers[market]
            del self._places[market]
            self._log.left(market)

    async def _read(self) -> None:
        while True:
            if not self._followers:
                self._has_markets.clear()
                await self._has_markets.wait()
            places = {market: self._places[market] for market in self._followers}
            try:
                events = await self._log.tail(places, _BLOCK_MS)
            except StoreUnavailable as problem:
                # The cursors stay, so events written meanwhile are read afterwards.
                _often.warning("events wait for Redis", reason=str(problem))
                await self._sleep(_RETRY_S)
                continue
            for market, of_market in groupby(events, lambda event: event.market):
                self._hand_out(market, places[market], list(of_market))

    def _hand_out(self, market: str, after: Place, events: Sequence[MarketEvent]) -> None:
        # All followers may have left meanwhile, and new ones may begin at another event.
        if self._places.get(market) != after:
            return
        self._places[market] = events[-1].place
        for follower in self._followers.get(market, ()):
            follower.put(events)
