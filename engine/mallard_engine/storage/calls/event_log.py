"""The port `EventLog` on Redis."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from mallard_engine.core.market_events import MarketEvent
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import EventLog
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.client.client import Link
from mallard_protocol.events import Place

_EVENTS_A_READ: Final = 500
_log = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)


class RedisEventLog(EventLog):
    """The event streams on Redis.

    ``tail`` is a connection of its own: a blocking read must not delay other calls.
    """

    def __init__(self, runner: ScriptRunner, tail: Link) -> None:
        self._runner = runner
        self._tail = tail

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        call, key = self._runner.link.call, self._runner.keys[market].key("events")
        first = await call("XRANGE", key, "-", "+", "COUNT", 1)
        last = await call("XREVRANGE", key, "+", "-", "COUNT", 1)
        return (_place(first[0][0]), _place(last[0][0])) if first and last else None

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        key = self._runner.keys[market].key("events")
        entries = await self._runner.link.call("XRANGE", key, f"({after}", "+", "COUNT", limit)
        return [read_event(market, *entry) for entry in entries]

    async def tail(self, after: Mapping[str, Place], block_ms: int) -> Sequence[MarketEvent]:
        markets = {self._runner.keys[market].key("events").encode(): market for market in after}
        reply = await self._tail.call(
            "XREAD", "COUNT", _EVENTS_A_READ, "BLOCK", block_ms, "STREAMS", *markets,
            *map(str, after.values()),
        )  # fmt: skip
        return [
            read_event(markets[stream], *entry)
            for stream, entries in reply or ()
            for entry in entries
        ]


def read_event(market: str, place: bytes, entry: Sequence[bytes]) -> MarketEvent:
    """Read one entry. One that cannot be read is of no kind, so that its readers go on."""
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
    except (KeyError, ValueError, TypeError, IndexError) as error:  # msgspec's are ValueErrors
        _log.error("event cannot be read", market=market, place=str(place), error=repr(error))
        return MarketEvent(market, _place(place), _place(place).ms, "")


def _place(stream_id: bytes) -> Place:
    ms, _, n = stream_id.partition(b"-")
    return Place(int(ms), int(n))
