"""Rounds, offers and the drivers' answers."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mallard_engine.core.model import Near, RoundRecord, StoreHold, Vehicle, Waiting
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.ports import (
    Answered,
    Effects,
    Fitting,
    Found,
    JobRef,
    LateRun,
    Offered,
    OfferPlan,
    Refused,
    Stop,
    StoreFull,
)
from mallard_engine.storage.calls import Reply
from mallard_engine.storage.driver_calls import answered
from mallard_engine.storage.job_calls import JobCalls, must_have_been
from mallard_engine.storage.keys import MarketKeys, market_of
from mallard_engine.storage.records import (
    pack,
    read_driver,
    read_holds,
    read_job,
    read_offer,
    read_position,
    read_round,
    read_waiting,
)
from mallard_protocol.codes import TERMINAL_KEPT_MS, ErrorCode
from mallard_protocol.lifecycle import Outcome, Step
from mallard_protocol.messages import Proof

_ROUND_KEPT_MS = TERMINAL_KEPT_MS
# How many offers' jobs a node remembers; the others are looked up, which costs a round trip.
_REMEMBERED_OFFERS = 20_000
# A piece of a long queue: so many names are compared, so many jobs read.
_LOOKED_AT = 2_048
_MOST_FITTING = 128


@dataclass(frozen=True, slots=True)
class OfferedRun:
    """The jobs of an offer, in its order, and their mall."""

    jobs: tuple[str, ...]
    mall: str

    @property
    def first(self) -> JobRef:
        """Its first job."""
        return JobRef(self.jobs[0], self.mall)


class RoundCalls(JobCalls):
    """The matching side of :class:`mallard_engine.ports.Store`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A transition declares its jobs' keys, but an answer names only the offer.
        self._runs: dict[str, OfferedRun] = {}

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
        """See :meth:`mallard_engine.ports.Store.candidates`."""
        keys = self._keys[market]
        names = ("drivers", "positions", "idle", "nodes", "waiting", "holds")
        raw = await self._plain(
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
                "coming": self._most_coming[market],
                "named": named,
                "after": after,
            },
        )
        now, radius, total, packed_jobs, near, records, positions, nodes, holds = raw[:9]
        await self._unqueue(keys, mall, packed_jobs)
        self._heard(now)
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
            coming=tuple(coming_of(raw[9], raw[10], nodes, lat, lon)) if raw[9] else (),
            after=raw[11].decode(),
        )

    async def waiting_that_fit(
        self, market: str, mall: str, vehicles: Collection[Vehicle], low: str, high: str
    ) -> Fitting:
        """See :meth:`mallard_engine.ports.Store.waiting_that_fit`."""
        keys = self._keys[market]
        args = {
            "low": low,
            "high": high,
            "looked_at": _LOOKED_AT,
            "limit": _MOST_FITTING,
            "vehicles": [(it.max_weight_g, it.max_volume_l, it.equipment) for it in vehicles],
        }
        names = [keys.key("waiting"), keys.key("holds"), keys.wait(mall)]
        packed, holds, on = await self._plain("waiting_that_fit", names, args)
        await self._unqueue(keys, mall, packed)
        held = {store: hold.until_ms for store, hold in read_holds(holds).items()}
        jobs = [
            with_holds(read_waiting(job.decode(), record), mall, held)
            for job, record in zip(packed[::2], packed[1::2], strict=True)
            if record
        ]
        return Fitting(tuple(jobs), on.decode() or None)

    async def _unqueue(self, keys: MarketKeys, mall: str, jobs: Sequence[Any]) -> None:
        """Remove places whose jobs an engine of schema 1 has taken out of the queue."""
        stale = [
            place.decode()
            for place, packed in zip(jobs[::2], jobs[1::2], strict=True)
            if not packed and b"/" in place
        ]
        if stale:
            await self._plain("unqueue", [keys.key("waiting"), keys.wait(mall)], {"places": stale})

    async def offer(self, plan: OfferPlan) -> Offered:
        """See :meth:`mallard_engine.ports.Store.offer`."""
        args: dict[str, Any] = {
            "offer": plan.offer,
            "attempts": [job.attempt for job in plan.jobs],
            "drivers": _drivers_of(plan),
        }
        if plan.jobs[0].etas:
            # By driver, as the script wants no more than the one's who gets the offer.
            args["etas"] = list(zip(*(job.etas for job in plan.jobs), strict=True))
        if (more := plan.more) is not None:
            args["more"] = {"most": more.most, "gap_ms": more.gap_ms, "offers": more.offers}
        names = tuple([job.job for job in plan.jobs])
        keys = self._market_of(names[0])
        extra = [keys.wait(plan.mall), *map(keys.job, names), *map(keys.round, names)]
        records = [pack(job.record) for job in plan.jobs]
        reply = await self._transition("offer", keys, extra, args, records)
        if reply.verdict == "gone":
            gone = tuple(names[place - 1] for place in reply.rest[0])
            return Offered("gone", None, reply.effects, gone)
        if reply.verdict != "offered":
            return Offered(reply.verdict, None, reply.effects)
        self._remember(plan.offer, OfferedRun(names, plan.mall))
        return Offered("offered", reply.rest[0].decode(), reply.effects)

    async def hand_over(self, late: LateRun, plan: OfferPlan) -> Offered:
        """See :meth:`mallard_engine.ports.Store.hand_over`."""
        (job,) = plan.jobs
        args = {
            "offer": plan.offer,
            "attempt": late.attempt,
            "holder": late.driver,
            "lost_ms": late.lost_ms,
            "drivers": _drivers_of(plan),
        }
        keys = self._market_of(job.job)
        extra = [keys.wait(plan.mall), keys.job(job.job), keys.round(job.job)]
        reply = await self._transition("hand_over", keys, extra, args, [pack(job.record)])
        if reply.verdict != "offered":
            return Offered(reply.verdict, None, reply.effects)
        self._remember(plan.offer, OfferedRun((job.job,), plan.mall))
        return Offered("offered", reply.rest[0].decode(), reply.effects)

    async def update_etas(self, market: str, driver: str, stops: Sequence[Stop]) -> None:
        """See :meth:`mallard_engine.ports.Store.update_etas`."""
        if not stops:
            return
        keys = self._keys[market]
        told = [(stop.attempt, stop.eta_pickup_ms, stop.eta_dropoff_ms) for stop in stops]
        args = {"driver": driver, "stops": told}
        await self._plain("etas", [keys.job(stop.job) for stop in stops], args)

    async def holds(self, market: str) -> Mapping[str, StoreHold]:
        """See :meth:`mallard_engine.ports.Store.holds`."""
        return read_holds(await self._link.call("HGETALL", self._keys[market].key("holds")))

    async def lift_hold(self, market: str, mall: str, store: str, until_ms: int) -> None:
        """See :meth:`mallard_engine.ports.Store.lift_hold`."""
        keys = self._keys[market]
        names = [keys.key("holds"), keys.key("forget")]
        await self._plain("lift_hold", names, {"place": f"{mall}/{store}", "until_ms": until_ms})

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        """See :meth:`mallard_engine.ports.Store.retry_later`."""
        args = {"attempt": attempt, "at_ms": at_ms}
        return (await self._on_job("retry_later", ref, args)).effects

    async def record_round(self, market: str, record: RoundRecord) -> None:
        """See :meth:`mallard_engine.ports.Store.record_round`."""
        key = self._keys[market].round(record.job)
        # A full store goes without: only `explain` reads it.
        with contextlib.suppress(StoreFull):
            await self._link.call("SET", key, pack(record), "PX", _ROUND_KEPT_MS)

    async def last_round(self, job: str) -> RoundRecord | None:
        """See :meth:`mallard_engine.ports.Store.last_round`."""
        packed = await self._link.call("GET", self._market_of(job).round(job))
        return read_round(packed) if packed else None

    async def offer_ack(self, market: str, driver: str, offer: str) -> Effects:
        """See :meth:`mallard_engine.ports.Store.offer_ack`."""
        args = {"driver": driver, "offer": offer}
        reply = await self._transition("offer_ack", self._keys[market], (), args)
        return reply.unless_refused().effects

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """See :meth:`mallard_engine.ports.Store.accept`."""
        reply = await self._on_offer("accept", market, offer, {"driver": driver})
        done = answered(reply)
        return replace(done, jobs=tuple([read_job(flat) for flat in reply.rest[1] if flat]))

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Store.decline`."""
        args = {"driver": driver, "reason": reason}
        return answered(await self._on_offer("decline", market, offer, args))

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        """See :meth:`mallard_engine.ports.Store.withdraw`."""
        args = {"offer": offer, "actor": actor}
        run = self._runs.get(offer)
        reply = await self._on_job("withdraw", ref, args, run=run.jobs if run else ())
        return reply.effects

    async def progress(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        step: Step,
        *,
        at_ms: int | None,
        proof: Proof | None = None,
        reason: str,
    ) -> Answered:
        """See :meth:`mallard_engine.ports.Store.progress`."""
        args: dict[str, Any] = {"driver": driver, "attempt": attempt, "reason": reason}
        if step is Step.GIVE_UP:
            args |= {"outcome": Outcome.GAVE_UP.value, "actor": driver}
            reply = await self._on_job("release", ref, args)
        else:
            args |= {"step": step.value, "at_ms": at_ms}
            if proof is not None:
                args["proof"] = {"kind": proof.kind, "value": proof.value}
            # The job's own market: one that there is not has no job either.
            more = [self._market_of(ref.job).key("dwell")]
            reply = await self._on_job("progress", ref, args, more=more)
        if reply.verdict == ErrorCode.PROOF_NEEDED:
            missing = tuple(kind.decode() for kind in reply.rest[0])
            raise Refused(ErrorCode.PROOF_NEEDED, missing=missing)
        if reply.verdict == ErrorCode.WRONG_CODE:
            raise Refused(ErrorCode.WRONG_CODE, tries_left=next(iter(reply.rest), None))
        done = answered(reply)
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> Answered:
        """See :meth:`mallard_engine.ports.Store.claim`."""
        if market_of(job) != market:
            raise Refused(ErrorCode.NOT_YOURS)
        keys = self._keys[market]
        mall = await self._link.call("HGET", keys.job(job), "mall")
        args = {"driver": driver, "job": job, "attempt": attempt, "state": state}
        if at_ms is not None:
            args["at_ms"] = at_ms
        ref = JobRef(job, mall.decode() if mall else "")
        reply = await self._on_job(
            "claim", ref, args, more=[keys.key("lineage"), keys.key("alerted")]
        )
        done = answered(reply)
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def arrive(self, ref: JobRef, driver: str, attempt: int) -> Effects:
        """See :meth:`mallard_engine.ports.Store.arrive`."""
        return (await self._on_job("arrive", ref, {"driver": driver, "attempt": attempt})).effects

    async def release(
        self, ref: JobRef, attempt: int, outcome: Outcome, actor: str, reason: str
    ) -> Effects:
        """See :meth:`mallard_engine.ports.Store.release`."""
        args = {"attempt": attempt, "outcome": outcome.value, "actor": actor, "reason": reason}
        reply = await self._on_job("release", ref, args)
        return must_have_been(reply, ref).unless_refused().effects

    async def problem(
        self,
        market: str,
        driver: str,
        *,
        kind: str,
        mall: str,
        job: str,
        store: str,
        until_ms: int | None,
        text: str,
        attempt: int | None = None,
        at_ms: int | None = None,
    ) -> Answered:
        """See :meth:`mallard_engine.ports.Store.problem`."""
        keys = self._keys[market]
        args: dict[str, Any] = {
            "driver": driver,
            "kind": kind,
            "mall": mall,
            "job": job,
            "store": store,
            "text": text,
        }
        told = {"until_ms": until_ms, "attempt": attempt, "at_ms": at_ms}
        args |= {name: value for name, value in told.items() if value is not None}
        extra = [keys.key("holds"), keys.job(job)]
        reply = await self._transition("problem", keys, extra, args)
        return replace(answered(reply), is_new=bool(reply.rest[1]))

    async def offer_ref(self, market: str, offer: str) -> JobRef | None:
        """See :meth:`mallard_engine.ports.Store.offer_ref`."""
        run = await self._run_of(market, offer)
        return run.first if run else None

    async def _run_of(self, market: str, offer: str) -> OfferedRun | None:
        if run := self._runs.get(offer):
            return run
        packed = await self._link.call("HGET", self._keys[market].key("offers"), offer)
        if packed is None:
            return None
        record = read_offer(packed)
        return self._remember(offer, OfferedRun(tuple(j.job for j in record.jobs), record.mall))

    async def _on_offer(self, name: str, market: str, offer: str, args: Mapping[str, Any]) -> Reply:
        run = self._runs.get(offer) or await self._run_of(market, offer)
        if run is None:
            raise Refused(ErrorCode.NOT_YOURS)
        return await self._on_job(name, run.first, {"offer": offer, **args}, run=run.jobs)

    def _remember(self, offer: str, run: OfferedRun) -> OfferedRun:
        if len(self._runs) >= _REMEMBERED_OFFERS:
            del self._runs[next(iter(self._runs))]
        self._runs[offer] = run
        return run


def _drivers_of(plan: OfferPlan) -> list[tuple[object, ...]]:
    """The drivers of a plan as the scripts want them."""
    return [
        (
            *(d.driver, d.gate, d.eta_s, d.distance_m),
            *(d.eta_pickup_ms, d.eta_dropoff_ms, d.ask_by_ms, d.cell),
        )
        for d in plan.drivers
    ]


def with_holds(waiting: Waiting, mall: str, holds: Mapping[str, int]) -> Waiting:
    """The job, told until when one of its stores is held (``holds``: by mall/store)."""
    till = waiting.need.held_until_ms(mall, holds) if holds else 0
    return replace(waiting, held_until_ms=till) if till else waiting


def near_of(
    records: Iterable[bytes | None],
    positions: Iterable[bytes | None],
    distances_m: Iterable[bytes | float],
    nodes: Iterable[bytes],
) -> Iterator[Near]:
    """The drivers found, without those whose node is dead but not yet swept."""
    alive = {node.decode() for node in nodes}
    for record, packed, distance_m in zip(records, positions, distances_m, strict=True):
        position = read_position(packed)
        if record is None or position is None:
            continue
        driver = read_driver(record)
        if driver.node in alive:
            yield Near(driver, position, float(distance_m))


def coming_of(
    records: Sequence[bytes | None],
    positions: Sequence[bytes | None],
    nodes: Iterable[bytes],
    lat: float,
    lon: float,
) -> Iterator[Near]:
    """The drivers on their way to a mall, with how far they are from it."""
    for near in near_of(records, positions, [0.0] * len(records), nodes):
        at = near.position
        yield Near(near.driver, at, haversine_m(lat, lon, at.lat, at.lon))
