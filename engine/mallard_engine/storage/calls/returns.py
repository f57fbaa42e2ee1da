"""The port `Returns` on Redis: what happens at the door, and the way back."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mallard_engine.core.model import Job, ReturnPlan
from mallard_engine.ports import (
    Answered,
    DueEntry,
    Effects,
    JobRef,
    NoSuchProblem,
    Refused,
    Returns,
)
from mallard_engine.storage.calls.script_runner import ScriptRunner, checked, driver_answer
from mallard_protocol.codes import ErrorCode
from mallard_protocol.messages import Proof


class RedisReturns(Returns):
    """Returns on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def undelivered(
        self,
        ref: JobRef,
        driver: str,
        *,
        kind: str,
        store: str,
        until_ms: int | None,
        text: str,
        attempt: int | None,
        at_ms: int | None,
        plan: ReturnPlan | None,
    ) -> Answered:
        args: dict[str, Any] = {"driver": driver, "kind": kind, "store": store, "text": text}
        optional = {"until_ms": until_ms, "attempt": attempt, "at_ms": at_ms}
        args |= {name: value for name, value in optional.items() if value is not None}
        reply = await self._runner.on_job("undelivered", ref, args | _with(plan))
        return replace(driver_answer(reply), is_new=bool(reply.rest[1]))

    async def answer(
        self,
        ref: JobRef,
        problem: str,
        *,
        action: str,
        text: str,
        actor: str,
        plan: ReturnPlan | None,
    ) -> Effects:
        args = {"problem": problem, "action": action, "text": text, "actor": actor}
        reply = await self._runner.on_job("answer", ref, args | _with(plan))
        if reply.verdict == "no_problem":
            raise NoSuchProblem(problem)
        return checked(reply, ref).effects

    async def returned(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        *,
        at_ms: int | None,
        proof: Proof | None,
        reason: str,
        at_place: bool,
        plan: ReturnPlan | None,
    ) -> Answered:
        args: dict[str, Any] = {"driver": driver, "attempt": attempt, "at_place": at_place}
        args |= {"step": "returned", "reason": reason, "at_ms": at_ms}
        if proof is not None:
            args["proof"] = {"kind": proof.kind, "value": proof.value}
        reply = await self._runner.on_job("returned", ref, args | _with(plan))
        if reply.verdict == ErrorCode.PROOF_NEEDED:
            missing = tuple(kind.decode() for kind in reply.rest[0])
            raise Refused(ErrorCode.PROOF_NEEDED, missing=missing)
        if reply.verdict == ErrorCode.WRONG_CODE:
            raise Refused(ErrorCode.WRONG_CODE, tries_left=reply.rest[0])
        done = driver_answer(reply)
        return replace(done, job_state=reply.rest[1].decode(), attempt=reply.rest[2])

    async def received(self, ref: JobRef, actor: str, reason: str = "") -> Effects:
        args = {"actor": actor, "cause": "received", "step": "returned", "reason": reason}
        return checked(await self._runner.on_job("returned", ref, args), ref).effects

    async def show_codes(self, market: str, mall: str, store: str, jobs: Sequence[str]) -> None:
        keys, args = self._runner.keys[market], {"mall": mall, "store": store}
        calls = [self._runner.run("show_code", [keys.job(job)], args) for job in jobs]
        await asyncio.gather(*calls)

    async def note_at_place(self, job: Job, mall: str) -> Effects:
        args = {"driver": job.driver, "attempt": job.attempt, "mall": mall}
        reply = await self._runner.on_job("at_return_place", JobRef(job.id, job.mall), args)
        return reply.effects

    async def act_at_door(self, entry: DueEntry, attempt: int, plan: ReturnPlan | None) -> Effects:
        args = {"member": entry.member, "attempt": attempt}
        reply = await self._runner.on_job("door", JobRef(entry.id, entry.mall), args | _with(plan))
        return reply.effects

    async def set_place(self, entry: DueEntry, attempt: int, plan: ReturnPlan) -> Effects:
        args = {"member": entry.member, "attempt": attempt} | _with(plan)
        reply = await self._runner.on_job("return_place", JobRef(entry.id, entry.mall), args)
        return reply.effects


def _with(plan: ReturnPlan | None) -> dict[str, Any]:
    return {} if plan is None else {"plan": plan}
