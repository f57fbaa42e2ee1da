"""Two nodes on one real server in virtual time, and snapshots of all that they stored."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from mallard_engine.core.model import Driver, Job, Need, Submission, Vehicle, Waiting
from mallard_engine.core.places.meeting import meeting_id
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import MarketKeys, job_at
from mallard_engine.storage.records.drivers import read_driver, read_position
from mallard_engine.storage.records.jobs import read_job, read_waiting
from mallard_engine.storage.records.offers import (
    OfferRecord,
    RoundOfOffers,
    read_offer,
    read_round_of_offers,
)
from mallard_engine.storage.records.packed_jobs import PACKED
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.scripts import Script, all_scripts
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import JobState
from tests.properties.models.drivers import LEASE_MS

T = TypeVar("T")
MARKET, OTHER_MARKET = "phoenix", "las-vegas"
MALLS = ("mall-a", "mall-b")
NODES = ("n1", "n2")
SERVICE = "shop"
# Of every order: the least time until the parcels are in hand, and from there to the door.
LEAD_MS, HAUL_MS = 300_000, 900_000
HANDOVER_KEY = "00ff00ff00ff00ff"
START_MS = 1_800_000_000_000
HOME = (33.30, -111.84)
# Where drivers hand parcels over.
MEETING = meeting_id(MARKET, *HOME)

_HASHES = (
    *("drivers", "positions", "offers", "waiting", "counts", "externals", "holds", "dwell"),
    *("pauses", "dead_letters", "alerts"),
)
_KEPT = ("waiting", "counts", "externals", "holds", "dwell", "pauses", "dead_letters")
_SETS = (
    "idle",
    "coming",
    "due",
    "nodes",
    "forget",
    "by_age",
    "by_service",
    "by_shop",
    "risks",
    "unpacked",
    "alerts_open",
    "alerts_done",
)
# Each key's content by its type: alternating names and values, members, or a stream's length.
_READ_ALL = """
local READ = {
  hash = function(key) return redis.call('HGETALL', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  stream = function(key)
    if key:match(':events$') then return redis.call('XRANGE', key, '-', '+') end
    return redis.call('XLEN', key)
  end,
  none = function() return {} end,
}
local values = {}
for i, key in ipairs(KEYS) do values[i] = READ[redis.call('TYPE', key).ok](key) end
return values
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A market's data at one moment; ``values``: as the server gave it, by key."""

    now: int
    drivers: Mapping[str, Driver]
    jobs: Mapping[str, Job]
    offers: Mapping[str, OfferRecord]
    rounds: Mapping[str, RoundOfOffers]
    idle: frozenset[str]
    coming: frozenset[str]
    due: Mapping[str, int]
    queues: Mapping[str, tuple[str, ...]]
    waiting: Mapping[str, Waiting]
    counts: Mapping[str, int]
    nodes: Mapping[str, int]
    held: Mapping[str, frozenset[str]]
    listed: tuple[str, ...]
    by_shop: frozenset[str]
    risks: Mapping[str, int]
    unpacked: frozenset[str]
    packed: frozenset[str]
    dwells: Mapping[str, bytes]
    paused: frozenset[str]
    letters: Mapping[str, str]
    alerts: Mapping[str, Mapping[str, Any]]
    alerts_open: frozenset[str]
    alerts_done: frozenset[str]
    values: Mapping[str, Any]

    @property
    def raw(self) -> Mapping[str, object]:
        """What a repeated call must not change, by key."""
        values = self.values
        hashes = {name: _pairs(values[name]) for name in _HASHES}
        return {
            **{name: _scores(values[name]) for name in _SETS},
            **{name: hashes[name] for name in _KEPT},
            **{name: _unpacked(hashes[name]) for name in ("drivers", "positions", "offers")},
            **{name: _pairs(flat) for name, flat in values.items() if name.startswith("job:")},
            **{
                name: frozenset(members)
                for name, members in values.items()
                if name.startswith(("held:", "queue:"))
            },
            "pushes": [values[f"push:{node}"] for node in NODES],
        }


class LossyLink:
    """A connection that breaks after its first write: the write is done, its reply is lost, and no
    further command is sent. A script that asks for more (the keys of a run, where a holder was last
    seen) has written nothing."""

    _READS = (b"SCRIPT", "HGET", "HMGET", "HGETALL", "GET")

    def __init__(self, link: StoreLink) -> None:
        self._link = link
        self._broken = False

    def link_of(self, key: str) -> Link | None:
        return self._link.link_of(key)

    async def call(self, *command: str | bytes | float) -> Any:
        if self._broken:
            raise StoreUnavailable("the node died")
        reply = await self._link.call(*command)
        asks = isinstance(reply, list) and reply[:1] in ([b"run"], [b"where"])
        # A job is unpacked for a script, which then is the write.
        asks = asks or command[:2] == (b"EVALSHA", all_scripts()["unpack"].sha)
        if command[0] not in self._READS and not asks:
            self._broken = True
            raise StoreUnavailable("the node died")
        return reply


class World:
    """Two stores for synchronous code; ``close`` it. ``scripts`` replaces the package's."""

    def __init__(
        self, url: str, policy: MarketPolicy, scripts: Mapping[str, Script] | None = None
    ) -> None:
        self.now = START_MS
        self.url = url
        self.keys = MarketKeys(MARKET)
        self.known_jobs: list[str] = []
        self._loop = asyncio.new_event_loop()
        policies = {MARKET: policy, OTHER_MARKET: policy}
        self.stores = {node: self.run(_open(url, policies, lambda: self.now)) for node in NODES}
        for store in self.stores.values():
            store.runner.scripts = scripts or store.runner.scripts
        for each in self.stores["n1"].runner.link.primaries():
            self.run(each.call("FLUSHALL"))
        self._untouched = self._settle_other_market()

    def close(self) -> None:
        for store in self.stores.values():
            self.run(store.close())
        self.run(asyncio.sleep(0))  # transports close in the next iteration of the loop
        self._loop.close()

    def forget_guesses(self, of: str) -> None:
        """Forget the wrong codes of a job or a shop, as time does."""
        key = MarketKeys(MARKET).guesses(of)
        self.run(self.stores["n1"].runner.link.call("DEL", key))

    def run(self, call: Awaitable[T]) -> T:
        return self._loop.run_until_complete(call)

    def command(self, *words: str | bytes | float) -> Any:
        return self.run(self.stores["n1"].runner.link.call(*words))

    @contextmanager
    def reply_lost(self, node: str) -> Iterator[RedisStorage]:
        """The node's Redis for one call during which the node dies."""
        store = self.stores[node]
        link = store.runner.link
        store.runner.link = LossyLink(link)  # type: ignore[assignment]  # calls use only `call`
        try:
            yield store
        finally:
            store.runner.link = link

    def beat_until_now(self, nodes: Sequence[str]) -> None:
        """Renew the leases of these nodes, as if they had sent heartbeats until now."""
        for node in nodes:
            self.command("ZADD", self.keys.key("nodes"), self.now + LEASE_MS, node)

    def other_market_is_untouched(self) -> bool:
        return self._untouched == self._dump_other_market()

    def _settle_other_market(self) -> object:
        async def settle() -> None:
            store = self.stores["n2"]
            await store.leases.beat(OTHER_MARKET, "n2")
            # The same driver id, idempotency key and external id as in the market under test.
            await store.drivers.hello(OTHER_MARKET, "d0", node="n2", vehicle=Vehicle(), fix=None)
            await store.jobs.submit(
                submission("job_las-vegas.j0", "mall-v", OTHER_MARKET, START_MS)
            )

        self.run(settle())
        return self._dump_other_market()

    def _dump_other_market(self) -> object:
        # In the first market of a server, operators' changes in all its markets are counted.
        of_server = MarketKeys(OTHER_MARKET).key("changed").encode()
        names = sorted(set(self.command("KEYS", f"*{{{OTHER_MARKET}}}*")) - {of_server})
        return [(name, self.command("DUMP", name)) for name in names]

    def read(self) -> Snapshot:
        """Read the whole market in one step."""
        names = [
            *_HASHES,
            *_SETS,
            *(f"push:{node}" for node in NODES),
            "events",
            *(f"queue:{mall}" for mall in (*MALLS, MEETING)),
            *(f"held:{node}" for node in NODES),
            *(f"job:{job}" for job in self.known_jobs),
        ]
        keys = [self.keys.key(name) for name in names]
        values = self.command("EVAL", _READ_ALL, len(keys), *keys)
        return _snapshot(self.now, dict(zip(names, values, strict=True)))


def submission(
    job: str,
    mall: str,
    market: str,
    now: int,
    *,
    key: str = "key-0",
    body_hash: str = "hash-0",
    external: str | None = "ext-0",
    priority: int = 0,
    lasts_ms: int = 3_600_000,
    release_ms: int | None = None,
    age_check: bool = False,
    images: tuple[str, ...] = (),
    pin: str = "",
    weight_g: int = 100,
    express: bool = False,
    pay: tuple[int, int] = (0, 0),
    body: bytes = b'{"order": 1}',
    stores: tuple[str, ...] = ("lego",),
) -> Submission:
    """A valid order; ``release_ms``: when its driver search starts, if not at once."""
    need = Need(
        stores=stores,
        ready_ms=now,
        deadline_ms=now + lasts_ms,
        expires_ms=now + lasts_ms,
        lat=HOME[0],
        lon=HOME[1],
        parcels=1,
        weight_g=weight_g,
        volume_l=1.5,
        requires=(),
        priority=priority,
        created_ms=now,
        pay_minor=pay[0],
        pay_max_minor=pay[1],
        service_level=ServiceLevel.EXPRESS if express else ServiceLevel.POOLED,
    )
    return Submission(
        job=job,
        market=market,
        service=SERVICE,
        mall=mall,
        key=key,
        body_hash=body_hash,
        external_id=external,
        state=JobState.QUEUED if release_ms is None else JobState.SCHEDULED,
        release_ms=now if release_ms is None else release_ms,
        body=body,
        card=b"\x81\xa1x\xff",
        need=need,
        needs_age_check=age_check,
        images_required=images,
        pin=pin,
        handover_key=HANDOVER_KEY,
        lead_ms=LEAD_MS,
        haul_ms=HAUL_MS,
    )


async def _open(
    url: str, policies: Mapping[str, MarketPolicy], now_ms: Callable[[], int]
) -> RedisStorage:
    store = RedisStorage(url, policies, now_ms=now_ms)
    await store.connect()
    return store


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _scores(flat: Sequence[bytes]) -> dict[str, int]:
    return {name: int(float(score)) for name, score in _pairs(flat).items()}


@lru_cache(1_024)
def _read_job(flat: tuple[bytes, ...]) -> tuple[Job, RoundOfOffers | None]:
    """A job and its round. Few jobs change from one snapshot to the next."""
    several = _pairs(flat).get("round")
    try:
        return read_job(flat), read_round_of_offers(several) if several else None
    except (KeyError, ValueError) as error:
        raise AssertionError(f"record: a job cannot be read: {error!r}") from error


def _snapshot(now: int, raw: dict[str, Any]) -> Snapshot:
    hashes = {name: _pairs(raw[name]) for name in _HASHES}
    sets = {name: _scores(raw[name]) for name in _SETS}
    jobs = {
        name.removeprefix("job:"): _read_job(tuple(flat))
        for name, flat in raw.items()
        if name.startswith("job:") and flat
    }
    drivers = {
        name: replace(read_driver(packed), position=read_position(hashes["positions"].get(name)))
        for name, packed in hashes["drivers"].items()
    }
    return Snapshot(
        now=now,
        drivers=drivers,
        jobs={name: job for name, (job, _) in jobs.items()},
        offers={name: read_offer(packed) for name, packed in hashes["offers"].items()},
        rounds={name: several for name, (_, several) in jobs.items() if several},
        idle=frozenset(sets["idle"]),
        coming=frozenset(sets["coming"]),
        due=sets["due"],
        queues={
            mall: tuple(job_at(place.decode()) for place in raw[f"queue:{mall}"][::2])
            for mall in (*MALLS, MEETING)
        },
        waiting={name: read_waiting(name, packed) for name, packed in hashes["waiting"].items()},
        counts={name: int(count) for name, count in hashes["counts"].items()},
        nodes=sets["nodes"],
        held={n: frozenset(d.decode() for d in raw[f"held:{n}"]) for n in NODES},
        listed=tuple(sets["by_age"]),
        by_shop=frozenset(sets["by_shop"]),
        risks=sets["risks"],
        unpacked=frozenset(sets["unpacked"]),
        packed=frozenset(name for name in jobs if PACKED in raw[f"job:{name}"][::2]),
        dwells=hashes["dwell"],
        paused=frozenset(hashes["pauses"]),
        letters={
            name: msgspec.msgpack.decode(packed)["job"]
            for name, packed in hashes["dead_letters"].items()
        },
        alerts={
            name: msgspec.msgpack.decode(packed)
            for name, packed in hashes["alerts"].items()
            if name != "raised"
        },
        alerts_open=frozenset(sets["alerts_open"]),
        alerts_done=frozenset(sets["alerts_done"]),
        values=raw,
    )


def _unpacked(packed: Mapping[str, bytes]) -> dict[str, object]:
    """Decode maps packed by Lua, whose fields have no fixed order."""
    return {name: msgspec.msgpack.decode(value) for name, value in packed.items()}
