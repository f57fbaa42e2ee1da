"""The port `Drivers` on Redis: sockets, states and positions of drivers."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from mallard_engine.core.model import Device, Driver, LiveOffer, Position, Vehicle
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle, stated
from mallard_engine.ports import (
    Answered,
    DriverFix,
    Drivers,
    DriverSnapshot,
    Effects,
    Hello,
    NoSuchDriver,
    OfferLive,
    OwnDriver,
    Recorded,
    StoreFull,
    TakenBack,
)
from mallard_engine.storage.calls.register import KINDS, given_alias
from mallard_engine.storage.calls.script_runner import ScriptRunner, driver_answer
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.position_cache import PositionCache
from mallard_engine.storage.records.drivers import read_driver, read_position, read_profile
from mallard_engine.storage.records.jobs import read_job
from mallard_engine.storage.records.offers import read_offer
from mallard_engine.storage.records.packing import as_string
from mallard_protocol.lifecycle import Wish

MAX_BATCH = 256
_SCAN_COUNT = 1_000


class RedisDrivers(Drivers):
    """Drivers on Redis. Keeps a cache of the positions that this node has written."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        self._caches: dict[str, PositionCache] = {}

    def use(self, policies: Mapping[str, MarketPolicy]) -> None:
        """Apply these policies from the next call on. Empties the position cache."""
        self._caches = {market: PositionCache(policy) for market, policy in policies.items()}

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        node: str,
        vehicle: StatedVehicle | Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
        claims: DriverClaims | None = None,
    ) -> Hello:
        keys = self._runner.keys[market]
        extra = [keys.held(node), keys.key("registry")]
        args: dict[str, object] = {"driver": driver, "node": node, "kinds": KINDS}
        if vehicle:
            args["vehicle"] = stated(vehicle)
        if claims:
            args["claims"] = stated(claims)
        if device:
            args["device"] = asdict(device)
        if fix:
            args["fix"] = {
                "at": fix.at_ms,
                "lat": fix.lat,
                "lon": fix.lon,
                "acc": fix.acc_m,
                "fault": fix.fault,
            }
        try:
            reply = await self._runner.transition("hello", keys, extra, args)
        except StoreFull:
            # A full server accepts no new work, but lets drivers finish their jobs.
            if not await self._has_work(keys, driver):
                raise
            reply = await self._runner.transition("hello", keys, extra, args, when_full=True)
        record, position = reply.rest[0]
        return Hello(read_driver(record, read_position(position)), reply.effects)

    async def set_device(self, market: str, driver: str, epoch: int, device: Device) -> None:
        args = {"driver": driver, "epoch": epoch, "device": asdict(device)}
        await self._runner.transition("device", self._runner.keys[market], [], args)

    async def set_claims(
        self, market: str, driver: str, epoch: int, claims: DriverClaims | None
    ) -> Effects:
        keys = self._runner.keys[market]
        args: dict[str, object] = {"driver": driver, "epoch": epoch, "kinds": KINDS}
        if claims:
            args["claims"] = stated(claims)
        return (await self._runner.transition("claims", keys, [keys.key("registry")], args)).effects

    async def _has_work(self, keys: MarketKeys, driver: str) -> bool:
        """Whether the driver holds a job or has a live offer."""
        record = await self._runner.link.call("HGET", keys.key("drivers"), driver)
        known = read_driver(record) if record else None
        return known is not None and bool(known.jobs or known.offer)

    async def disconnect(
        self, market: str, node: str, closed: Sequence[tuple[str, int]]
    ) -> Effects:
        keys = self._runner.keys[market]
        args = {"node": node, "closed": closed}
        self._caches[market].forget(driver for driver, _ in closed)
        return (await self._runner.transition("disconnect", keys, [keys.held(node)], args)).effects

    async def take_back(
        self, market: str, node: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> tuple[Sequence[TakenBack], Effects]:
        if len(drivers) > MAX_BATCH:
            raise ValueError(f"{len(drivers)} drivers: at most {MAX_BATCH} a call")
        keys = self._runner.keys[market]
        args = {
            "node": node,
            "rewound": rewound,
            "kinds": KINDS,
            "drivers": list(map(_own, drivers)),
        }
        extra = [keys.held(node), keys.key("registry")]
        reply = await self._runner.transition("take_back", keys, extra, args)
        taken = [
            TakenBack(verdict.decode(), read_driver(record, read_position(position)))
            for verdict, record, position in zip(*reply.rest, strict=True)
        ]
        return taken, reply.effects

    async def held(self, market: str, node: str) -> Mapping[str, int]:
        keys = self._runner.keys[market]
        names = await self._runner.link.call("SMEMBERS", keys.held(node))
        held: dict[str, int] = {}
        for start in range(0, len(names), MAX_BATCH):
            batch = names[start : start + MAX_BATCH]
            records = await self._runner.link.call("HMGET", keys.key("drivers"), *batch)
            known = [read_driver(record) for record in records if record]
            held |= {each.id: each.epoch for each in known if each.node == node}
        return held

    async def snapshot(self, market: str, driver: str) -> DriverSnapshot:
        keys = self._runner.keys[market]
        record = await self._runner.link.call("HGET", keys.key("drivers"), driver)
        if record is None:
            raise NoSuchDriver(driver)
        position = read_position(
            await self._runner.link.call("HGET", keys.key("positions"), driver)
        )
        known = read_driver(record, position)
        held = [await self._runner.link.call("HGETALL", keys.job(job.job)) for job in known.jobs]
        jobs = tuple(read_job(flat) for flat in held if flat)
        offer = await self._live_offer(keys, known.offer)
        transfers, aliases = {}, {}
        for name in {job.transfer_job for job in jobs if job.transfer_job}:
            flat = await self._runner.link.call("HGETALL", keys.job(name))
            if flat and not (transfer := read_job(flat)).terminal:
                transfers[transfer.id] = transfer
                if transfer.driver and (alias := await self._alias(keys, transfer.driver)):
                    aliases[transfer.driver] = alias
        return DriverSnapshot(self._runner.now_ms(), known, offer, jobs, transfers, aliases)

    async def _alias(self, keys: MarketKeys, driver: str) -> str | None:
        record = await self._runner.link.call("HGET", keys.key("drivers"), driver)
        packed = await self._runner.link.call("HGET", keys.key("registry"), driver)
        return given_alias(record, read_profile(packed) if packed else None) if record else None

    async def _live_offer(self, keys: MarketKeys, offer: str | None) -> LiveOffer | None:
        packed = await self._runner.link.call("HGET", keys.key("offers"), offer) if offer else None
        if packed is None:
            return None
        record = read_offer(packed)
        if record.state != "live":
            return None
        cards = [await self._runner.link.call("HGET", keys.job(j.job), "card") for j in record.jobs]
        return record.live(cards) if all(cards) else None

    async def alive(self, market: str, driver: str) -> Answered:
        reply = await self._runner.transition(
            "alive", self._runner.keys[market], (), {"driver": driver}
        )
        if reply.verdict == "no_driver":
            raise NoSuchDriver(driver)
        return driver_answer(reply)

    async def seen(self, market: str, driver: str) -> Effects:
        keys = self._runner.keys[market]
        return (await self._runner.transition("seen", keys, (), {"driver": driver})).effects

    async def push_state(self, market: str, driver: str, why: str) -> Effects:
        keys = self._runner.keys[market]
        return (
            await self._runner.transition("push_state", keys, (), {"driver": driver, "why": why})
        ).effects

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        keys = self._runner.keys[market]
        args: dict[str, object] = {"driver": driver, "wish": wish.value}
        if until_ms is not None:
            args["until_ms"] = until_ms
        reply = await self._runner.transition("status", keys, (), args)
        if reply.verdict == "no_driver":
            raise NoSuchDriver(driver)
        if reply.verdict == "offer_live":
            raise OfferLive(reply.rest[0].decode())
        return driver_answer(reply)

    async def record_positions(self, market: str, fixes: Sequence[DriverFix]) -> Recorded:
        if len(fixes) > MAX_BATCH:
            raise ValueError(f"{len(fixes)} fixes: at most {MAX_BATCH} a batch")
        if not fixes:
            return Recorded((), Effects())
        cache, now_ms = self._caches[market], self._runner.now_ms()
        fast, checked = cache.split(fixes, now_ms)
        writes = [
            part
            for driver, blob in zip(fast.drivers, fast.blobs, strict=True)
            for part in (driver, as_string(blob))
        ]
        args = {
            "drivers": fast.drivers,
            "known": as_string(b"".join(fast.known)),
            "writes": writes,
            "moves": fast.moves,
            "fixes": [_packed_fix(fixes[index]) for index in checked],
        }
        # Until the reply comes, the cache holds the previous positions. Fixes sent in the meantime
        # are compared with them, and the script validates those again.
        reply = await self._runner.transition("positions", self._runner.keys[market], (), args)
        missed, rest, learnt = reply.rest
        verdicts = ["ok"] * len(fixes)
        if missed:
            by_driver = dict(zip(fast.drivers, missed, strict=True))
            for index, fix in enumerate(fixes):
                if verdict := by_driver.get(fix.driver):
                    verdicts[index] = verdict.decode()
        else:
            cache.stored(fast, fixes, now_ms)
        for driver, blob in zip(learnt[::2], learnt[1::2], strict=True):
            cache.learn(driver.decode(), blob)
        for index, verdict in zip(checked, rest, strict=True):
            verdicts[index] = verdict.decode()
        return Recorded(tuple(verdicts), reply.effects)

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        return await self._set_suspended(market, driver, suspended=True, reason=reason)

    async def resume(self, market: str, driver: str) -> Answered:
        return await self._set_suspended(market, driver, suspended=False, reason="")

    async def _set_suspended(
        self, market: str, driver: str, *, suspended: bool, reason: str
    ) -> Answered:
        keys = self._runner.keys[market]
        args = {"driver": driver, "suspended": suspended, "reason": reason, "kinds": KINDS}
        reply = await self._runner.transition("suspend", keys, [keys.key("registry")], args)
        if reply.verdict == "no_driver":
            raise NoSuchDriver(driver)
        return driver_answer(reply)

    async def sample(self, market: str, limit: int) -> Sequence[Driver]:
        key = self._runner.keys[market].key("drivers")
        flat = await self._runner.link.call("HRANDFIELD", key, limit, "WITHVALUES")
        return [read_driver(record) for record in flat[1::2]]

    async def near(
        self, market: str, lat: float, lon: float, radius_m: float, limit: int
    ) -> Sequence[Driver]:
        keys = self._runner.keys[market]
        hits: dict[bytes, tuple[float, Position]] = {}
        cursor = b"0"
        while True:
            cursor, flat = await self._runner.link.call(
                "HSCAN", keys.key("positions"), cursor, "COUNT", _SCAN_COUNT
            )
            for driver, packed in zip(flat[::2], flat[1::2], strict=True):
                position = read_position(packed)
                if position is None:
                    continue
                away_m = haversine_m(lat, lon, position.lat, position.lon)
                if away_m <= radius_m:
                    hits[driver] = (away_m, position)
            if cursor == b"0":
                break
        nearest = heapq.nsmallest(limit, hits, key=lambda driver: hits[driver][0])
        if not nearest:
            return []
        records = await self._runner.link.call("HMGET", keys.key("drivers"), *nearest)
        return [
            read_driver(record, hits[driver][1])
            for driver, record in zip(nearest, records, strict=True)
            if record
        ]

    async def any_free(self, market: str, drivers: Sequence[str]) -> bool:
        scores = await self._runner.link.call(
            "ZMSCORE", self._runner.keys[market].key("idle"), *drivers
        )
        return any(score is not None for score in scores)

    async def dwells(self, market: str) -> Mapping[str, bytes]:
        flat = await self._runner.link.call("HGETALL", self._runner.keys[market].key("dwell"))
        return {k.decode(): v for k, v in zip(flat[::2], flat[1::2], strict=True)}


def _packed_fix(fix: DriverFix) -> tuple[str, int, float, float, float, str]:
    return fix.driver, fix.at_ms, fix.lat, fix.lon, fix.acc_m, fix.fault


def _own(own: OwnDriver) -> dict[str, object]:
    args: dict[str, object] = {"driver": own.driver, "epoch": own.epoch, "wish": own.wish.value}
    if own.until_ms is not None:
        args["until_ms"] = own.until_ms
    if own.vehicle is not None:
        args["vehicle"] = stated(own.vehicle)
    if own.claims is not None:
        args["claims"] = stated(own.claims)
    if own.device is not None:
        args["device"] = asdict(own.device)
    if own.fix is not None:
        args["fix"] = _packed_fix(own.fix)[1:]
        args["age_ms"] = own.age_ms
    return args
