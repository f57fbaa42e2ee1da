"""The batch rounds of a market: all queued jobs and free drivers in one assignment problem.

A batch collects for the market's window, or until enough jobs have come. A job whose planned driver
need not set off now is carried over to the next batch.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from mallard_engine.core.batch.job_selection import JobSelection
from mallard_engine.core.batch.solver import BatchDriver, BatchJob, Plan
from mallard_engine.core.matching.eligibility import servable
from mallard_engine.core.matching.search_policy import end_reason
from mallard_engine.core.matching.travel_matrix import requests_of_batch
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import RankedDriver, RoundRecord, Waiting
from mallard_engine.core.places.markets import Mall
from mallard_engine.core.places.meeting import is_meeting
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.drivers.upcoming_drivers import UpcomingDrivers
from mallard_engine.dispatch.rounds.batch.solver_thread import load_solver, solved
from mallard_engine.dispatch.rounds.batch.unserved import UnservedInBatch
from mallard_engine.dispatch.rounds.named_jobs import take
from mallard_engine.dispatch.rounds.retry_pace import STORAGE_AWAY_S, RetryPace
from mallard_engine.dispatch.rounds.round_memory import SeenDrivers
from mallard_engine.dispatch.rounds.runs.offers import NO_RUNS, RunOffers, RunsOffered
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import (
    FreeDrivers,
    JobRef,
    MarketQueue,
    OfferPlan,
    PlannedJob,
    StoreUnavailable,
)
from mallard_protocol.codes import JobReason, ServiceLevel

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log)

# A batch reads at least this many queued jobs and chooses the most urgent of them.
_LEAST_READ = 4_000
# New and due jobs that one batch reads in any case.
_MOST_NAMED = 1_024


class MarketRounds:
    """Runs the batches of one market, one at a time."""

    def __init__(
        self,
        context: Context,
        market: str,
        apply_effects: ApplyEffects,
        tasks: Tasks,
        upcoming: UpcomingDrivers,
        pace: RetryPace,
    ) -> None:
        load_solver()
        self._market = market
        self._context = context
        self._offers = context.storage.offers
        self._deadlines = context.storage.deadlines
        self._policy = context.policy(market)
        self._travel = context.travel_time(market)
        self._service_time = context.service_time(market)
        # The source of travel times that is queried before a plan; None: no query is needed.
        self._ahead = context.ahead.get(market)
        self._apply_effects = apply_effects
        self._tasks = tasks
        self._upcoming = upcoming
        self._pace = pace
        self._runs = RunOffers(context, market, apply_effects, tasks)
        self._running = False
        self._woken = 0
        self._full = asyncio.Event()
        self._unserved = UnservedInBatch(context, market, apply_effects, pace)
        self._seen = SeenDrivers()
        # Whether the last look at drivers found one who had changed, and one who had moved.
        self._seen_now = False, False
        # Whether the next batch was started by more than retries.
        self._stirred = False
        self._selection = JobSelection(self._policy.max_batch_jobs)
        # New and due jobs: the next batch reads them.
        self._named: dict[str, None] = {}
        # How many jobs no batch has read since a driver became free; None: all of them.
        self._unseen: int | None = 0
        # Drivers of the last batch who were no longer free when it made its offers.
        self._missed: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """The number of jobs in memory."""
        return len(self._unserved.jobs | self._selection.in_vain)

    def wake(self, job: str = "", *, due: str = "", driver: bool = False) -> None:
        """Start a batch. ``driver``: a driver has become free. See `MallRounds.wake`."""
        if job or due:
            self._named[job or due] = None
        self._stirred = self._stirred or not due
        if driver:
            self._unseen = None
        self._woken += 1
        if self._woken >= self._policy.batch_jobs:
            self._full.set()
        if not self._running:
            self._running = True
            self._tasks.start(self._serve(), f"batch {self._market}")

    async def _serve(self) -> None:
        try:
            while self._woken:
                await self._collect()
                self._woken = 0
                self._full.clear()
                await self._round()
        except StoreUnavailable as error:
            _often.warning(
                "batch ended: storage unavailable", market=self._market, error=str(error)
            )
            self._tasks.start(self._repeat(), f"repeat batch {self._market}")
        finally:
            self._running = False

    async def _repeat(self) -> None:
        """Start the interrupted batch again: retries alone would find its jobs much later."""
        await asyncio.sleep(STORAGE_AWAY_S)
        self.wake(driver=True)

    async def _collect(self) -> None:
        """Wait until the window ends or enough jobs have come."""
        try:
            async with asyncio.timeout(self._policy.window_ms / 1000):
                await self._full.wait()
        except TimeoutError:
            return

    async def _round(self) -> None:
        clock = self._context.runtime.clock
        started = clock()
        most = max(self._policy.max_batch_jobs, _LEAST_READ)
        named = take(self._named, _MOST_NAMED)
        self._unserved.called_for(named)
        is_retry, self._stirred = not self._stirred, False
        if is_retry and await self._is_in_vain(named):
            self._woken += bool(self._named)
            return
        queue = await self._read(most, named)
        self._wake_for_rest(queue)
        if not queue.jobs:
            self._unserved.forget()
            self._selection.forget()
            return
        dequeued: set[str] = set()
        jobs = await self._jobs_to_plan(queue, dequeued)
        ended = len(dequeued)
        alone = [job for job in jobs if not self._may_share(job)]
        again_ms, missed = dict[str, int](), frozenset[str]()
        if alone or not self._policy.plans_runs:
            again_ms, missed = await self._assign(queue, alone, dequeued)
        runs = NO_RUNS
        if len(alone) < len(jobs):
            runs = await self._offer_runs(queue, [job for job in jobs if self._may_share(job)])
            for name, error in runs.failed.items():
                self._unserved.note_failure(name, error)
        self._wake_for_missed(missed | runs.missed)
        was_offered = runs.offered or len(dequeued) > ended
        dequeued |= runs.dequeued
        waiting = replace(queue, jobs=tuple([it for it in queue.jobs if it[1].job not in dequeued]))
        await self._unserved.postpone(waiting, again_ms | dict(runs.held_ms))
        self._selection.keep(self._unserved.jobs)
        if was_offered:
            self._context.metrics.matched(clock() - started)

    async def _read(self, most: int, named: Sequence[str]) -> MarketQueue:
        queue = _without_meetings(await self._offers.queue_of(self._market, most, named))
        self._pace.note(self._market, queue.total)
        return queue

    async def _is_in_vain(self, due: Sequence[str]) -> bool:
        """Look at the due jobs and the drivers alone; return whether no job can be served.

        Postpones the jobs then: see `MallRounds`.
        """
        queue = await self._read(0, due)
        malls = self._context.places.malls
        jobs = [BatchJob(job, malls[mall]) for mall, job in queue.jobs if mall in malls]
        now_ms = queue.now_ms
        for job in jobs:
            is_over = end_reason(job.waiting, (), now_ms, self._policy)
            if is_over or self._unserved.has_failed(job.waiting.job):
                return False
        if jobs and await self._may_serve(jobs, now_ms):
            return False
        await self._move_to_opening(queue)
        await self._unserved.postpone(queue, {}, is_whole=False)
        return True

    async def _may_serve(self, jobs: Sequence[BatchJob], now_ms: int) -> bool:
        """Return whether a driver is near who could take a job, or was not seen here before."""
        malls = {job.mall.id: job.mall for job in jobs}
        around = await self._around(malls, tuple(malls) if self._policy.plans_runs else ())
        is_changed, has_moved = self._seen_now
        if is_changed:
            self._unseen = None
        drivers = [near.driver for near in (*around.near, *around.coming)]
        drivers += [it.driver for it in self._upcoming.drivers(self._market, now_ms)]
        waiting = [job.waiting for job in jobs]
        fitting = servable(waiting, lambda job: job, drivers, now_ms, self._policy)
        return is_changed or has_moved or bool(fitting)

    async def _around(
        self, malls: Mapping[str, Mall], coming_to: Sequence[str] = ()
    ) -> FreeDrivers:
        """Return the free drivers around the malls, and those on their way to some of them."""
        around = await self._offers.free_around(
            self._market,
            [(mall.lat, mall.lon) for mall in malls.values()],
            radius_m=self._policy.initial_radius_m,
            max_radius_m=self._policy.max_radius_m,
            drivers=self._policy.candidates,
            most=self._policy.max_candidates,
            malls=coming_to,
        )
        self._seen_now = self._seen.note((*around.near, *around.coming))
        return around

    def _may_share(self, job: BatchJob) -> bool:
        """Return whether the job is planned as part of a run; if not, it is assigned."""
        level = self._policy.level_of(job.waiting.need)
        return self._policy.plans_runs and level is not ServiceLevel.EXPRESS

    async def _assign(
        self, queue: MarketQueue, jobs: list[BatchJob], dequeued: set[str]
    ) -> tuple[dict[str, int], frozenset[str]]:
        """Assign jobs to drivers and offer those whose driver must set off.

        Returns:
            When the drivers of the other jobs must set off (epoch ms, by job), and the drivers who
            were no longer free. Adds the jobs that no longer wait to `dequeued`.
        """
        drivers = await self._drivers(jobs, queue.now_ms) if jobs else []
        jobs = self._selection.first(self._servable(jobs, drivers, queue.now_ms))
        travel = self._travel
        if self._ahead is not None and jobs and drivers:
            travel = await self._ahead.fetch(requests_of_batch(jobs, drivers), queue.now_ms)
        plans = await self._plans(jobs, drivers, queue.now_ms, travel)
        if self._selection.planned(jobs, drivers, plans):
            self._wake_again()
        early_ms = int(self._policy.send_early_s * 1000)
        due = [
            plan
            for plan in plans
            if plan.now and (plan.fading or plan.depart_ms - early_ms <= queue.now_ms)
        ]
        offered = await asyncio.gather(*(self._offer(plan, queue.now_ms) for plan in due))
        dequeued.update(*offered)
        if self._selection.left_some_out and any(offered):
            self._wake_again()  # there is room for other jobs now
        set_off_ms = {
            job.waiting.job: plan.depart_ms - early_ms
            for plan in plans
            if plan.now
            for job in plan.jobs
        }
        # `_offer` returns no jobs if the driver was not free.
        missed = (plan.driver for plan, jobs in zip(due, offered, strict=True) if not jobs)
        return set_off_ms, frozenset(missed)

    def _wake_for_rest(self, queue: MarketQueue) -> None:
        """Start another batch if jobs are left that this one has not read.

        After a driver has become free, every job is read once.
        """
        if self._unseen is None:
            self._unseen = queue.total
        self._unseen = max(0, self._unseen - len(queue.jobs))
        if self._named or self._unseen:
            self._wake_again()

    def _wake_again(self) -> None:
        """Start another batch, which reads more than the due jobs."""
        self._woken += 1
        self._stirred = True

    def _wake_for_missed(self, missed: frozenset[str]) -> None:
        """Start another batch, unless the same drivers were missed in the one before."""
        if missed - self._missed:
            self._wake_again()
        self._missed = missed

    async def _offer_runs(self, queue: MarketQueue, jobs: Sequence[BatchJob]) -> RunsOffered:
        """Plan and offer the runs of every mall at which jobs wait."""
        malls = {job.mall.id: job.mall for job in jobs}
        around = await self._around(malls, tuple(malls))
        waiting: dict[str, list[Waiting]] = {mall: [] for mall in malls}
        for job in jobs:
            waiting[job.mall.id].append(job.waiting)
        at_malls = [(mall, waiting[mall.id]) for mall in malls.values()]
        return await self._runs.offer(at_malls, around.near, around.coming, queue.now_ms)

    async def _jobs_to_plan(self, queue: MarketQueue, ended: set[str]) -> list[BatchJob]:
        """Return the jobs to plan.

        Ends expired jobs, and moves those that cannot be collected before closing.
        """
        jobs: list[BatchJob] = []
        endings = []
        ended |= await self._move_to_opening(queue)
        horizon_ms = queue.now_ms + int(self._policy.look_ahead_s * 1000)
        malls = self._context.places.malls
        for mall, waiting in queue.jobs:
            if waiting.job in ended:
                continue
            if reason := end_reason(waiting, (), queue.now_ms, self._policy):
                endings.append(self._end(mall, waiting, reason, self._policy.max_attempts))
                ended.add(waiting.job)
            elif waiting.held_until_ms > queue.now_ms or waiting.need.ready_ms > horizon_ms:
                continue
            elif mall in malls and not self._context.is_paused(malls[mall], waiting.need):
                jobs.append(BatchJob(waiting, malls[mall]))
        await asyncio.gather(*endings)
        return jobs

    def _servable(
        self, jobs: list[BatchJob], drivers: Sequence[BatchDriver], now_ms: int
    ) -> list[BatchJob]:
        """Return the jobs that a driver here could take; all jobs if there is no driver."""
        if not drivers:
            return jobs
        known = [driver.driver for driver in drivers]
        return servable(jobs, lambda job: job.waiting, known, now_ms, self._policy)

    async def _move_to_opening(self, queue: MarketQueue) -> frozenset[str]:
        """Move jobs that cannot be collected before closing; return them."""
        malls, at_mall = self._context.places.malls, dict[str, list[Waiting]]()
        for mall, waiting in queue.jobs:
            if mall in malls:
                at_mall.setdefault(mall, []).append(waiting)
        moved = await asyncio.gather(
            *(
                self._unserved.openings.move(malls[mall], jobs, queue.now_ms)
                for mall, jobs in at_mall.items()
            )
        )
        return frozenset().union(*moved)

    async def _drivers(self, jobs: Sequence[BatchJob], now_ms: int) -> list[BatchDriver]:
        """Return the free drivers around the jobs' malls, and the upcoming ones."""
        free = await self._around({job.mall.id: job.mall for job in jobs})
        drivers = {
            near.driver.id: BatchDriver(near.driver, near.position.lat, near.position.lon)
            for near in free.near
        }
        for driver in self._upcoming.drivers(self._market, now_ms):
            drivers.setdefault(driver.driver.id, driver)
        return list(drivers.values())

    async def _plans(
        self,
        jobs: Sequence[BatchJob],
        drivers: Sequence[BatchDriver],
        now_ms: int,
        travel: TravelTime,
    ) -> list[Plan]:
        """Return the plans; if the data of some jobs raises, without these jobs."""
        try:
            return await self._solve(jobs, drivers, now_ms, travel)
        except Exception as error:  # noqa: BLE001  one job's data must not stop the others
            # Without a traceback, which would keep the whole problem in memory.
            _log.error("a job failed in its batch", market=self._market, error=repr(error))
        sound = [job for job in jobs if await self._is_sound(job, drivers, now_ms, travel)]
        return await self._solve(sound, drivers, now_ms, travel)

    async def _is_sound(
        self, job: BatchJob, drivers: Sequence[BatchDriver], now_ms: int, travel: TravelTime
    ) -> bool:
        try:
            await self._solve([job], drivers, now_ms, travel)
        except Exception as error:  # noqa: BLE001  this job fails
            self._unserved.note_failure(job.waiting.job, type(error).__name__)
            return False
        return True

    async def _solve(
        self,
        jobs: Sequence[BatchJob],
        drivers: Sequence[BatchDriver],
        now_ms: int,
        travel: TravelTime,
    ) -> list[Plan]:
        may_thread = self._context.runtime.may_thread
        return await solved(
            *(jobs, drivers, now_ms, self._policy, travel, self._service_time),
            may_thread=may_thread,
        )

    async def _offer(self, plan: Plan, now_ms: int) -> frozenset[str]:
        """Offer a plan's jobs to its driver; return the jobs that no longer wait."""
        drivers = plan.ranking()
        together = tuple([job.waiting.job for job, _ in plan.bundle])
        why = "bundle" if together else ""
        planned = []
        for waiting, eta in _with_etas(plan, drivers[0]):
            attempt = waiting.attempt
            record = RoundRecord(
                waiting.job, attempt + 1, now_ms, 0, False, drivers, run=together, why=why
            )
            planned.append(PlannedJob(waiting.job, attempt, record, eta))
        offered = await self._offers.make(
            OfferPlan(
                offer=self._context.runtime.new_offer_id(),
                mall=plan.job.mall.id,
                jobs=tuple(planned),
                drivers=drivers,
            )
        )
        if offered.verdict != "offered":
            # No job of the bundle was offered: those that still wait are planned again at once.
            jobs = [job.waiting.job for job in plan.jobs]
            known = offered.dequeued or (jobs if offered.verdict == "gone" else ())
            if known and len(known) < len(jobs):
                self._wake_again()
            return frozenset(known)
        self._context.metrics.offer("offered")
        self._apply_effects(self._market, offered.effects)
        return frozenset([job.waiting.job for job in plan.jobs])

    async def _end(self, mall: str, waiting: Waiting, reason: JobReason, max_attempts: int) -> None:
        ref = JobRef(waiting.job, mall)
        effects = await self._deadlines.expire(ref, reason.value, max_attempts)
        if effects is not None:
            _often.info("job expired", reason=reason.value, example={"job": waiting.job})
            self._apply_effects(self._market, effects)


def _without_meetings(queue: MarketQueue) -> MarketQueue:
    """Leave out the transfers: each has rounds of its own."""
    jobs = tuple([each for each in queue.jobs if not is_meeting(each[0])])
    left_out = len(queue.jobs) - len(jobs)
    return replace(queue, jobs=jobs, total=queue.total - left_out) if left_out else queue


def _with_etas(
    plan: Plan, driver: RankedDriver
) -> list[tuple[Waiting, tuple[tuple[int, int], ...]]]:
    """Return the jobs of a plan and, for a bundle, the times of each."""
    if not plan.bundle:
        return [(plan.job.waiting, ())]
    pickup_ms = driver.eta_pickup_ms
    return [(job.waiting, ((pickup_ms, done_ms),)) for job, done_ms in plan.bundle]
