"""Commands of order services and operators: each is one transition and its effects."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from mallard_engine.core.model import Job, Need, ReturnPlace, RoundRecord, Submission
from mallard_engine.core.order_change import OrderChange
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.dispatch.confirmed import Confirmed, ConfirmedStep
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.drivers.geofence_arrivals import GeofenceArrivals
from mallard_engine.dispatch.etas.course import changed_course
from mallard_engine.dispatch.etas.pickup_eta import PickupEta
from mallard_engine.dispatch.returns import Returns
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.dispatch.rounds.speculative_offer import SpeculativeOffer
from mallard_engine.ports import Effects, JobRef, Submitted
from mallard_protocol.codes import AnswerAction, CancelReason, ServiceLevel
from mallard_protocol.lifecycle import JobState, Outcome


class OrderCommands:
    """Executes commands on jobs and applies their effects."""

    def __init__(
        self,
        context: Context,
        rounds: RoundScheduler,
        arrivals: GeofenceArrivals,
        returns: Returns,
        tasks: Tasks,
        apply_effects: ApplyEffects,
        confirmed: Confirmed,
    ) -> None:
        self._context = context
        self._jobs = context.storage.jobs
        self._rounds = rounds
        self._arrivals = arrivals
        self._returns = returns
        self._pickup_eta = PickupEta(context)
        self._tasks = tasks
        self._apply_effects = apply_effects
        self._confirmed = confirmed

    def speculate(self, mall: str, level: ServiceLevel | None = None) -> SpeculativeOffer:
        """Start searching for drivers while an order is still being checked.

        Does nothing for an unknown mall, for orders that may be held, in a market with batch rounds
        or where an operator has paused something, and where travel times come over a network: a
        submission never waits for its match.

        Args:
            mall: the mall of the order.
            level: its service level; None: the market's preset.
        """
        if mall not in self._context.places.malls:
            return SpeculativeOffer(None)
        market = self._context.places.market_of_mall(mall).id
        if self._context.pauses.get(market):
            return SpeculativeOffer(None)
        policy = self._context.policy(market)
        level = level or ServiceLevel(policy.preset)
        if not self._rounds.may_speculate(mall, level):
            return SpeculativeOffer(None)
        rounds = self._rounds.at(mall)
        return SpeculativeOffer(
            None if rounds.waits_for_travel else rounds,
            # Where every order is express, they keep their order.
            overtakes=policy.plans_runs
            and level is ServiceLevel.EXPRESS
            and policy.preset != "express",
        )

    async def submit(
        self, submission: Submission, early: SpeculativeOffer | None = None
    ) -> Submitted:
        """See :meth:`mallard_engine.ports.Jobs.submit`. Starts the job's offer or round."""
        submitted = await self._submit(self._with_course(submission), early)
        self._confirmed.order(submission.market, submitted.job)
        return submitted

    async def _submit(self, submission: Submission, early: SpeculativeOffer | None) -> Submitted:
        if submission.state is not JobState.QUEUED:
            submitted = await self._jobs.submit(submission)
            self._apply_effects(submission.market, submitted.effects)
            return submitted
        if early is not None and await early.finds(submission):
            # The task starts one turn of the loop later: the offer is sent right after the
            # submission, on the same connection. If the submission is refused or repeated, the
            # offer finds no job.
            self._tasks.start(
                self._offer_speculatively(submission, early), f"offer {submission.job}"
            )
            submitted = await self._jobs.submit(submission)
            self._apply_effects(submission.market, replace(submitted.effects, malls=(), queued=()))
            # If both replies have come together, the offer is pushed before the response is
            # written. If not, the response does not wait.
            await asyncio.sleep(0)
            return submitted
        if early is not None:
            early.close()
        # Wake the round before the storage has answered: its first search is sent right after the
        # submission, on the same connection, and finds the job.
        self._rounds.wake(submission.mall, submission.job)
        submitted = await self._jobs.submit(submission)
        self._apply_effects(submission.market, replace(submitted.effects, malls=(), queued=()))
        return submitted

    def _with_course(self, submission: Submission) -> Submission:
        lead_ms, haul_ms = self._course_ms(submission.mall, submission.need)
        return replace(submission, lead_ms=lead_ms, haul_ms=haul_ms)

    def _course_ms(self, mall_id: str, need: Need) -> tuple[int, int]:
        mall = self._context.places.malls.get(mall_id)
        # A reload of the places may have removed the mall or a shop since the order was validated.
        if mall is None or not all(store in mall.stores for store in need.stores):
            return 0, 0
        return self._context.course_ms(mall, need, self._context.storage.now_ms())

    async def _offer_speculatively(self, submission: Submission, early: SpeculativeOffer) -> None:
        if not await early.offer():
            self._rounds.wake(submission.mall, submission.job)

    async def cancel(
        self,
        ref: JobRef,
        actor: str,
        reason: str,
        *,
        code: CancelReason = CancelReason.OTHER,
        note: str = "",
        job: Job | None = None,
    ) -> None:
        """See :meth:`mallard_engine.ports.Jobs.cancel`. ``job``: as it was read last."""
        is_on_board = job is not None and job.state is JobState.PICKED_UP
        plan = await self._returns.plan(job) if job and is_on_board else None
        effects = await self._jobs.cancel(ref, actor, reason, code=code, note=note, plan=plan)
        self._apply_to_job(ref, effects)
        redo = partial(self.cancel, ref, actor, reason, code=code, note=note, job=job)
        self._confirm(ref, JobState.RETURNING if is_on_board else JobState.CANCELLED, redo)

    def _confirm(self, ref: JobRef, state: JobState, redo: Callable[[], Awaitable[None]]) -> None:
        market = self._context.places.market_of_mall(ref.mall).id
        self._confirmed.step(market, ConfirmedStep(ref.job, state, redo))

    async def answer(
        self, job: Job, problem: str, *, action: AnswerAction, text: str, actor: str
    ) -> None:
        """See :meth:`mallard_engine.ports.Returns.answer`."""
        ref = JobRef(job.id, job.mall)
        effects = await self._context.storage.returns.answer(
            ref,
            problem,
            action=action.value,
            text=text,
            actor=actor,
            plan=await self._returns.plan(job) if job.state is JobState.PICKED_UP else None,
        )
        self._apply_to_job(ref, effects)

    async def received(self, ref: JobRef, actor: str) -> None:
        """See :meth:`mallard_engine.ports.Returns.received`."""
        self._apply_to_job(ref, await self._context.storage.returns.received(ref, actor))
        self._confirm(ref, JobState.RETURNED, partial(self.received, ref, actor))

    async def return_place(self, job: Job) -> ReturnPlace | None:
        """Return where a job went back to; where it would now, if that is not stored."""
        if job.return_to is not None:
            return job.return_to
        plan = await self._returns.plan(job)
        return plan.place if plan else None

    async def ready(
        self,
        ref: JobRef,
        *,
        was: Job,
        body: bytes,
        card: bytes,
        need: Need,
        release_ms: int,
        actor: str,
        said: str | None = None,
        is_ready: bool = False,
    ) -> bool:
        """See :meth:`mallard_engine.ports.Jobs.ready`. Return False if the order has changed."""
        effects = await self._jobs.ready(
            ref,
            was=was,
            body=body,
            card=card,
            need=need,
            release_ms=release_ms,
            etas=await self._pickup_eta.etas(was, need),
            actor=actor,
            said=said,
            is_ready=is_ready,
        )
        if effects is not None:
            self._apply_to_job(ref, effects)
        return effects is not None

    async def change(
        self,
        ref: JobRef,
        was: Job,
        change: OrderChange,
        *,
        actor: str,
        unless_touched: bool = False,
    ) -> bool:
        """See :meth:`mallard_engine.ports.Changes.change`. Return False if it must be read again.

        The times of the holder's whole run follow in the same step.
        """
        lead_ms, haul_ms = self._course_ms(ref.mall, change.need)
        change = replace(change, lead_ms=lead_ms, haul_ms=haul_ms)
        etas = (
            await changed_course(self._context, was, change.need) if change.changes_course else ()
        )
        effects = await self._context.storage.changes.change(
            ref, was, change, actor=actor, etas=etas, unless_touched=unless_touched
        )
        if effects is not None:
            self._apply_to_job(ref, effects)
        return effects is not None

    async def erase(self, was: Job, *, body: bytes, need: Need, ref: str, actor: str) -> bool:
        """See :meth:`mallard_engine.ports.Changes.erase`. Return False if nothing was erased."""
        changes = self._context.storage.changes
        effects = await changes.erase(was, body=body, need=need, ref=ref, actor=actor)
        if effects is not None:
            self._apply_to_job(JobRef(was.id, was.mall), effects)
        return effects is not None

    async def lift_hold(self, mall: str, store: str, until_ms: int) -> None:
        """See :meth:`mallard_engine.ports.Jobs.lift_hold`. Wakes the mall's rounds."""
        market = self._context.places.market_of_mall(mall).id
        await self._jobs.lift_hold(market, mall, store, until_ms)
        self._rounds.wake(mall, driver=True)

    def tour(self, job: Job) -> Tour:
        """Return the tour of the stores for the job's holder."""
        return self._pickup_eta.tour(job)

    async def assign(self, ref: JobRef, driver: str, actor: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.assign`."""
        self._apply_to_job(ref, await self._jobs.assign(ref, driver, actor))
        self._arrivals.look_again(self._context.places.market_of_mall(ref.mall).id, driver)

    async def unassign(self, ref: JobRef, attempt: int, actor: str, reason: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.release`."""
        effects = await self._jobs.release(ref, attempt, Outcome.UNASSIGNED, actor, reason)
        self._apply_to_job(ref, effects)

    async def close(self, ref: JobRef, state: JobState, actor: str, reason: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.close`."""
        self._apply_to_job(ref, await self._jobs.close(ref, state, actor, reason))
        self._confirm(ref, state, partial(self.close, ref, state, actor, reason))

    async def quote(self, mall: str, need: Need) -> RoundRecord:
        """Return the round that such a job would get now. Nothing is stored."""
        return await self._rounds.at(mall).quote(need)

    def preset(self, market: str) -> ServiceLevel:
        """Return the service level of the market's orders that name none."""
        return ServiceLevel(self._context.policy(market).preset)

    def release_ms(self, mall: str, need: Need, now_ms: int) -> int:
        """See :meth:`Context.release_ms`."""
        market = self._context.places.market_of_mall(mall).id
        return self._context.release_ms(market, need, now_ms)

    def _apply_to_job(self, ref: JobRef, effects: Effects) -> None:
        self._apply_effects(self._context.places.market_of_mall(ref.mall).id, effects)
