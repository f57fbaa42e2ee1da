"""The port `Webhooks` on Redis. Its keys are of no market and share a hash tag of their own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from mallard_engine.contract.webhooks import (
    BACKLOG_PATIENCE_S,
    DELIVERIES_KEPT,
    MAX_WAITING,
    MAX_WEBHOOKS,
    PACED_AT,
)
from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.webhooks.endpoints import Disabled, Endpoint, Secret
from mallard_engine.core.webhooks.retries import GIVE_UP_MS
from mallard_engine.ports import (
    Attempt,
    Endpoints,
    Leased,
    NoSuchWebhook,
    TooManyWebhooks,
    WaitingDelivery,
    Webhooks,
)
from mallard_engine.storage.calls.batcher import Batcher
from mallard_engine.storage.calls.events.event_log import read_event
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.keys import WEBHOOKS
from mallard_engine.storage.records.packing import pack

LEASE_MS: Final = 3_000
_ANNOUNCE_AGAIN_MS: Final = 10_000
_LOG_KEPT_MS: Final = 7 * 86_400_000
# Attempts that end within this time are settled in one step. With at most `_MOST_SETTLED` of them
# it occupies Redis for less than 1 ms.
_SETTLED_WITHIN_S: Final = 0.005
_MOST_SETTLED: Final = 32


class _Record(msgspec.Struct, array_like=True):
    """What is stored of an endpoint. Later versions append fields with defaults."""

    owner: str
    service: str | None
    url: str
    types: tuple[str, ...]
    markets: tuple[str, ...]
    description: str
    secrets: tuple[Secret, ...]
    created_ms: int
    updated_ms: int


_record = msgspec.msgpack.Decoder(_Record).decode
_disabled = msgspec.msgpack.Decoder(Disabled).decode
_attempt = msgspec.msgpack.Decoder(Attempt).decode


class RedisWebhooks(Webhooks):
    """Webhooks on Redis. ``lease_ms``: how long a beat keeps a node alive."""

    def __init__(self, runner: ScriptRunner, lease_ms: int = LEASE_MS) -> None:
        self._runner = runner
        self._lease_ms = lease_ms
        self._settling = Batcher(self._settle, _SETTLED_WITHIN_S, _MOST_SETTLED)

    async def create(self, endpoint: Endpoint) -> Endpoint:
        (verdict,) = await self._put(b"", endpoint, enable=True)
        if verdict != b"ok":
            raise TooManyWebhooks(endpoint.owner)
        return await self.get(endpoint.id)

    async def update(
        self, was: Endpoint, endpoint: Endpoint, *, enable: bool = False
    ) -> Endpoint | None:
        (verdict,) = await self._put(_packed(was), endpoint, enable=enable)
        if verdict == b"gone":
            raise NoSuchWebhook(endpoint.id)
        return await self.get(endpoint.id) if verdict == b"ok" else None

    async def _put(self, was: bytes, endpoint: Endpoint, *, enable: bool) -> Sequence[bytes]:
        args = {
            "id": endpoint.id,
            "owner": _owner(endpoint),
            "most": MAX_WEBHOOKS,
            "enable": enable,
            "granted": endpoint.granted_ms,
        }
        reply: Sequence[bytes] = await self._run("put", args, [was, _packed(endpoint)])
        return reply

    async def delete(self, endpoint: Endpoint) -> None:
        await self._run("drop", {"id": endpoint.id, "owner": _owner(endpoint)})

    async def disable(self, endpoint: str, reason: str) -> None:
        await self._run("disable", {"id": endpoint, "reason": reason})

    async def get(self, endpoint: str) -> Endpoint:
        _, found = await self._run("read", {"id": endpoint})
        if not found:
            raise NoSuchWebhook(endpoint)
        return _endpoint(*found[0])

    async def all(self) -> Endpoints:
        version, found = await self._run("read", {"id": ""})
        endpoints = (_endpoint(*each) for each in found)
        return Endpoints(version, {it.id: it for it in endpoints})

    async def log(
        self, endpoint: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[Attempt], str | None]:
        before = f"({cursor}" if cursor else "+"
        key = f"{WEBHOOKS}log:{endpoint}"
        found = await self._runner.link.call("XREVRANGE", key, before, "-", "COUNT", limit + 1)
        attempts = [_attempt(entry[1]) for _, entry in found[:limit]]
        return attempts, found[limit - 1][0].decode() if len(found) > limit else None

    async def version(self) -> int:
        return int(await self._runner.link.call("GET", f"{WEBHOOKS}version") or 0)

    async def beat(self, node: str, markets: Sequence[str]) -> Leased:
        args = {
            "node": node,
            "lease_ms": self._lease_ms,
            "markets": markets,
            "again_ms": _ANNOUNCE_AGAIN_MS,
        }
        version, held, unannounced, waiting = await self._run("lease", args)
        units = [unit.decode() for unit in held]
        return Leased(
            version,
            frozenset(unit for unit in units if "/" not in unit),
            frozenset(unit.removeprefix("market/") for unit in units if "/" in unit),
            [endpoint.decode() for endpoint in unannounced],
            waiting,
        )

    async def leave(self, node: str) -> None:
        args = {"node": node, "lease_ms": 0, "markets": [], "again_ms": 0, "leave": True}
        await self._run("lease", args)

    async def position(self, market: str) -> Place | None:
        found = await self._runner.link.call("HGET", f"{WEBHOOKS}positions", market)
        return _place(found.decode()) if found else None

    async def queue(
        self,
        market: str,
        moved: tuple[Place | None, Place],
        events: Sequence[MarketEvent],
        wanted: Mapping[str, Sequence[int]],
        version: int,
    ) -> str:
        was, to = moved
        args = {
            "market": market,
            "was": str(was or ""),
            "to": str(to),
            "version": version,
            "names": [_name(event) for event in events],
            "wanted": list(wanted.items()),
            **_bounds(),
        }
        (verdict,) = await self._run("queue", args, _entries(events))
        return str(verdict.decode())

    async def behind(self) -> Sequence[tuple[str, str, Place]]:
        found = await self._pairs("behind")
        return [(*_pair(name, "/"), _place(place)) for name, place in found]

    async def catch_up(
        self,
        endpoint: str,
        market: str,
        moved: tuple[Place, Place],
        events: Sequence[MarketEvent],
        missed_ms: int = 0,
    ) -> bool:
        was, at = moved
        args = {
            "id": endpoint,
            "market": market,
            "was": str(was),
            "at": str(at),
            "missed_ms": missed_ms,
            "names": [_name(event) for event in events],
            **_bounds(),
        }
        (verdict,) = await self._run("catch_up", args, _entries(events))
        return bool(verdict == b"behind")

    async def begin_replay(self, endpoint: str, market: str, after: Place, to: Place) -> None:
        await self._replay(endpoint, market, "", (after, to), ())

    async def replays(self) -> Sequence[tuple[str, str, Place, Place]]:
        going_on = []
        for name, places in await self._pairs("replays"):
            after, to = _pair(places, " ")
            going_on.append((*_pair(name, "/"), _place(after), _place(to)))
        return going_on

    async def replay(
        self,
        endpoint: str,
        market: str,
        moved: tuple[Place, Place],
        to: Place,
        events: Sequence[MarketEvent],
    ) -> bool:
        was, at = moved
        return await self._replay(endpoint, market, str(was), (at, to), events)

    async def _replay(
        self,
        endpoint: str,
        market: str,
        was: str,
        places: tuple[Place, Place],
        events: Sequence[MarketEvent],
    ) -> bool:
        at, to = places
        args = {
            "id": endpoint,
            "market": market,
            "was": was,
            "at": str(at),
            "to": str(to),
            "names": [_name(event) for event in events],
        }
        (verdict,) = await self._run("replay", args, _entries(events))
        return bool(verdict == b"ok")

    async def take(
        self, slots: Mapping[str, int], most: int, hold_ms: int
    ) -> Sequence[WaitingDelivery]:
        args = {"slots": list(slots.items()), "most": most, "hold_ms": hold_ms}
        due = await self._run("take", args)
        return [_waiting(*each) for each in due]

    async def settle(
        self, waiting: WaitingDelivery, attempt: Attempt | None, *, is_gone: bool
    ) -> str:
        outcome = "skipped" if attempt is None else attempt.outcome
        ended = {
            "id": waiting.endpoint,
            "name": waiting.name,
            "outcome": "gone" if is_gone else outcome,
            "failed": waiting.failed + 1,
            "first_ms": waiting.first_ms,
            "next_ms": None if attempt is None else attempt.next_ms,
        }
        log = b"" if attempt is None else pack(attempt)
        return await self._settling.add((ended, log))

    async def _settle(self, ended: Sequence[tuple[Mapping[str, Any], bytes]]) -> Sequence[str]:
        args = {
            "ended": [each for each, _ in ended],
            "give_up_ms": GIVE_UP_MS,
            "log_most": DELIVERIES_KEPT,
            "log_kept_ms": _LOG_KEPT_MS,
        }
        reasons = await self._run("settle", args, [log for _, log in ended])
        return [reason.decode() for reason in reasons]

    async def announce_disabled(self, market: str, endpoint: Endpoint, why: Disabled) -> None:
        args = {
            "webhook": endpoint.id,
            "owner": endpoint.owner,
            "service": endpoint.service or "",
            "reason": why.reason,
            "disabled_ms": why.at_ms,
            "undelivered_ms": why.oldest_ms or None,
        }
        await self._runner.transition("webhook_disabled", self._runner.keys[market], (), args)

    async def announced(self, endpoint: str) -> None:
        await self._runner.link.call("ZREM", f"{WEBHOOKS}untold", endpoint)

    async def _pairs(self, name: str) -> Iterable[tuple[str, str]]:
        flat = await self._runner.link.call("HGETALL", f"{WEBHOOKS}{name}")
        texts = [it.decode() for it in flat]
        return zip(texts[::2], texts[1::2], strict=True)

    async def _run(self, name: str, args: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> Any:
        return await self._runner.run(f"webhook_{name}", [f"{WEBHOOKS}endpoints"], args, blobs)


def _owner(endpoint: Endpoint) -> str:
    """Return the name under which the endpoints of an owner are counted."""
    return _counted_as(endpoint.owner, endpoint.service)


def owner_of(packed: bytes) -> str:
    """Return the name under which a stored endpoint is counted."""
    record = _record(packed)
    return _counted_as(record.owner, record.service)


def _counted_as(owner: str, service: str | None) -> str:
    return f"{'operator' if service is None else 'orders'}/{owner}"


def _packed(endpoint: Endpoint) -> bytes:
    return pack(
        _Record(
            endpoint.owner,
            endpoint.service,
            endpoint.url,
            endpoint.types,
            endpoint.markets,
            endpoint.description,
            endpoint.secrets,
            endpoint.created_ms,
            endpoint.updated_ms,
        )
    )


def _endpoint(
    name: bytes,
    packed: bytes,
    since_ms: int,
    disabled: bytes,
    failing_ms: int,
    waiting: int,
    missed_ms: int,
    granted_ms: int,
) -> Endpoint:
    fields = msgspec.structs.asdict(_record(packed))
    return Endpoint(
        id=name.decode(),
        **fields,
        since_ms=since_ms,
        disabled=_disabled(disabled) if disabled else None,
        failing_ms=failing_ms,
        waiting=waiting,
        missed_ms=missed_ms,
        granted_ms=granted_ms or since_ms,  # up to 0.6.0 it was not stored
    )


def _waiting(
    endpoint: bytes, name: bytes, failed: int, first_ms: int, entry: bytes
) -> WaitingDelivery:
    market, place, *passing = name.decode().split("/")
    event = read_event(market, place.encode(), (b"e", entry))
    if passing:
        event = replace(event, passing=_place(passing[0]))
    return WaitingDelivery(endpoint.decode(), name.decode(), event, failed, first_ms)


def _bounds() -> Mapping[str, int]:
    return {"pace": PACED_AT, "most": MAX_WAITING, "patience_ms": BACKLOG_PATIENCE_S * 1000}


def _entries(events: Sequence[MarketEvent]) -> Sequence[bytes]:
    """Return the events packed; an empty one stands for none, as a header names at least one."""
    return [pack(event.fields) for event in events] or [b""]


def _name(event: MarketEvent) -> str:
    """Return the name of an event within its market; one that is not stored has two places."""
    return str(event.place) if event.passing is None else f"{event.place}/{event.passing}"


def _pair(text: str, separator: str) -> tuple[str, str]:
    first, _, second = text.partition(separator)
    return first, second


def _place(text: str) -> Place:
    ms, n = _pair(text, "-")
    return Place(int(ms), int(n))
