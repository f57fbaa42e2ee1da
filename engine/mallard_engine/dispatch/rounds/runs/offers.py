"""Offers planned runs, and records for `explain` which jobs are held."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from mallard_engine.core.matching.eligibility import servable
from mallard_engine.core.model import Near, RoundRecord, Waiting
from mallard_engine.core.places.mall import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.rounds.runs.planner import PlannedRuns, RunPlanner
from mallard_engine.ports import Found, OfferPlan, StoreUnavailable

_log = structlog.get_logger(__name__)

# With this many jobs the plan of a mall takes milliseconds, so it runs in a thread.
_IN_A_THREAD_FROM = 24


@dataclass(frozen=True, slots=True)
class RunsOffered:
    """What happened to the jobs of a round.

    Attributes:
        held_ms: Until when jobs are held (epoch ms).
        dequeued: Jobs that no longer wait at the attempt that the round read.
        failed: Jobs whose data failed in the plan, and the kind of the error.
        missed: Drivers who were no longer free.
        offered: How many offers were made.
    """

    held_ms: Mapping[str, int] = field(default_factory=dict)
    dequeued: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    missed: frozenset[str] = frozenset()
    offered: int = 0


NO_RUNS = RunsOffered()


class RunOffers:
    """Offers the runs of one market. ``apply_effects`` is called with the effects of each offer."""

    def __init__(
        self, context: Context, market: str, apply_effects: ApplyEffects, tasks: Tasks
    ) -> None:
        self._market = market
        self._context = context
        self._offers = context.storage.offers
        self._planner = RunPlanner(context, market)
        self._may_thread = context.runtime.may_thread
        self._apply_effects = apply_effects
        self._tasks = tasks
        # Until when each job is held, as recorded for `explain`.
        self._recorded_ms: Mapping[str, int] = {}

    def __len__(self) -> int:
        """The number of held jobs in memory."""
        return len(self._recorded_ms)

    async def offer(
        self,
        waiting: Sequence[tuple[Mall, Sequence[Waiting]]],
        near: Sequence[Near],
        coming: Sequence[Near],
        now_ms: int,
        radius_m: float = 0.0,
    ) -> RunsOffered:
        """Plan and offer the runs of these malls. A driver gets at most one offer in a round."""
        held_ms: dict[str, int] = {}
        offers: list[OfferPlan] = []
        failed: dict[str, str] = {}
        taken: set[str] = set()
        for mall, jobs in waiting:
            free = [driver for driver in near if driver.driver.id not in taken]
            bound = [driver for driver in coming if driver.driver.coming == mall.id]
            fitting = self._servable(jobs, (*free, *bound), now_ms)
            planned = await self._planned(mall, fitting, (free, bound, now_ms, radius_m), failed)
            offers += planned.offers
            held_ms |= planned.held
            taken |= {plan.drivers[0].driver for plan in planned.offers}
        self._record_held(waiting, held_ms, now_ms)
        dequeued, missed, offered = set[str](), set[str](), 0
        for plan, outcome in zip(
            offers, await asyncio.gather(*map(self._offers.make, offers)), strict=True
        ):
            dequeued |= set(outcome.dequeued)
            if outcome.verdict == "offered":
                offered += 1
                dequeued |= {job.job for job in plan.jobs}
                self._context.metrics.offer("offered")
                self._apply_effects(self._market, outcome.effects)
            elif outcome.verdict == "nobody":
                missed.add(plan.drivers[0].driver)
        return RunsOffered(held_ms, frozenset(dequeued), failed, frozenset(missed), offered)

    def plan_first(self, mall: Mall, job: Waiting, found: Found) -> OfferPlan | None:
        """Return the offer of a mall's only job; None if it is held or no driver can take it."""
        bound = [driver for driver in found.coming if driver.driver.coming == mall.id]
        planned = self._planner.plan(mall, [job], found.near, bound, found.now_ms, found.radius_m)
        return next(iter(planned.offers), None)

    def _servable(
        self, jobs: Sequence[Waiting], near: Sequence[Near], now_ms: int
    ) -> Sequence[Waiting]:
        """Return the jobs that a driver here could take; all jobs if there is no driver."""
        if not near:
            return jobs
        policy = self._context.policy(self._market)
        drivers = [it.driver for it in near]
        return servable(jobs, lambda job: job, drivers, now_ms, policy)

    async def _planned(
        self,
        mall: Mall,
        jobs: Sequence[Waiting],
        around: tuple[Sequence[Near], Sequence[Near], int, float],
        failed: dict[str, str],
    ) -> PlannedRuns:
        """Plan the runs of a mall; if the data of some jobs raises, without these jobs."""
        try:
            return await self._plan(mall, jobs, *around)
        except Exception as error:  # noqa: BLE001  one job's data must not stop the others
            _log.error("a job failed in its runs", mall=mall.id, error=repr(error))
        sound = []
        for job in jobs:
            try:
                await self._plan(mall, [job], *around)
            except Exception as error:  # noqa: BLE001  this job fails
                failed[job.job] = type(error).__name__
            else:
                sound.append(job)
        return await self._plan(mall, sound, *around)

    async def _plan(
        self,
        mall: Mall,
        jobs: Sequence[Waiting],
        near: Sequence[Near],
        coming: Sequence[Near],
        now_ms: int,
        radius_m: float,
    ) -> PlannedRuns:
        """Plan runs; a large plan runs in a thread, so that sockets are served meanwhile."""
        plan = self._planner.plan
        if self._may_thread and len(jobs) >= _IN_A_THREAD_FROM and (near or coming):
            return await asyncio.to_thread(plan, mall, jobs, near, coming, now_ms, radius_m)
        return plan(mall, jobs, near, coming, now_ms, radius_m)

    def _record_held(
        self,
        waiting: Sequence[tuple[Mall, Sequence[Waiting]]],
        held_ms: Mapping[str, int],
        now_ms: int,
    ) -> None:
        """Record for `explain` which jobs are newly held."""
        for job in (job for _, jobs in waiting for job in jobs):
            until_ms = held_ms.get(job.job)
            if until_ms is not None and self._recorded_ms.get(job.job) != until_ms:
                record = self._planner.held_record(job, until_ms, now_ms)
                # In the background, because only `explain` reads this.
                self._tasks.start(self._store_record(record), f"explain {job.job}")
        self._recorded_ms = held_ms

    async def _store_record(self, record: RoundRecord) -> None:
        try:
            await self._offers.record_round(self._market, record)
        except StoreUnavailable:
            _log.debug("round not stored", job=record.job)
