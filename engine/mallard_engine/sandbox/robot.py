"""A robot driver of the sandbox: a simulated driver app that acts as the order's ending says."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import structlog

from mallard_client.driver.state import HeldJob
from mallard_client.errors import ClientError
from mallard_client.operator_client import OperatorClient
from mallard_engine.contract.sandbox import PIN, Ending
from mallard_engine.logs import RateLimitedLog
from mallard_engine.sandbox import plan
from mallard_engine.sandbox.shops import Shops
from mallard_engine.workload.fleet_driver import FleetDriver
from mallard_protocol.codes import ID_CHECK, AnswerAction, RequiredProof
from mallard_protocol.lifecycle import JobState, Step
from mallard_protocol.messages import Offer, Proof
from mallard_protocol.resources import Job

_log = RateLimitedLog(structlog.get_logger(__name__))
_LATE_S: Final = 2.0
_AT_DOOR_S: Final = 60.0
_TURNS_AFTER_S: Final = 0.5
_TRY_AGAIN_S: Final = 5.0
_POLL_S: Final = 0.2
_WRONG_CODE: Final = "wrong"
_IMAGES: Final = frozenset({RequiredProof.PHOTO, RequiredProof.SIGNATURE})


class Robot(FleetDriver):
    """See the module.

    Args:
        operator: reads the ending of a job, and makes an operator's calls.
        shops: the shops of the sandbox.
    """

    def __init__(self, *args: Any, operator: OperatorClient, shops: Shops, **options: Any) -> None:
        super().__init__(*args, **options)
        self._operator = operator
        self._shops = shops
        # The jobs that the robot carries, as they were when it last looked.
        self._seen: dict[str, Job] = {}
        self._broken_down: set[str] = set()

    async def try_again(self) -> None:
        """Report refused steps again from time to time, until cancelled."""
        while True:
            await asyncio.sleep(_TRY_AGAIN_S)
            if self._stuck:
                self._stuck.clear()
                self._jobs_changed.set()

    async def _answer(self, offer: Offer, *, accept: bool) -> None:
        jobs = [await self._look(short.job) for short in offer.jobs]
        is_taken = all(job is None or plan.accepts(job) for job in jobs)
        await super()._answer(offer, accept=accept and is_taken)

    async def _pick_up(self, job: HeldJob) -> bool:
        seen = await self._look(job.job)
        trouble = plan.at_counter(seen) if seen else None
        if trouble is Ending.CANCELLED_BY_DRIVER:
            return await self._do(job.job, Step.GIVE_UP) and False
        if trouble is Ending.CANCELLED:
            return await self._operate(self._operator.cancel(job.job, "store")) and False
        if trouble in {Ending.MISSING, Ending.HELD}:
            return await self._find_nothing(job)
        if trouble is Ending.SHORT:
            return await self._take_fewer(job)
        if trouble is Ending.LATE:
            await self._wait_for_shop(job)
        if trouble is Ending.WRONG_CODE:
            return await self._type_wrong_code(job)
        return await super()._pick_up(job)

    async def _find_nothing(self, job: HeldJob) -> bool:
        for shop in job.detail.stores:
            if await self._problem("missing", job, shop.store):
                self._shops.will_find(job.job)
        return False

    async def _take_fewer(self, job: HeldJob) -> bool:
        shops = job.detail.stores
        left = plan.short_parcels(shop.parcels for shop in shops)
        for shop, parcels in zip(shops, left, strict=True):
            if parcels < shop.parcels and job.detail.on_short != "deliver":
                if await self._problem("partial", job, shop.store):
                    self._shops.will_find(job.job)
                return False
            await self._ask(self.client.collected(job.job, shop.store, parcels))
        return self._has_on_board(job.job)

    async def _wait_for_shop(self, job: HeldJob) -> None:
        until_ms = self.client.server_now_ms() + round(_LATE_S * 1000)
        await self._problem("not_ready", job, job.detail.stores[0].store, until_ms)
        await asyncio.sleep(_LATE_S)

    async def _type_wrong_code(self, job: HeldJob) -> bool:
        for shop in job.detail.stores:
            code = None
            if shop.pickup_code:
                wrong = self.client.collected(job.job, shop.store, proof=Proof("code", _WRONG_CODE))
                await self._ask(wrong)
                code = Proof("code", shop.pickup_code)
            await self._ask(self.client.collected(job.job, shop.store, proof=code))
        return self._has_on_board(job.job)

    def _breaks_down(self) -> bool:
        for job in self._jobs():
            seen = self._seen.get(job.job)
            if seen and plan.breaks_down(seen) and job.job not in self._broken_down:
                self._broken_down.add(job.job)
                return True
        return False

    async def _hand_over(self, job: HeldJob) -> None:
        if job.state != JobState.RETURNING:
            await super()._hand_over(job)
            return
        seen = await self._look(job.job)
        if seen and plan.turns_round(seen):
            await asyncio.sleep(_TURNS_AFTER_S)
            if await self._ask(self.client.resume(job.job)):
                return
        await self._bring_back(job)

    async def _deliver(self, job: HeldJob) -> None:
        seen = await self._look(job.job)
        trouble = plan.at_door(seen) if seen else None
        if trouble is Ending.LOST:
            await self._operate(self._operator.close_job(job.job, "lost", "the robot lost it"))
        elif trouble is Ending.TURNED_ROUND:
            await self._ask(self.client.returning(job.job, "wrong turn"))
        elif seen is not None and trouble is not None:
            if not plan.is_reported(seen, trouble):
                await self._ask(self.client.at_door(job.job))
                await self._problem(plan.DOOR_PROBLEMS[trouble], job)
            await self._find_nobody(job, trouble)
        elif self._has_on_board(job.job):
            await self._ask(self.client.at_door(job.job))
            await self._give(job)

    async def _find_nobody(self, job: HeldJob, trouble: Ending) -> None:
        """Wait until the parcels that nobody takes go back, or for an answer."""
        if trouble is Ending.UNDELIVERABLE_LEFT:
            await self._leave_it(job)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _AT_DOOR_S
        while loop.time() < until_s and self._has_on_board(job.job):
            answer = self.client.jobs[job.job].detail.answer
            if answer and answer.action in {AnswerAction.RETRY, AnswerAction.LEAVE}:
                if answer.action == AnswerAction.LEAVE:
                    await self._give(job)
                return
            await asyncio.sleep(_POLL_S)
        if self._has_on_board(job.job):
            await self._ask(self.client.returning(job.job, trouble.value))

    async def _leave_it(self, job: HeldJob) -> None:
        """Answer the open problem of a job with ``leave``, as an operator."""
        seen = await self._look(job.job)
        for problem in seen.problems if seen else ():
            if problem.state == "open" and problem.kind == "customer_unreachable":
                answer = self._operator.answer(job.job, problem.id, "leave", "at the door")
                await self._operate(answer)

    async def _give(self, job: HeldJob) -> None:
        """Give the parcels with every proof that they need; without one they go back."""
        held = self.client.jobs.get(job.job, job).detail
        kinds: list[str | None] = [*held.proof_required]
        if held.answer and held.answer.action == AnswerAction.LEAVE:
            kinds = [*{*kinds, RequiredProof.PHOTO.value}]
        if ID_CHECK in held.requires and RequiredProof.AGE_CHECK not in kinds:
            kinds.append(RequiredProof.AGE_CHECK)
        for kind in kinds or [None]:
            proof = await self._proof(kind)
            # Each but the last is answered with what is still missing.
            if await self._ask(self.client.progress(job.job, Step.DELIVERED, proof=proof)):
                self._tally.counts["delivered"] += 1
                return
        if self._has_on_board(job.job):
            await self._ask(self.client.returning(job.job, "proof"))

    async def _proof(self, kind: str | None) -> Proof | None:
        if kind is None:
            return None
        if kind == RequiredProof.PIN:
            return Proof("code", PIN)
        if kind in _IMAGES:
            photo = await self._photo()
            return Proof("signature" if kind == RequiredProof.SIGNATURE else "photo", photo or "")
        return Proof("age_checked")

    async def _look(self, job: str) -> Job | None:
        """Return the job as an operator sees it; None if it cannot be read."""
        try:
            seen = await self._operator.get(job)
        except ClientError as error:
            _log.warning("robot cannot read its job", reason=type(error).__name__, market="sandbox")
            return None
        self._seen = {held: self._seen[held] for held in self.client.jobs if held in self._seen}
        self._seen[job] = seen
        return seen

    async def _operate(self, call: Awaitable[object]) -> bool:
        """Make an operator's call and wait until the robot sees its effect."""
        try:
            await call
        except ClientError as error:
            _log.warning("robot's operator failed", reason=type(error).__name__, market="sandbox")
            return False
        await asyncio.sleep(_POLL_S)
        return True
