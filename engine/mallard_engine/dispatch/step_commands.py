"""Commands of drivers on their jobs: steps and problems."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from mallard_engine.core.places.meeting import is_meeting
from mallard_engine.dispatch.confirmed import Confirmed, ConfirmedProblem, ConfirmedStep
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.dispatch.drivers.driver_reach import DriverReach
from mallard_engine.dispatch.drivers.plans import DriverPlans
from mallard_engine.dispatch.etas.course import new_course
from mallard_engine.dispatch.leases import NodeLeases
from mallard_engine.dispatch.offer_commands import OfferCommands
from mallard_engine.dispatch.returns import Returns
from mallard_engine.ports import (
    Answered,
    JobRef,
    NoSuchDriver,
    NoSuchJob,
    Refused,
    StoreUnavailable,
)
from mallard_protocol.codes import CUSTOMER_PROBLEMS, DANGERS, ErrorCode
from mallard_protocol.lifecycle import JobState, Step
from mallard_protocol.messages import Proof

# Refusals for which lost writes may be the reason: the step before this one may be among them.
_DOUBTFUL: Final = frozenset({ErrorCode.NOT_YOURS, ErrorCode.STALE_ATTEMPT, ErrorCode.WRONG_STATE})


@dataclass(frozen=True, slots=True)
class StepReport:
    """A driver's report of a step; see :meth:`mallard_engine.ports.Jobs.progress`.

    ``jobs``: for the pickup of a transfer, see :meth:`mallard_engine.ports.Transfers.take_over`.
    """

    ref: JobRef
    driver: str
    attempt: int
    step: Step
    at_ms: int | None = None
    proof: Proof | None = None
    reason: str = ""
    store: str | None = None
    parcels: int | None = None
    jobs: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemReport:
    """A driver's report of a problem; see :meth:`mallard_engine.ports.Jobs.problem`.

    ``mall``, ``job``, ``store``: empty if it is not about one.
    """

    driver: str
    kind: str
    mall: str = ""
    job: str = ""
    store: str = ""
    until_ms: int | None = None
    text: str = ""
    attempt: int | None = None
    at_ms: int | None = None


class StepCommands:
    """Executes commands of drivers on their jobs and applies their effects.

    Args:
        context: What all parts share.
        offers: Withdraws the live offer of a driver whose room is taken.
        plans: What this node has planned for its drivers.
        reach: The drivers of this node.
        returns: The way back of jobs.
        apply_effects: Applies effects in a market.
        leases: The leases of this node.
        confirmed: Remembers the steps and problems that were confirmed.
    """

    def __init__(
        self,
        context: Context,
        offers: OfferCommands,
        plans: DriverPlans,
        reach: DriverReach,
        returns: Returns,
        apply_effects: ApplyEffects,
        leases: NodeLeases,
        confirmed: Confirmed,
    ) -> None:
        self._context = context
        self._jobs = context.storage.jobs
        self._offers = offers
        self._plans = plans
        self._reach = reach
        self._returns = returns
        self._apply_effects = apply_effects
        self._leases = leases
        self._confirmed = confirmed

    async def progress(self, report: StepReport) -> Answered:
        """Record a step.

        Withdraws the live offer of a driver who reports custody of a parcel of another attempt.

        Raises:
            StoreUnavailable: also if the step may be refused only because of lost writes.
        """
        async with self._unless_forgotten(self._market(report.ref)):
            return await self._progress(report)

    @asynccontextmanager
    async def _unless_forgotten(self, market: str) -> AsyncIterator[None]:
        """Refuse nothing while lost writes are not restored: the app would drop its report."""
        known = self._leases.standing(market)
        try:
            yield
        except (NoSuchJob, Refused) as refused:
            is_doubtful = isinstance(refused, NoSuchJob) or refused.code in _DOUBTFUL
            if is_doubtful and not await self._leases.has_kept(market, known):
                raise StoreUnavailable("lost writes are being restored") from refused
            raise

    def _market(self, ref: JobRef) -> str:
        return self._context.places.market_of_mall(ref.mall).id

    async def _progress(self, report: StepReport) -> Answered:
        ref, driver, attempt, step = report.ref, report.driver, report.attempt, report.step
        if step is Step.PICKED_UP and is_meeting(ref.mall):
            return await self._take_over(report)
        if report.jobs is not None:
            raise Refused(ErrorCode.BAD_FIELD)
        if step is Step.RETURNED:
            answered = await self._returned(report)
        else:
            plan = None
            if step is Step.RETURNING:
                plan = await self._returns.plan(await self._jobs.get(ref.job))
            answered = await self._jobs.progress(
                ref,
                driver,
                attempt,
                step,
                at_ms=report.at_ms,
                proof=report.proof,
                reason=report.reason,
                store=report.store,
                parcels=report.parcels,
                plan=plan,
            )
        market = self._market(ref)
        if step is Step.RETURNING:
            self._plans.arrivals.look_again(market, driver)
        if not answered.driver.jobs:
            self._plans.upcoming.ended(market, driver)
        elif step in (Step.COLLECTED, Step.PICKED_UP):
            now_ms = answered.effects.now_ms
            self._plans.upcoming.picked_up(market, driver, ref.job, now_ms)
        if step in (Step.COLLECTED, Step.PICKED_UP) and answered.took_custody(ref.job, attempt):
            fix, _ = self._reach.last_fix(market, driver)
            place = None if fix is None else (fix.lat, fix.lon)
            self._plans.etas.took_custody(market, ref.mall, answered, place)
        else:
            self._plans.etas.progressed(market, ref.job, step, answered)
        self._plans.live.holds(market, answered.driver)
        self._apply_effects(market, answered.effects)
        if answered.driver.offer and answered.took_custody(ref.job, attempt):
            # The parcel on board takes the room for which the live offer was made.
            await self._offers.withdraw(market, answered.driver.offer, "engine")
        redo = partial(self._progress, report)
        done = ConfirmedStep(ref.job, answered.job_state, redo, driver, attempt)
        self._confirmed.step(market, done)
        return answered

    async def _take_over(self, report: StepReport) -> Answered:
        driver = report.driver
        answered = await self._context.storage.transfers.take_over(
            report.ref,
            driver,
            report.attempt,
            at_ms=report.at_ms,
            proof=report.proof,
            jobs=report.jobs,
        )
        market = self._market(report.ref)
        if answered.effects.changed_jobs:
            self._context.metrics.transfer("delivered")
            # Both drivers hold other jobs than this node has planned with.
            for changed in {driver, *(push.driver for push in answered.effects.pushes)}:
                self._plans.upcoming.ended(market, changed)
                self._plans.holds_unknown_job(market, changed)
        self._apply_effects(market, answered.effects)
        if answered.driver.offer:
            await self._offers.withdraw(market, answered.driver.offer, "engine")
        return await self._with_new_course(market, answered)

    async def _with_new_course(self, market: str, answered: Answered) -> Answered:
        """Order the drop-offs of a driver who has taken jobs over; return their times as well.

        Until then they have the times of the first driver. Without the storage they keep these.
        """
        driver = answered.driver.id
        try:
            stops = await new_course(self._context, market, driver)
            await self._jobs.update_etas(market, driver, stops)
        except (NoSuchDriver, StoreUnavailable):
            return answered
        # Live ETAs keep the order that they have read.
        self._plans.live.holds_unknown_job(market, driver)
        times = {stop.job: stop.eta_dropoff_ms for stop in stops}
        jobs = [
            replace(job, eta_dropoff_ms=times.get(job.id, job.eta_dropoff_ms))
            for job in answered.jobs
        ]
        return replace(answered, jobs=tuple(jobs))

    async def _returned(self, report: StepReport) -> Answered:
        job = await self._jobs.get(report.ref.job)
        plan = None
        if job.state is JobState.RETURNING and job.return_to is None:
            plan = await self._returns.plan(job)
        return await self._context.storage.returns.returned(
            report.ref,
            report.driver,
            report.attempt,
            at_ms=report.at_ms,
            proof=report.proof,
            reason=report.reason,
            at_place=job.driver == report.driver and await self._returns.is_at_place(job, plan),
            plan=plan,
        )

    async def problem(self, market: str, report: ProblemReport) -> Answered:
        """Record a problem; see also :meth:`mallard_engine.ports.Returns.undelivered`.

        Raises:
            StoreUnavailable: also if it may be refused only because of lost writes.
        """
        async with self._unless_forgotten(market):
            return await self._problem(market, report)

    async def _problem(self, market: str, report: ProblemReport) -> Answered:
        job, driver = report.job, report.driver
        if job and report.kind in CUSTOMER_PROBLEMS:
            known = await self._jobs.get(job)
            answered = await self._context.storage.returns.undelivered(
                JobRef(job, known.mall),
                driver,
                kind=report.kind,
                store=report.store,
                until_ms=report.until_ms,
                text=report.text,
                attempt=report.attempt,
                at_ms=report.at_ms,
                plan=await self._returns.plan(known),
            )
        else:
            answered = await self._jobs.problem(
                market,
                driver,
                kind=report.kind,
                mall=report.mall,
                job=job,
                store=report.store,
                until_ms=report.until_ms,
                text=report.text,
                attempt=report.attempt,
                at_ms=report.at_ms,
            )
            if report.store:
                self._plans.live.changed(market, driver)
        self._apply_effects(market, answered.effects)
        if event := answered.effects.event:
            redo = partial(self._problem_again, market, report)
            self._confirmed.problem(market, ConfirmedProblem(job, driver, event, redo))
        return answered

    async def _problem_again(self, market: str, report: ProblemReport) -> None:
        """Repeat a problem. A danger is repeated even if its job has been lost as well."""
        try:
            await self._problem(market, report)
        except (NoSuchJob, Refused):
            if not report.job or report.kind not in DANGERS:
                raise
            await self._problem(market, replace(report, job="", attempt=None))
