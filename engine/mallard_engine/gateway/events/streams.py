"""Open event streams: stored events, then new ones as they happen, with a regular comment.

A stream ends after its job's last event, when its token expires, when the node shuts down, or when
its client does not read. Its client then resumes after the last event that it has.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.events.broadcast import Broadcast, Frame, Listener, frame_of
from mallard_engine.gateway.events.views import EventViews, Reader
from mallard_engine.metrics import Metrics
from mallard_engine.ports import EventLog
from mallard_protocol.events import HEARTBEAT_S, MAX_STREAMS

# Entries of one read. Reading stored events takes turns, so that it delays no other request much.
_PAGE: Final = 500
_READERS: Final = 2
_COMMENT: Final = b": mallard\n\n"


class TooManyStreams(Exception):
    """The token has as many streams as it may."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream is to show, and of whom.

    Attributes:
        market: Its market.
        reader: Who reads.
        after: The place after which it begins.
        token: The token's digest.
        expires_ms: When the token expires.
        principal: The token's subject and what bounds it.
        job: The only job; empty: all.
        types: The types; None: all.
        has_ended: The job has had its last event.
    """

    market: str
    reader: Reader
    after: Place
    token: int
    expires_ms: int
    principal: Principal
    job: str = ""
    types: Collection[str] | None = None
    has_ended: bool = False


class EventStreams:
    """The streams of a node.

    Args:
        log: the events of the markets.
        broadcast: hands out what happens.
        views: makes what readers see.
        metrics: counts streams and what they send.
        now_ms: the clock of tokens.
        most: streams of one token at this node.
    """

    def __init__(
        self,
        log: EventLog,
        broadcast: Broadcast,
        views: EventViews,
        metrics: Metrics,
        now_ms: Callable[[], int],
        most: int = MAX_STREAMS,
    ) -> None:
        self._log = log
        self._broadcast = broadcast
        self._views = views
        self._metrics = metrics
        self._now_ms = now_ms
        self._most = most
        self._by_token: Counter[int] = Counter()
        self._open: dict[EventStream, None] = {}
        self._reading = asyncio.Semaphore(_READERS)
        self._is_leaving = False

    def __len__(self) -> int:
        return len(self._open)

    async def newest(self, market: str) -> Place:
        """Return where a stream begins that is to show what happens from now on.

        Raises:
            StoreUnavailable: it could not be read.
        """
        return await self._broadcast.place_of(market)

    def open(self, wanted: Wanted) -> "EventStream":
        """Return a stream. The caller iterates over it, and closes it.

        Raises:
            TooManyStreams: the token has too many.
        """
        if self._by_token[wanted.token] >= self._most:
            raise TooManyStreams
        self._by_token[wanted.token] += 1
        stream = EventStream(self, wanted)
        self._open[stream] = None
        self._metrics.streams_open(len(self._open))
        if self._is_leaving:
            stream.end()
        return stream

    def end_all(self) -> None:
        """End every stream, also those that are opened later: the node shuts down."""
        self._is_leaving = True
        for stream in self._open:
            stream.end()

    def end_revoked(self, is_revoked: Callable[[Principal], bool]) -> None:
        """End the streams whose tokens are revoked."""
        for stream in self._open:
            if is_revoked(stream.wanted.principal):
                stream.end()

    async def closed(self, stream: "EventStream") -> None:
        """Forget a stream."""
        if stream not in self._open:
            return
        del self._open[stream]
        self._by_token[stream.wanted.token] -= 1
        if not self._by_token[stream.wanted.token]:
            del self._by_token[stream.wanted.token]
        self._metrics.streams_open(len(self._open))
        if stream.listener.is_slow or stream.was_slow:
            self._metrics.slow_reader_cut()
        await self._broadcast.leave(stream.wanted.market, stream.listener)

    async def frames(self, stream: "EventStream") -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent: stored events, then what happens."""
        wanted, listener = stream.wanted, stream.listener
        yield _COMMENT
        comment_s = _clock() + HEARTBEAT_S
        async for frame in self._stored(wanted, listener):
            yield frame.text
            if listener.is_over or (frame.ends and wanted.job):
                return
        if wanted.has_ended:
            return
        while True:
            left_s = min(comment_s - _clock(), (wanted.expires_ms - self._now_ms()) / 1000)
            try:
                async with asyncio.timeout(max(0, left_s)):
                    await listener.arrived.wait()
            except TimeoutError:
                if self._now_ms() >= wanted.expires_ms:
                    return
            frames = listener.take()
            text = b"".join(frame.text for frame in frames)
            if text:
                yield text
            if listener.is_over or (wanted.job and any(frame.ends for frame in frames)):
                return
            if _clock() >= comment_s:
                comment_s += HEARTBEAT_S
                yield _COMMENT

    async def _stored(self, wanted: Wanted, listener: Listener) -> AsyncIterator[Frame]:
        """Yield the stored events of a stream, then subscribe it to new ones.

        It subscribes before the last page is shown, so that events that come meanwhile wait. In a
        busy market it could wait for ever for a moment without new events.
        """
        market, place, has_joined = wanted.market, wanted.after, False
        while not (has_joined or listener.is_over):
            read_to = await self._broadcast.place_of(market)
            page = await self._page(market, place) if place < read_to else ()
            place = page[-1].place if page else place
            if not page or place >= read_to:
                listener.place = place
                has_joined = self._broadcast.join(market, listener, max(place, read_to))
            if page:
                own = [event for event in page if listener.wants(event)]
                events = await self._views.public(own, wanted.reader) if own else ()
                for event in events:
                    self._metrics.events_sent(event.type, 1)
                    yield frame_of(event)

    async def _page(self, market: str, after: Place) -> Sequence[MarketEvent]:
        async with self._reading:
            return await self._log.read(market, after, _PAGE)


class EventStream:
    """One open stream. `was_slow`: its client was cut as it did not read."""

    def __init__(self, streams: EventStreams, wanted: Wanted) -> None:
        self.wanted = wanted
        self.listener = Listener(wanted.reader, wanted.types, wanted.job)
        self.was_slow = False
        self._streams = streams

    def texts(self) -> AsyncGenerator[bytes, None]:
        """Return what is to be sent."""
        return self._streams.frames(self)

    def end(self) -> None:
        """End it after what waits."""
        self.listener.end()

    async def close(self) -> None:
        """Release what it holds."""
        await self._streams.closed(self)


def _clock() -> float:
    return asyncio.get_running_loop().time()
