"""The port `EventLog` on Redis."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import DriverFix, EventLog, MovedJob, StoreFull
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.client.streams import StreamReader
from mallard_engine.storage.records.packing import pack

_EVENTS_A_READ: Final = 500
_MOVES_KEPT: Final = 1_000
# Twice the time between two position events, and a margin.
_HEADING_KEPT_S: Final = 40
_log = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)


class RedisEventLog(EventLog):
    """The event streams on Redis.

    ``tail`` is a connection of its own: a blocking read must not delay other calls.
    """

    def __init__(self, runner: ScriptRunner, tail: StoreLink) -> None:
        self._runner = runner
        self.reader = StreamReader(tail, _EVENTS_A_READ)
        # By market: up to which position event the stream was read.
        self._moves: dict[str, str] = {}
        # Markets that nobody has followed since: what was read of their moves does not count.
        self._left: set[str] = set()

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        call, key = self._runner.link.call, self._runner.keys[market].key("events")
        first = await call("XRANGE", key, "-", "+", "COUNT", 1)
        last = await call("XREVRANGE", key, "+", "-", "COUNT", 1)
        return (_place(first[0][0]), _place(last[0][0])) if first and last else None

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        key = self._runner.keys[market].key("events")
        entries = await self._runner.link.call("XRANGE", key, f"({after}", "+", "COUNT", limit)
        return [read_event(market, *entry) for entry in entries]

    async def has(self, market: str, event: str) -> bool:
        key = self._runner.keys[market].key("events")
        return bool(await self._runner.link.call("XRANGE", key, event, event))

    async def tail(self, after: Mapping[str, Place], block_ms: int) -> Sequence[MarketEvent]:
        while self._left:
            self._moves.pop(self._left.pop(), None)
        for market in after:
            if market not in self._moves:
                self._moves[market] = await self._newest_move(market)
        streams: dict[bytes, tuple[str, str]] = {}
        for market in after:
            streams[self._key(market, "moves")] = market, self._moves[market]
            streams[self._key(market, "events")] = market, str(after[market])
        read_from = {stream: cursor for stream, (_, cursor) in streams.items()}
        by_market: defaultdict[str, list[MarketEvent]] = defaultdict(list)
        for stream, entries in await self.reader.read(read_from, block_ms):
            market = streams[stream][0]
            if stream.endswith(b":events"):
                by_market[market] += [read_event(market, *entry) for entry in entries]
                continue
            self._moves[market] = entries[-1][0].decode()
            # Before the new events, so that the last event has the latest position in the stream.
            moves = [replace(read_event(market, *it), place=after[market], passing=_place(it[0]))
                     for it in entries]  # fmt: skip
            by_market[market][:0] = moves
        return [event for events in by_market.values() for event in events]

    def left(self, market: str) -> None:
        # Not at once: a `tail` that is under way notes what it reads.
        self._left.add(market)

    async def publish_move(self, market: str, fix: DriverFix, stops: Sequence[MovedJob]) -> None:
        key, now_ms = self._key(market, "moves"), self._runner.now_ms()
        place = {"lat": fix.lat, "lon": fix.lon, "heading_deg": fix.heading_deg}
        common = {"kind": "moved", "driver": fix.driver, "at": now_ms, "occurred_ms": fix.at_ms}
        entries = [
            pack(common | place | {"job": it.job, "service": it.service, "etas": it.etas_ms})
            for it in stops
        ]
        call = self._runner.link.call
        # A full server stores neither: maps then show an older place.
        with contextlib.suppress(StoreFull):
            await asyncio.gather(
                *(call("XADD", key, "MAXLEN", "~", _MOVES_KEPT, "*", "e", it) for it in entries),
                self._note_heading(market, fix),
            )

    async def heading(self, market: str, driver: str) -> float | None:
        key = self._runner.keys[market].heading(driver)
        heading = await self._runner.link.call("GET", key)
        return None if heading is None else float(heading)

    async def _note_heading(self, market: str, fix: DriverFix) -> None:
        if fix.heading_deg is not None:
            key = self._runner.keys[market].heading(fix.driver)
            await self._runner.link.call("SET", key, fix.heading_deg, "EX", _HEADING_KEPT_S)

    def _key(self, market: str, name: str) -> bytes:
        return self._runner.keys[market].key(name).encode()

    async def _newest_move(self, market: str) -> str:
        entries = await self._runner.link.call(
            "XREVRANGE", self._key(market, "moves"), "+", "-", "COUNT", 1
        )
        return entries[0][0].decode() if entries else "0-0"


def read_event(market: str, place: bytes, entry: Sequence[bytes]) -> MarketEvent:
    """Read one entry. One that cannot be read has no kind, so that its readers continue."""
    try:
        fields: dict[str, Any] = msgspec.msgpack.decode(entry[1], type=dict[str, Any])
        return MarketEvent(
            market=market,
            place=_place(place),
            at_ms=int(fields["at"]),
            kind=str(fields["kind"]),
            what=str(fields.get("what") or ""),
            job=str(fields.get("job") or ""),
            service=str(fields.get("service") or ""),
            driver=str(fields.get("driver") or ""),
            fields=fields,
        )
    except (
        KeyError,
        ValueError,
        TypeError,
        IndexError,
    ) as error:  # msgspec's errors are ValueErrors
        _log.error("event cannot be read", market=market, place=str(place), error=repr(error))
        return MarketEvent(market, _place(place), _place(place).ms, "")


def _place(stream_id: bytes) -> Place:
    ms, _, n = stream_id.partition(b"-")
    return Place(int(ms), int(n))
