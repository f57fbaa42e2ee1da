"""The port `Transfers` on Redis: parcels on board that go from one driver to another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from mallard_engine.ports import (
    Answered,
    DriverUnavailable,
    DueEntry,
    Effects,
    JobRef,
    NoSuchDriver,
    Refused,
    TransferOpen,
    TransferPlan,
    Transfers,
)
from mallard_engine.storage.calls.script_runner import ScriptRunner, driver_answer
from mallard_engine.storage.records.jobs import read_job
from mallard_engine.storage.records.packing import pack
from mallard_protocol.codes import ErrorCode
from mallard_protocol.messages import Proof

# No token has this name: transfers are shown to operators alone.
ENGINE_SERVICE: Final = "~engine"
# A transfer has no order.
_NO_ORDER: Final = b"{}"
_UNAVAILABLE: Final = {
    "suspended": "the driver is suspended",
    "busy": "the driver has no room for them or has a live offer",
}


class RedisTransfers(Transfers):
    """Transfers on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def begin(self, market: str, plan: TransferPlan) -> Effects | None:
        keys = self._runner.keys[market]
        extra = [
            keys.wait(plan.mall),
            keys.job(plan.job),
            keys.key("by_service"),
            keys.key("by_age"),
            *(keys.job(job.id) for job in plan.held),
            *(keys.wait(job.mall) for job in plan.held),
            *(keys.job(job.transfer_job or job.id) for job in plan.held),
        ]
        need = replace(plan.need, service=ENGINE_SERVICE)
        args: dict[str, Any] = {
            "job": plan.job,
            "market": market,
            "mall": plan.mall,
            "service": ENGINE_SERVICE,
            "first": plan.first,
            "pauses": plan.pauses,
            "held": [job.id for job in plan.held],
            "carries": [{"job": job.id, "attempt": job.attempt} for job in plan.carries],
            "actor": plan.actor,
            "code": plan.code,
            "expires_ms": need.expires_ms,
            "demand": need.demand,
        }
        if plan.driver is not None:
            args["driver"] = plan.driver
        blobs = [_NO_ORDER, plan.card, pack(need)]
        reply = await self._runner.transition("transfer", keys, extra, args, blobs)
        if reply.verdict == "no_driver":
            raise NoSuchDriver(plan.driver or plan.first)
        if reply.verdict in _UNAVAILABLE:
            raise DriverUnavailable(_UNAVAILABLE[reply.verdict])
        if reply.verdict == "open":
            raise TransferOpen(reply.rest[0].decode())
        return None if reply.verdict == "again" else reply.effects

    async def take_over(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        *,
        at_ms: int | None,
        proof: Proof | None,
        jobs: Sequence[str] | None,
    ) -> Answered:
        args: dict[str, Any] = {"driver": driver, "attempt": attempt, "step": "picked_up"}
        if at_ms is not None:
            args["at_ms"] = at_ms
        if proof is not None:
            args["proof"] = {"kind": proof.kind, "value": proof.value}
        if jobs is not None:
            args["jobs"] = jobs
        reply = await self._runner.on_job("take_over", ref, args)
        if reply.verdict == ErrorCode.PROOF_NEEDED:
            missing = tuple(kind.decode() for kind in reply.rest[0])
            raise Refused(ErrorCode.PROOF_NEEDED, missing=missing)
        if reply.verdict == ErrorCode.WRONG_CODE:
            raise Refused(ErrorCode.WRONG_CODE, tries_left=reply.rest[0])
        done = driver_answer(reply)
        state, number, got = reply.rest[1:]
        return replace(
            done,
            job_state=state.decode(),
            attempt=number,
            jobs=tuple(read_job(flat) for flat in got),
        )

    async def settle(self, entry: DueEntry) -> Effects:
        ref = JobRef(entry.id, entry.mall)
        return (await self._runner.on_job("settle_transfer", ref, {"member": entry.member})).effects
