"""Puts planned runs out, and keeps for `explain` which jobs are held."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from mallard_engine.core.matching.eligibility import servable
from mallard_engine.core.model import Near, RoundRecord, Waiting
from mallard_engine.core.places.mall import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.rounds.run_planner import PlannedRuns, RunPlanner
from mallard_engine.ports import OfferPlan, StoreUnavailable

_log = structlog.get_logger(__name__)

# A mall with so many jobs is planned in a thread: it takes more than some milliseconds.
_IN_A_THREAD_FROM = 24


@dataclass(frozen=True, slots=True)
class RunsOffered:
    """What became of a round's jobs: until when some are held (epoch ms), which wait no more under
    the attempt that the round knew, which broke the plan, which drivers had gone away by then, and
    how many offers went out."""

    held_ms: Mapping[str, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    broke: frozenset[str] = frozenset()
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
        # Until when each held job is, as `explain` has been told.
        self._told_ms: Mapping[str, int] = {}

    def __len__(self) -> int:
        """How many jobs are remembered."""
        return len(self._told_ms)

    async def offer(
        self,
        waiting: Sequence[tuple[Mall, Sequence[Waiting]]],
        near: Sequence[Near],
        coming: Sequence[Near],
        now_ms: int,
        radius_m: float = 0.0,
    ) -> RunsOffered:
        """Plan and offer the runs of these malls; a driver is asked once in a round."""
        held_ms: dict[str, int] = {}
        offers: list[OfferPlan] = []
        broke: set[str] = set()
        taken: set[str] = set()
        for mall, jobs in waiting:
            free = [driver for driver in near if driver.driver.id not in taken]
            bound = [driver for driver in coming if driver.driver.coming == mall.id]
            fitting = self._that_fit(jobs, (*free, *bound), now_ms)
            planned = await self._planned(mall, fitting, (free, bound, now_ms, radius_m), broke)
            offers += planned.offers
            held_ms |= planned.held
            taken |= {plan.drivers[0].driver for plan in planned.offers}
        self._tell_held(waiting, held_ms, now_ms)
        gone, missed, offered = set[str](), set[str](), 0
        for plan, outcome in zip(
            offers, await asyncio.gather(*map(self._offers.make, offers)), strict=True
        ):
            gone |= set(outcome.gone)
            if outcome.verdict == "offered":
                offered += 1
                gone |= {job.job for job in plan.jobs}
                self._context.metrics.offer("offered")
                self._apply_effects(self._market, outcome.effects)
            elif outcome.verdict == "nobody":
                missed.add(plan.drivers[0].driver)
        return RunsOffered(held_ms, frozenset(gone), frozenset(broke), frozenset(missed), offered)

    def _that_fit(
        self, jobs: Sequence[Waiting], near: Sequence[Near], now_ms: int
    ) -> Sequence[Waiting]:
        """The jobs that some driver here could take; where nobody is, all: some may be held."""
        if not near:
            return jobs
        unreachable_s = self._context.policy(self._market).unreachable_s
        drivers = [it.driver for it in near]
        return servable(jobs, lambda job: job, drivers, now_ms, unreachable_s)

    async def _planned(
        self,
        mall: Mall,
        jobs: Sequence[Waiting],
        around: tuple[Sequence[Near], Sequence[Near], int, float],
        broke: set[str],
    ) -> PlannedRuns:
        """The runs of a mall; if some job's data breaks the plan, those of the jobs that do not."""
        try:
            return await self._plan(mall, jobs, *around)
        except Exception as error:  # noqa: BLE001  whatever one job's data does, the others go on
            _log.error("a job broke its runs", mall=mall.id, error=repr(error))
        sound = []
        for job in jobs:
            try:
                await self._plan(mall, [job], *around)
            except Exception:  # noqa: BLE001  this is the one
                broke.add(job.job)
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
        """A large plan is made in a thread, and sockets are served meanwhile."""
        plan = self._planner.plan
        if self._may_thread and len(jobs) >= _IN_A_THREAD_FROM and (near or coming):
            return await asyncio.to_thread(plan, mall, jobs, near, coming, now_ms, radius_m)
        return plan(mall, jobs, near, coming, now_ms, radius_m)

    def _tell_held(
        self,
        waiting: Sequence[tuple[Mall, Sequence[Waiting]]],
        held_ms: Mapping[str, int],
        now_ms: int,
    ) -> None:
        """Keep for `explain` which jobs are held now that were not before."""
        for job in (job for _, jobs in waiting for job in jobs):
            until_ms = held_ms.get(job.job)
            if until_ms is not None and self._told_ms.get(job.job) != until_ms:
                record = self._planner.held_record(job, until_ms, now_ms)
                # Off the hot path: what nobody reads but `explain` may come a little later.
                self._tasks.start(self._keep(record), f"explain {job.job}")
        self._told_ms = held_ms

    async def _keep(self, record: RoundRecord) -> None:
        try:
            await self._offers.record_round(self._market, record)
        except StoreUnavailable:
            _log.debug("round not kept", job=record.job)
