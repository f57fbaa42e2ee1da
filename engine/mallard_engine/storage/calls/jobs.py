"""The port `Jobs` on Redis: submission, reading and transitions of jobs."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mallard_engine.core.job_ids import market_of_job
from mallard_engine.core.model import Job, Need, ReturnPlan, StoreHold, Submission
from mallard_engine.ports import (
    NO_QUOTAS,
    Answered,
    ConfirmedOrder,
    DriverUnavailable,
    DuplicateExternalId,
    Effects,
    IdempotencyMismatch,
    JobPage,
    JobQuery,
    JobRef,
    Jobs,
    NoSuchDriver,
    NoSuchJob,
    QuotaExceeded,
    Quotas,
    Refused,
    Stop,
    Submitted,
)
from mallard_engine.storage.calls.script_runner import ScriptRunner, checked, driver_answer
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.packed import read_field
from mallard_engine.storage.records.jobs import job_of, read_job, readable_job
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.records.places import read_holds
from mallard_protocol.codes import CancelReason, ErrorCode
from mallard_protocol.events import EVENTS_KEPT_MS
from mallard_protocol.lifecycle import JobState, Outcome, ShopState, Step
from mallard_protocol.messages import Proof

_PAGE_READ = 200
# A filtered list reads at most this many job ids for a page; the cursor continues from there.
_MAX_SCANNED = 2_000
# From this many malls on, one script reads the malls of all waiting jobs: no call for each mall.
_MANY_MALLS = 32
_UNAVAILABLE = {
    "suspended": "the driver is suspended",
    "busy": "the driver has no room for it or has a live offer",
}


class RedisJobs(Jobs):
    """Jobs on Redis. ``on_quota`` is called with the name of a quota that refuses a job."""

    def __init__(
        self,
        runner: ScriptRunner,
        quotas: Quotas = NO_QUOTAS,
        on_quota: Callable[[str], None] | None = None,
    ) -> None:
        self._runner = runner
        self._quotas = quotas
        self._on_quota = on_quota

    async def submit(self, submission: Submission) -> Submitted:
        s = submission
        keys = self._runner.keys[s.market]
        extra = [
            keys.wait(s.mall),
            keys.job(s.job),
            keys.idempotency(s.service, _digest(s.key)),
            keys.key("by_service"),
            keys.key("by_age"),
            keys.key("by_external"),
            keys.key("open"),
            keys.key("open_seen"),
            keys.stored(s.service),
            keys.job(s.redelivery_of or s.job),
        ]
        args: dict[str, Any] = {
            "job": s.job,
            "market": s.market,
            "service": s.service,
            "mall": s.mall,
            "hash": s.body_hash,
            "external_id": s.external_id or "",
            "state": s.state.value,
            "release_ms": s.release_ms,
            "age_check": s.needs_age_check,
            "expires_ms": s.need.expires_ms,
            "deadline_ms": s.need.deadline_ms,
            "priority": s.need.priority,
            "demand": s.need.demand,
            "lead_ms": s.lead_ms,
            "haul_ms": s.haul_ms,
            "max_open": self._quotas.open_jobs,
            "max_stored": self._quotas.stored_bytes,
            "handover_key": s.handover_key,
            "tracking": s.tracking or None,
            "stores": s.need.stores,
        }
        if s.pin or s.pickup_codes:
            args["codes"] = {"door": s.pin, "shops": s.pickup_codes}
        if s.customer_ref:
            args["customer_ref"] = s.customer_ref
        if s.images_required:
            args["images"] = s.images_required
        if s.redelivery_of:
            args |= {"redelivery_of": s.redelivery_of, "replaces": s.replaces}
        blobs = [s.body, s.card, pack(s.need)]
        reply = await self._runner.transition("submit", keys, extra, args, blobs)
        if reply.verdict == "mismatch":
            raise IdempotencyMismatch(s.key)
        if reply.verdict == "duplicate":
            raise DuplicateExternalId(reply.rest[0].decode())
        if reply.verdict == "quota":
            which = reply.rest[0].decode()
            if self._on_quota is not None:
                self._on_quota(which)
            raise QuotaExceeded(which)
        checked(reply, JobRef(s.redelivery_of or s.job, s.mall))
        if reply.verdict == "replayed":
            return Submitted(await self.get(reply.rest[0].decode()), True, reply.effects)
        return Submitted(job_of(s, reply.effects.now_ms), False, reply.effects)

    async def submitted(
        self, market: str, service: str, key: str, body_hash: str
    ) -> Submitted | None:
        name = self._runner.keys[market].idempotency(service, _digest(key))
        used: bytes | None = await self._runner.link.call("GET", name)
        if used is None:
            return None
        used_for, job = used.decode().split(" ")
        if used_for != body_hash:
            raise IdempotencyMismatch(key)
        return Submitted(await self.get(job), True, Effects())

    async def get(self, job: str) -> Job:
        flat = await self._runner.link.call("HGETALL", self._runner.keys_of(job).job(job))
        if not flat:
            raise NoSuchJob(job)
        return read_job(flat)

    async def page(
        self,
        market: str,
        query: JobQuery,
        *,
        service: str | None,
        limit: int,
        cursor: str | None,
        oldest: str | None = None,
    ) -> JobPage:
        keys = self._runner.keys[market]
        found: list[Job] = []
        scanned = 0
        while scanned < _MAX_SCANNED:
            if query.external_id is None:
                ids = await self._ids_before(keys, service, cursor, oldest or "")
            else:
                ids = await self._ids_named(keys, service, query.external_id, cursor)
            for job in await self._wanted(keys, ids, query) if ids and query.needs_record else ids:
                flat = await self._runner.link.call("HGETALL", keys.job(job))
                known = readable_job(job, flat)
                # It may have changed since its id was read.
                if known and query.wants(known.state, known.created_ms, known.updated_ms):
                    found.append(known)
                    if len(found) == limit:
                        return JobPage(tuple(found), job)
            scanned += len(ids)
            if len(ids) < _PAGE_READ:
                return JobPage(tuple(found), None)
            cursor = ids[-1]
        return JobPage(tuple(found), cursor)

    async def _wanted(self, keys: MarketKeys, ids: Sequence[str], query: JobQuery) -> list[str]:
        """Return the jobs that match a query, without reading the others here."""
        args = {
            "states": sorted(query.states),
            "created_from": query.created_from_ms,
            "created_to": query.created_to_ms,
            "updated_since": query.updated_since_ms,
        }
        places = await self._runner.run("wanted_jobs", [keys.job(job) for job in ids], args)
        return [ids[place - 1] for place in places]

    async def _ids_before(
        self, keys: MarketKeys, service: str | None, cursor: str | None, oldest: str
    ) -> list[str]:
        """Return a page of job ids below the cursor, newest first. Ids sort by time."""
        if service is None:
            name, low, high = "by_age", f"[{oldest}", f"({cursor}" if cursor else "+"
        else:
            # "0" follows "/" in ASCII: the end of this service's names.
            name, low = "by_service", f"[{service}/{oldest}"
            high = f"({service}/{cursor}" if cursor else f"({service}0"
        members = await self._runner.link.call(
            "ZRANGE", keys.key(name), high, low, "BYLEX", "REV", "LIMIT", 0, _PAGE_READ
        )
        return [member.decode().rpartition("/")[2] for member in members]

    async def _ids_named(
        self, keys: MarketKeys, service: str | None, external_id: str, cursor: str | None
    ) -> list[str]:
        """Return a page of the ids of jobs with this external id."""
        name = external_id if service is None else f"{external_id}/{service}"
        high = f"({name}/{cursor}" if service and cursor else f"({name}0"
        members = await self._runner.link.call(
            "ZRANGE",
            keys.key("by_external"),
            *(high, f"[{name}/", "BYLEX", "REV", "LIMIT", 0, _MAX_SCANNED),
        )
        ids = {member.decode().rpartition("/")[2] for member in members}
        if service is not None:
            # An engine of schema 1 does not write the index.
            known = await self._runner.link.call(
                "HGET", keys.key("externals"), f"{service}/{external_id}"
            )
            ids |= {known.decode()} if known else set()
        older = sorted((job for job in ids if cursor is None or job < cursor), reverse=True)
        return older[:_PAGE_READ]

    async def cancel(
        self,
        ref: JobRef,
        actor: str,
        reason: str,
        *,
        code: str = CancelReason.OTHER,
        note: str = "",
        plan: ReturnPlan | None = None,
    ) -> Effects:
        args = {"actor": actor, "reason": reason, "code": code, "note": note, "plan": plan}
        reply = await self._runner.on_job("cancel", ref, args)
        return checked(reply, ref).effects

    async def ready(
        self,
        ref: JobRef,
        *,
        was: Job,
        body: bytes,
        card: bytes,
        need: Need,
        release_ms: int,
        etas: tuple[int, int] | None = None,
        actor: str,
        said: str | None = None,
        is_ready: bool = False,
    ) -> Effects | None:
        blobs = [was.body, body, card, pack(replace(need, service=was.service))]
        args: dict[str, object] = {
            "release_ms": release_ms,
            "expires_ms": need.expires_ms,
            "actor": actor,
        }
        if said is not None:
            args |= {"said": said, "is_ready": is_ready}
        if etas is not None:
            args["etas"] = {"attempt": was.attempt, "pickup_ms": etas[0], "dropoff_ms": etas[1]}
        reply = await self._runner.on_job("ready", ref, args, blobs)
        return None if reply.verdict == "again" else checked(reply, ref).effects

    async def shop_says(
        self, ref: JobRef, store: str, state: ShopState, actor: str, parcels: int | None = None
    ) -> Effects:
        args: dict[str, Any] = {"store": store, "state": state.value, "actor": actor}
        if parcels is not None:
            args["parcels"] = parcels
        reply = await self._runner.on_job("shop_says", ref, args)
        if reply.verdict == ErrorCode.BAD_FIELD:
            raise Refused(ErrorCode.BAD_FIELD)
        return checked(reply, ref).effects

    async def assign(self, ref: JobRef, driver: str, actor: str) -> Effects:
        reply = await self._runner.on_job("assign", ref, {"driver": driver, "actor": actor})
        if reply.verdict == "no_driver":
            raise NoSuchDriver(driver)
        if reply.verdict in _UNAVAILABLE:
            raise DriverUnavailable(_UNAVAILABLE[reply.verdict])
        return checked(reply, ref).effects

    async def release(
        self, ref: JobRef, attempt: int, outcome: Outcome, actor: str, reason: str
    ) -> Effects:
        args = {"attempt": attempt, "outcome": outcome.value, "actor": actor, "reason": reason}
        reply = await self._runner.on_job("release", ref, args)
        return checked(reply, ref).unless_refused().effects

    async def close(self, ref: JobRef, state: JobState, actor: str, reason: str) -> Effects:
        args = {"state": state.value, "actor": actor, "reason": reason}
        return checked(await self._runner.on_job("close", ref, args), ref).effects

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
        store: str | None = None,
        parcels: int | None = None,
        plan: ReturnPlan | None = None,
    ) -> Answered:
        args: dict[str, Any] = {"driver": driver, "attempt": attempt, "reason": reason}
        if step is Step.GIVE_UP:
            args |= {"outcome": Outcome.GAVE_UP.value, "actor": driver}
            reply = await self._runner.on_job("release", ref, args)
        else:
            args |= {"step": step.value, "at_ms": at_ms, "plan": plan}
            if store is not None:
                args["store"] = store
            if parcels is not None:
                args["parcels"] = parcels
            if proof is not None:
                args["proof"] = {"kind": proof.kind, "value": proof.value}
            # The market that the job's id names.
            more = [self._runner.keys_of(ref.job).key("dwell")]
            reply = await self._runner.on_job("progress", ref, args, more=more)
        if reply.verdict == ErrorCode.PROOF_NEEDED:
            missing = tuple(kind.decode() for kind in reply.rest[0])
            raise Refused(ErrorCode.PROOF_NEEDED, missing=missing)
        if reply.verdict == ErrorCode.WRONG_CODE:
            raise Refused(ErrorCode.WRONG_CODE, tries_left=next(iter(reply.rest), None))
        done = driver_answer(reply)
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> Answered:
        if market_of_job(job) != market:
            raise Refused(ErrorCode.NOT_YOURS)
        keys = self._runner.keys[market]
        mall = await read_field(self._runner.link, keys.job(job), "mall")
        args = {"driver": driver, "job": job, "attempt": attempt, "state": state}
        if at_ms is not None:
            args["at_ms"] = at_ms
        ref = JobRef(job, mall)
        reply = await self._runner.on_job(
            "claim", ref, args, more=[keys.key("lineage"), keys.key("alerted")]
        )
        done = driver_answer(reply)
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def report_lost(self, market: str, orders: Sequence[ConfirmedOrder]) -> Collection[str]:
        keys = self._runner.keys[market]
        jobs = [keys.job(order.job) for order in orders]
        reply = await self._runner.transition("lost_orders", keys, jobs, {"orders": orders})
        return {job.decode() for job in reply.rest[0]}

    async def tracked(self, token: str) -> Job | None:
        every = self._runner.keys.values()
        calls = [self._runner.link.call("HGET", it.key("tracked"), token) for it in every]
        found = next((job for job in await asyncio.gather(*calls) if job is not None), None)
        if found is None:
            return None
        try:
            return await self.get(found.decode())
        except NoSuchJob:
            return None

    async def end_tracking(self, job: str) -> None:
        keys = self._runner.keys_of(job)
        names = [keys.job(job), keys.key("tracked")]
        if not await self._runner.run("end_tracking", names, {"job": job}):
            raise NoSuchJob(job)

    async def arrive(self, ref: JobRef, driver: str, attempt: int) -> Effects:
        return (
            await self._runner.on_job("arrive", ref, {"driver": driver, "attempt": attempt})
        ).effects

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
        keys = self._runner.keys[market]
        args: dict[str, Any] = {
            "driver": driver,
            "kind": kind,
            "mall": mall,
            "job": job,
            "store": store,
            "text": text,
        }
        optional = {"until_ms": until_ms, "attempt": attempt, "at_ms": at_ms}
        args |= {name: value for name, value in optional.items() if value is not None}
        extra = [keys.wait(mall), keys.job(job), keys.key("holds")]
        reply = await self._runner.transition("problem", keys, extra, args)
        return replace(driver_answer(reply), is_new=bool(reply.rest[1]))

    async def update_etas(self, market: str, driver: str, stops: Sequence[Stop]) -> None:
        if not stops:
            return
        keys = self._runner.keys[market]
        times = [(stop.attempt, stop.eta_pickup_ms, stop.eta_dropoff_ms) for stop in stops]
        margin_ms = self._runner.risk_margin_ms[market]
        args = {
            "driver": driver,
            "margin_ms": margin_ms,
            "kept_ms": EVENTS_KEPT_MS,
            "stops": times,
        }
        names = [keys.key("risks"), keys.key("events"), *(keys.job(stop.job) for stop in stops)]
        await self._runner.run("etas", names, args)

    async def holds(self, market: str) -> Mapping[str, StoreHold]:
        return read_holds(
            await self._runner.link.call("HGETALL", self._runner.keys[market].key("holds"))
        )

    async def lift_hold(self, market: str, mall: str, store: str, until_ms: int) -> None:
        keys = self._runner.keys[market]
        names = [keys.key("holds"), keys.key("forget")]
        await self._runner.run(
            "lift_hold", names, {"place": f"{mall}/{store}", "until_ms": until_ms}
        )

    async def waiting(self, market: str, malls: Sequence[str]) -> Sequence[int]:
        keys = self._runner.keys[market]
        # In a city hundreds of malls are in reach, and jobs wait at few of them.
        if (limit := len(malls)) >= _MANY_MALLS:
            names = [keys.key("waiting")]
            total, waiting = await self._runner.run("waiting_malls", names, {"limit": limit})
            if total <= limit:
                counts = Counter(waiting)
                return [counts[mall.encode()] for mall in malls]
        calls = [self._runner.link.call("ZCARD", keys.wait(mall)) for mall in malls]
        return [int(count) for count in await asyncio.gather(*calls)]

    async def counts(self, market: str) -> Mapping[str, int]:
        flat = await self._runner.link.call("HGETALL", self._runner.keys[market].key("counts"))
        return {k.decode(): int(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}


def _digest(key: str) -> str:
    """Return the digest of an idempotency key, which may hold any character, for a Redis key."""
    return hashlib.sha256(key.encode()).hexdigest()
