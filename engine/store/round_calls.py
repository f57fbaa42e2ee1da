"""Rounds, offers and the drivers' answers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from engine.core.model import Near, RoundRecord, Waiting
from engine.ports import (
    Answered,
    Effects,
    Found,
    JobRef,
    Offered,
    OfferPlan,
    Refused,
)
from engine.store.calls import Reply
from engine.store.driver_calls import answered
from engine.store.job_calls import JobCalls, must_have_been
from engine.store.records import (
    pack,
    read_driver,
    read_job,
    read_offer,
    read_position,
    read_round,
    read_waiting,
)
from protocol.codes import TERMINAL_KEPT_MS, ErrorCode
from protocol.lifecycle import Outcome, Step

_ROUND_KEPT_MS = TERMINAL_KEPT_MS
# How many offers' jobs a node remembers; the others are looked up, which costs a round trip.
_REMEMBERED_OFFERS = 20_000


class RoundCalls(JobCalls):
    """The matching side of :class:`engine.ports.Store`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A transition declares the job's key, but an answer names only the offer.
        self._jobs_of_offers: dict[str, JobRef] = {}

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
    ) -> Found:
        """See :meth:`engine.ports.Store.candidates`."""
        keys = self._keys[market]
        names = ("drivers", "positions", "idle", "nodes", "waiting", "holds")
        raw = await self._plain(
            "candidates",
            [*map(keys.key, names), keys.wait(mall)],
            {
                "lat": lat,
                "lon": lon,
                "radius_m": radius_m,
                "max_radius_m": max_radius_m,
                "drivers": drivers,
                "jobs": jobs,
            },
        )
        now, radius, total, packed_jobs, near, records, positions, nodes, holds = raw
        self._heard(now)
        held = {k.decode(): int(v) for k, v in zip(holds[::2], holds[1::2], strict=True)}
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
        )

    async def offer(self, plan: OfferPlan) -> Offered:
        """See :meth:`engine.ports.Store.offer`."""
        args = {
            "offer": plan.offer,
            "attempt": plan.attempt,
            "drivers": [
                (d.driver, d.gate, d.eta_s, d.distance_m, d.eta_pickup_ms, d.eta_dropoff_ms)
                for d in plan.drivers
            ],
        }
        ref = JobRef(plan.job, plan.mall)
        keys = self._market_of(plan.job)
        extra = [keys.wait(plan.mall), keys.job(plan.job), keys.round(plan.job)]
        reply = await self._transition("offer", keys, extra, args, [pack(plan.record)])
        if reply.verdict != "offered":
            return Offered(reply.verdict, None, reply.effects)
        self._remember(plan.offer, ref)
        return Offered("offered", reply.rest[0].decode(), reply.effects)

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        """See :meth:`engine.ports.Store.retry_later`."""
        args = {"attempt": attempt, "at_ms": at_ms}
        return (await self._on_job("retry_later", ref, args)).effects

    async def record_round(self, market: str, record: RoundRecord) -> None:
        """See :meth:`engine.ports.Store.record_round`."""
        key = self._keys[market].round(record.job)
        await self._link.call("SET", key, pack(record), "PX", _ROUND_KEPT_MS)

    async def last_round(self, job: str) -> RoundRecord | None:
        """See :meth:`engine.ports.Store.last_round`."""
        packed = await self._link.call("GET", self._market_of(job).round(job))
        return read_round(packed) if packed else None

    async def offer_ack(self, market: str, driver: str, offer: str) -> Effects:
        """See :meth:`engine.ports.Store.offer_ack`."""
        args = {"driver": driver, "offer": offer}
        reply = await self._transition("offer_ack", self._keys[market], (), args)
        return reply.unless_refused().effects

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """See :meth:`engine.ports.Store.accept`."""
        reply = await self._on_offer("accept", market, offer, {"driver": driver})
        done = answered(reply)
        jobs = (read_job(reply.rest[1]),) if reply.rest[1] else ()
        return replace(done, jobs=jobs)

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """See :meth:`engine.ports.Store.decline`."""
        args = {"driver": driver, "reason": reason}
        return answered(await self._on_offer("decline", market, offer, args))

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        """See :meth:`engine.ports.Store.withdraw`."""
        args = {"offer": offer, "actor": actor}
        return (await self._on_job("withdraw", ref, args)).effects

    async def progress(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        step: Step,
        *,
        at_ms: int | None,
        age_checked: bool,
        reason: str,
    ) -> Answered:
        """See :meth:`engine.ports.Store.progress`."""
        args: dict[str, Any] = {"driver": driver, "attempt": attempt, "reason": reason}
        if step is Step.GIVE_UP:
            args |= {"outcome": Outcome.GAVE_UP.value, "actor": driver}
            reply = await self._on_job("release", ref, args)
        else:
            args |= {"step": step.value, "at_ms": at_ms, "age_checked": age_checked}
            reply = await self._on_job("progress", ref, args)
        done = answered(reply)
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def arrive(self, ref: JobRef, driver: str, attempt: int) -> Effects:
        """See :meth:`engine.ports.Store.arrive`."""
        return (await self._on_job("arrive", ref, {"driver": driver, "attempt": attempt})).effects

    async def release(
        self, ref: JobRef, attempt: int, outcome: Outcome, actor: str, reason: str
    ) -> Effects:
        """See :meth:`engine.ports.Store.release`."""
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
    ) -> Answered:
        """See :meth:`engine.ports.Store.problem`."""
        keys = self._keys[market]
        args: dict[str, Any] = {
            "driver": driver,
            "kind": kind,
            "mall": mall,
            "job": job,
            "store": store,
            "text": text,
        }
        if until_ms is not None:
            args["until_ms"] = until_ms
        return answered(await self._transition("problem", keys, [keys.key("holds")], args))

    async def offer_ref(self, market: str, offer: str) -> JobRef | None:
        """The job of an offer; None if there is no such offer."""
        if ref := self._jobs_of_offers.get(offer):
            return ref
        packed = await self._link.call("HGET", self._keys[market].key("offers"), offer)
        if packed is None:
            return None
        record = read_offer(packed)
        return self._remember(offer, JobRef(record.jobs[0].job, record.mall))

    async def _on_offer(self, name: str, market: str, offer: str, args: Mapping[str, Any]) -> Reply:
        ref = await self.offer_ref(market, offer)
        if ref is None:
            raise Refused(ErrorCode.NOT_YOURS)
        return await self._on_job(name, ref, {"offer": offer, **args})

    def _remember(self, offer: str, ref: JobRef) -> JobRef:
        if len(self._jobs_of_offers) >= _REMEMBERED_OFFERS:
            del self._jobs_of_offers[next(iter(self._jobs_of_offers))]
        self._jobs_of_offers[offer] = ref
        return ref


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
