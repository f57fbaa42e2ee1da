"""Commands of order services and operators: each is one transition and its effects."""

import asyncio
from dataclasses import replace

from mallard_engine.core.model import Job, Need, RoundRecord, Submission
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.drivers.geofence_arrivals import GeofenceArrivals
from mallard_engine.dispatch.pickup_eta import PickupEta
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.dispatch.rounds.speculative_offer import SpeculativeOffer
from mallard_engine.ports import Effects, JobRef, Submitted
from mallard_protocol.lifecycle import JobState, Outcome


class OrderCommands:
    """Executes commands on jobs and applies their effects with ``apply_effects``."""

    def __init__(
        self,
        context: Context,
        rounds: RoundScheduler,
        arrivals: GeofenceArrivals,
        tasks: Tasks,
        apply_effects: ApplyEffects,
    ) -> None:
        self._context = context
        self._jobs = context.storage.jobs
        self._rounds = rounds
        self._arrivals = arrivals
        self._pickup_eta = PickupEta(context)
        self._tasks = tasks
        self._apply_effects = apply_effects

    def speculate(self, mall: str) -> SpeculativeOffer:
        """Look for drivers ahead of an order that is still being read. Close it in the end,
        whatever becomes of the order. Nobody looks at a mall that there is not, at one whose jobs
        go through batches or are pooled, nor where travel times have to be waited for: a submission
        never waits for its match."""
        if mall not in self._context.places.malls or not self._rounds.may_speculate(mall):
            return SpeculativeOffer(None)
        rounds = self._rounds.at(mall)
        return SpeculativeOffer(None if rounds.waits_for_travel else rounds)

    async def submit(
        self, submission: Submission, early: SpeculativeOffer | None = None
    ) -> Submitted:
        """See :meth:`mallard_engine.ports.Jobs.submit`; the job's offer, or its round, follows at
        once."""
        if submission.state is not JobState.QUEUED:
            submitted = await self._jobs.submit(submission)
            self._apply_effects(submission.market, submitted.effects)
            return submitted
        if early is not None and await early.finds(submission):
            # It begins one turn later, so its offer leaves right behind the submission on the same
            # line. If that is refused, or an earlier one stands for it, there is no such job.
            self._tasks.start(
                self._offer_speculatively(submission, early), f"offer {submission.job}"
            )
            submitted = await self._jobs.submit(submission)
            self._apply_effects(submission.market, replace(submitted.effects, malls=(), queued=()))
            # Where both answers came together the offer goes out before this one is written. Where
            # they did not, nobody waits: a submission never waits for its match.
            await asyncio.sleep(0)
            return submitted
        if early is not None:
            early.close()
        # The round is woken before the store has answered: its first look leaves right behind the
        # submission, so it finds the job.
        self._rounds.wake(submission.mall, submission.job)
        submitted = await self._jobs.submit(submission)
        self._apply_effects(submission.market, replace(submitted.effects, malls=(), queued=()))
        return submitted

    async def _offer_speculatively(self, submission: Submission, early: SpeculativeOffer) -> None:
        if not await early.offer():
            self._rounds.wake(submission.mall, submission.job)

    async def cancel(self, ref: JobRef, actor: str, reason: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.cancel`."""
        self._apply_to_job(ref, await self._jobs.cancel(ref, actor, reason))

    async def ready(
        self, ref: JobRef, *, was: Job, body: bytes, card: bytes, need: Need, release_ms: int
    ) -> bool:
        """See :meth:`mallard_engine.ports.Jobs.ready`; False if the order changed meanwhile."""
        effects = await self._jobs.ready(
            ref,
            was=was,
            body=body,
            card=card,
            need=need,
            release_ms=release_ms,
            etas=await self._pickup_eta.etas(was, need),
        )
        if effects is not None:
            self._apply_to_job(ref, effects)
        return effects is not None

    async def lift_hold(self, mall: str, store: str, until_ms: int) -> None:
        """See :meth:`mallard_engine.ports.Jobs.lift_hold`; the mall's jobs look for drivers
        again."""
        market = self._context.places.market_of_mall(mall).id
        await self._jobs.lift_hold(market, mall, store, until_ms)
        self._rounds.wake(mall)

    def tour(self, job: Job) -> Tour:
        """The way through the stores for whoever holds the job."""
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

    async def quote(self, mall: str, need: Need) -> RoundRecord:
        """The round that such a job would get now; nothing is stored."""
        return await self._rounds.at(mall).quote(need)

    def release_ms(self, mall: str, need: Need, now_ms: int) -> int:
        """See :meth:`Context.release_ms`."""
        market = self._context.places.market_of_mall(mall).id
        return self._context.release_ms(market, need, now_ms)

    def _apply_to_job(self, ref: JobRef, effects: Effects) -> None:
        self._apply_effects(self._context.places.market_of_mall(ref.mall).id, effects)
