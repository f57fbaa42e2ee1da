"""The port `Changes` on Redis: changes of stored orders."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mallard_engine.core.model import Job, Need
from mallard_engine.core.order_change import OrderChange
from mallard_engine.ports import Changes, Effects, JobRef, Stop
from mallard_engine.storage.calls.script_runner import ScriptRunner, checked
from mallard_engine.storage.records.jobs import readable_job
from mallard_engine.storage.records.packing import pack

_RETRIED = frozenset({"again", "late"})
_UNTIL_ITS_END = "terminal"


class RedisChanges(Changes):
    """Changes of orders on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def change(
        self,
        ref: JobRef,
        was: Job,
        change: OrderChange,
        *,
        actor: str,
        etas: Sequence[Stop] = (),
        unless_touched: bool = False,
    ) -> Effects | None:
        need = replace(change.need, service=was.service)
        args: dict[str, Any] = {
            "fields": change.fields,
            "until_state": change.until.value if change.until else _UNTIL_ITS_END,
            "stores": change.stores,
            "actor": actor,
            "expires_ms": need.expires_ms,
            "deadline_ms": need.deadline_ms,
            "release_ms": change.release_ms,
            "priority": need.priority,
            "demand": need.demand,
            "age_check": change.needs_age_check,
            "lead_ms": change.lead_ms,
            "haul_ms": change.haul_ms,
            "lat": need.lat,
            "lon": need.lon,
            "rules": change.changes_rules,
            "hold": change.changes_hold,
            "is_moved": change.is_moved,
            # Whether the change affects what rounds plan.
            "is_ranked": need != was.need,
        }
        optional = {
            "pay_minor": change.pay_minor,
            "shop_codes": change.shop_codes,
            "on_undeliverable": change.on_undeliverable,
        }
        args |= {name: value for name, value in optional.items() if value is not None}
        if unless_touched:
            args["seen"] = {
                "state": was.state.value,
                "attempt": was.attempt,
                "updated_ms": was.updated_ms,
            }
        if etas:
            args["etas"] = [
                {
                    "job": stop.job,
                    "attempt": stop.attempt,
                    "pickup_ms": stop.eta_pickup_ms,
                    "dropoff_ms": stop.eta_dropoff_ms,
                }
                for stop in etas
            ]
        blobs = [was.body, change.body, change.card, pack(need)]
        reply = await self._runner.on_job("change", ref, args, blobs)
        return None if reply.verdict in _RETRIED else checked(reply, ref).effects

    async def of_customer(
        self, market: str, ref: str, *, service: str | None, limit: int
    ) -> Sequence[Job]:
        keys = self._runner.keys[market]
        # "0" follows "/" in ASCII: the end of these names.
        prefix = ref if service is None else f"{ref}/{service}"
        members = await self._runner.link.call(
            *("ZRANGE", keys.key("by_customer"), f"[{prefix}/", f"({prefix}0"),
            *("BYLEX", "LIMIT", 0, limit),
        )
        jobs = [member.decode().rpartition("/")[2] for member in members]
        flats = [await self._runner.link.call("HGETALL", keys.job(job)) for job in jobs]
        known = [readable_job(job, flat) for job, flat in zip(jobs, flats, strict=True)]
        return [job for job in known if job is not None]

    async def erase(
        self, was: Job, *, body: bytes, need: Need, ref: str, actor: str
    ) -> Effects | None:
        job = JobRef(was.id, was.mall)
        args = {"customer_ref": ref, "actor": actor}
        blobs = [was.body, body, pack(replace(need, service=was.service))]
        reply = await self._runner.on_job("erase", job, args, blobs)
        return reply.effects if reply.verdict == "ok" else None
