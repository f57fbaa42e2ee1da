"""The port `Offers` on Redis: what a round reads, offers and the answers to them."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mallard_engine.core.model import Near, RoundRecord, Vehicle, Waiting
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.ports import (
    Answered,
    Effects,
    Fitting,
    Found,
    FreeDrivers,
    JobRef,
    LateJob,
    MarketQueue,
    Offered,
    OfferPlan,
    Offers,
    Refused,
    StoreFull,
)
from mallard_engine.storage.calls.offered_runs import OfferedRun, OfferedRuns
from mallard_engine.storage.calls.script_runner import Reply, ScriptRunner, driver_answer
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records.drivers import read_driver, read_position
from mallard_engine.storage.records.jobs import read_job, read_market_waiting, read_waiting
from mallard_engine.storage.records.offers import read_offer, read_round
from mallard_engine.storage.records.packed_jobs import PACKED, unpacked
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.records.places import read_holds
from mallard_protocol.codes import ErrorCode

# One piece of a long queue: the names that are compared, and the jobs that are read.
_LOOKED_AT = 2_048
_MOST_FITTING = 128


class RedisOffers(Offers):
    """Offers on Redis."""

    def __init__(self, runner: ScriptRunner, runs: OfferedRuns) -> None:
        self._runner = runner
        self._runs = runs
        # By market: the cursor at which the last read of a long queue ended.
        self._queue_cursors: dict[str, str] = {}

    async def candidates(
        self,
        market: str,
        mall: str,
        lat: float,
        lon: float,
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        jobs: int,
        named: Sequence[str] = (),
        after: str = "",
    ) -> Found:
        keys = self._runner.keys[market]
        names = ("drivers", "positions", "idle", "nodes", "waiting", "holds")
        raw = await self._runner.run(
            "candidates",
            [*map(keys.key, names), keys.wait(mall), keys.key("coming")],
            {
                "lat": lat,
                "lon": lon,
                "radius_m": radius_m,
                "max_radius_m": max_radius_m,
                "drivers": drivers,
                "jobs": jobs,
                "mall": mall,
                "coming": self._runner.most_coming[market],
                "named": named,
                "after": after,
            },
        )
        now, radius, total, packed_jobs, near, records, positions, nodes, holds = raw[:9]
        await self._unqueue(keys, mall, packed_jobs)
        self._runner.set_clock(now)
        held = {store: hold.until_ms for store, hold in read_holds(holds).items()}
        return Found(
            now_ms=now,
            waiting=tuple(
                with_holds(read_waiting(job.decode(), packed), mall, held)
                for job, packed in zip(packed_jobs[::2], packed_jobs[1::2], strict=True)
                if packed
            ),
            waiting_total=total,
            near=tuple(near_of(records, positions, near[1::2], nodes)),
            radius_m=radius,
            more=len(records) >= drivers,
            holds=held,
            coming=tuple(_coming_of(raw[9], raw[10], nodes, lat, lon)) if raw[9] else (),
            after=raw[11].decode(),
        )

    async def waiting_that_fit(
        self, market: str, mall: str, vehicles: Collection[Vehicle], low: str, high: str
    ) -> Fitting:
        keys = self._runner.keys[market]
        args = {
            "low": low,
            "high": high,
            "looked_at": _LOOKED_AT,
            "limit": _MOST_FITTING,
            "vehicles": [(it.max_weight_g, it.max_volume_l, it.equipment) for it in vehicles],
        }
        names = [keys.key("waiting"), keys.key("holds"), keys.wait(mall)]
        packed, holds, on = await self._runner.run("waiting_that_fit", names, args)
        await self._unqueue(keys, mall, packed)
        held = {store: hold.until_ms for store, hold in read_holds(holds).items()}
        jobs = [
            with_holds(read_waiting(job.decode(), record), mall, held)
            for job, record in zip(packed[::2], packed[1::2], strict=True)
            if record
        ]
        return Fitting(tuple(jobs), on.decode() or None)

    async def _unqueue(self, keys: MarketKeys, mall: str, jobs: Sequence[Any]) -> None:
        """Remove the places of jobs that an engine of schema 1 has taken out of the queue."""
        stale = [
            place.decode()
            for place, packed in zip(jobs[::2], jobs[1::2], strict=True)
            if not packed and b"/" in place
        ]
        if stale:
            await self._runner.run(
                "unqueue", [keys.key("waiting"), keys.wait(mall)], {"places": stale}
            )

    async def queue_of(self, market: str, limit: int, named: Sequence[str] = ()) -> MarketQueue:
        keys = self._runner.keys[market]
        names = [keys.key("waiting"), keys.key("holds")]
        args = {"limit": limit, "cursor": self._queue_cursors.get(market, "0"), "named": named}
        now, total, packed, holds, cursor = await self._runner.run("waiting_jobs", names, args)
        self._runner.set_clock(now)
        self._queue_cursors[market] = cursor.decode()
        held = {store: hold.until_ms for store, hold in read_holds(holds).items()}
        jobs = []
        # A named job may also be among the others.
        for job, value in dict(zip(packed[::2], packed[1::2], strict=True)).items():
            mall, waiting = read_market_waiting(job.decode(), value)
            jobs.append((mall, with_holds(waiting, mall, held)))
        # A hash has no order. Sort by priority and age, as in a mall's queue.
        jobs.sort(key=lambda at: (-at[1].need.priority, at[1].need.created_ms, at[1].job))
        return MarketQueue(now, tuple(jobs), total)

    async def free_around(
        self,
        market: str,
        points: Sequence[tuple[float, float]],
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        most: int,
        malls: Sequence[str] = (),
    ) -> FreeDrivers:
        keys = self._runner.keys[market]
        names = ("drivers", "positions", "idle", "nodes", "coming")
        now, ids, records, positions, nodes, coming, places = await self._runner.run(
            "around",
            list(map(keys.key, names)),
            {
                "points": points,
                "radius_m": radius_m,
                "max_radius_m": max_radius_m,
                "drivers": drivers,
                "most": most,
                "malls": malls,
                "coming": self._runner.most_coming[market] if malls else 0,
            },
        )
        self._runner.set_clock(now)
        # The distance to several malls is not one number.
        near = near_of(records, positions, [0.0] * len(ids), nodes)
        bound = near_of(coming, places, [0.0] * len(coming), nodes)
        return FreeDrivers(now, tuple(near), tuple(bound))

    async def make(self, plan: OfferPlan) -> Offered:
        args: dict[str, Any] = {
            "offer": plan.offer,
            "attempts": [job.attempt for job in plan.jobs],
            "drivers": _drivers_of(plan),
        }
        if plan.jobs[0].etas:
            # By driver: the script reads those of the driver who gets the offer.
            args["etas"] = list(zip(*(job.etas for job in plan.jobs), strict=True))
        if (more := plan.more) is not None:
            args["more"] = {"most": more.most, "gap_ms": more.gap_ms, "offers": more.offers}
        names = tuple([job.job for job in plan.jobs])
        keys = self._runner.keys_of(names[0])
        extra = [keys.wait(plan.mall), *map(keys.job, names), *map(keys.round, names)]
        records = [self._packed(keys.market, job.record) for job in plan.jobs]
        reply = await self._runner.transition("offer", keys, extra, args, records)
        if reply.verdict == "gone":
            dequeued = tuple(names[place - 1] for place in reply.rest[0])
            return Offered("gone", None, reply.effects, dequeued)
        if reply.verdict != "offered":
            return Offered(reply.verdict, None, reply.effects)
        self._runs.add(plan.offer, OfferedRun(names, plan.mall))
        return Offered("offered", reply.rest[0].decode(), reply.effects)

    async def reassign(self, late: LateJob, plan: OfferPlan) -> Offered:
        (job,) = plan.jobs
        args = {
            "offer": plan.offer,
            "attempt": late.attempt,
            "holder": late.driver,
            "lost_ms": late.lost_ms,
            "drivers": _drivers_of(plan),
        }
        keys = self._runner.keys_of(job.job)
        extra = [keys.wait(plan.mall), keys.job(job.job), keys.round(job.job)]
        record = self._packed(keys.market, job.record)
        reply = await self._runner.transition("hand_over", keys, extra, args, [record])
        if reply.verdict != "offered":
            return Offered(reply.verdict, None, reply.effects)
        self._runs.add(plan.offer, OfferedRun((job.job,), plan.mall))
        return Offered("offered", reply.rest[0].decode(), reply.effects)

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        args = {"offer": offer, "actor": actor}
        run = self._runs.get(offer)
        reply = await self._runner.on_job("withdraw", ref, args, run=run.jobs if run else ())
        return reply.effects

    async def record_round(self, market: str, record: RoundRecord) -> None:
        key = self._runner.keys[market].round(record.job)
        # A full server does not store it; only `explain` reads it.
        with contextlib.suppress(StoreFull):
            packed = self._packed(market, record)
            await self._runner.link.call(
                "SET", key, packed, "PX", self._runner.ended_kept_ms[market]
            )

    def _packed(self, market: str, record: RoundRecord) -> bytes:
        version = self._runner.policy_versions.get(market, 0)
        return pack(replace(record, policy=version) if version else record)

    async def last_round(self, job: str) -> RoundRecord | None:
        keys, call = self._runner.keys_of(job), self._runner.link.call
        found = await call("GET", keys.round(job))
        if not found and (packed := await call("HGET", keys.job(job), PACKED)):
            _, found = unpacked(packed)
        return read_round(found) if found else None

    async def ack(self, market: str, driver: str, offer: str) -> Effects:
        args = {"driver": driver, "offer": offer}
        reply = await self._runner.transition("offer_ack", self._runner.keys[market], (), args)
        return reply.unless_refused().effects

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        reply = await self._on_offer("accept", market, offer, {"driver": driver})
        done = driver_answer(reply)
        return replace(done, jobs=tuple([read_job(flat) for flat in reply.rest[1] if flat]))

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        args = {"driver": driver, "reason": reason}
        return driver_answer(await self._on_offer("decline", market, offer, args))

    async def first_job(self, market: str, offer: str) -> JobRef | None:
        run = await self._run_of(market, offer)
        return run.first if run else None

    async def _run_of(self, market: str, offer: str) -> OfferedRun | None:
        if run := self._runs.get(offer):
            return run
        packed = await self._runner.link.call(
            "HGET", self._runner.keys[market].key("offers"), offer
        )
        if packed is None:
            return None
        record = read_offer(packed)
        return self._runs.add(offer, OfferedRun(tuple(j.job for j in record.jobs), record.mall))

    async def _on_offer(self, name: str, market: str, offer: str, args: Mapping[str, Any]) -> Reply:
        run = self._runs.get(offer) or await self._run_of(market, offer)
        if run is None:
            raise Refused(ErrorCode.NOT_YOURS)
        return await self._runner.on_job(name, run.first, {"offer": offer, **args}, run=run.jobs)


def _drivers_of(plan: OfferPlan) -> list[tuple[object, ...]]:
    """Return the drivers of a plan as the scripts read them."""
    return [
        (
            *(d.driver, d.gate, d.eta_s, d.distance_m),
            *(d.eta_pickup_ms, d.eta_dropoff_ms, d.ask_by_ms, d.cell),
        )
        for d in plan.drivers
    ]


def with_holds(waiting: Waiting, mall: str, holds: Mapping[str, int]) -> Waiting:
    """Return the job with the end of the holds on its stores (``holds``: by mall/store)."""
    till = waiting.need.held_until_ms(mall, holds) if holds else 0
    return replace(waiting, held_until_ms=till) if till else waiting


def near_of(
    records: Iterable[bytes | None],
    positions: Iterable[bytes | None],
    distances_m: Iterable[bytes | float],
    nodes: Iterable[bytes],
) -> Iterator[Near]:
    """Yield the drivers that were found, without those of nodes that have died."""
    alive = {node.decode() for node in nodes}
    for record, packed, distance_m in zip(records, positions, distances_m, strict=True):
        position = read_position(packed)
        if record is None or position is None:
            continue
        driver = read_driver(record)
        if driver.node in alive:
            yield Near(driver, position, float(distance_m))


def _coming_of(
    records: Sequence[bytes | None],
    positions: Sequence[bytes | None],
    nodes: Iterable[bytes],
    lat: float,
    lon: float,
) -> Iterator[Near]:
    """Yield the drivers on their way to a mall, with their distance from it."""
    for near in near_of(records, positions, [0.0] * len(records), nodes):
        at = near.position
        yield Near(near.driver, at, haversine_m(lat, lon, at.lat, at.lon))
