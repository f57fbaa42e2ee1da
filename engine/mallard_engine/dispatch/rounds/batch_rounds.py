"""The batch rounds of a market: all queued jobs and free drivers in one assignment problem.

A batch collects for the market's window, or until enough jobs have come. A job whose planned driver
need not set off now is carried over to the next batch.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from mallard_engine.core.batch.job_selection import JobSelection
from mallard_engine.core.batch.solver import BatchDriver, BatchJob, Plan
from mallard_engine.core.matching.eligibility import servable
from mallard_engine.core.matching.patience import first_bar_end_ms
from mallard_engine.core.matching.search_policy import end_reason
from mallard_engine.core.matching.travel_matrix import requests_of_batch
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import RankedDriver, RoundRecord, Waiting
from mallard_engine.core.places.meeting import is_meeting
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.drivers.upcoming_drivers import UpcomingDrivers
from mallard_engine.dispatch.next_opening import NextOpening
from mallard_engine.dispatch.rounds.mall_rounds import take
from mallard_engine.dispatch.rounds.run_offers import NO_RUNS, RunOffers, RunsOffered
from mallard_engine.dispatch.rounds.solver_thread import solved
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import JobRef, MarketQueue, OfferPlan, PlannedJob, StoreUnavailable
from mallard_protocol.codes import JobReason, ServiceLevel

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log)

# A job whose data fails in this many rounds becomes a dead letter.
_MAX_FAILURES = 5
# A batch reads at least this many queued jobs and chooses the most urgent of them.
_LEAST_READ = 4_000
# Up to this number, all jobs are retried every `retry_s`; with more, each is retried less often.
_FULL_RATE_JOBS = 4_096
# New and due jobs that one batch reads in any case.
_MOST_NAMED = 1_024
# How many jobs are postponed in one write.
_WRITE_BATCH = 256


class MarketRounds:
    """Runs the batches of one market, one at a time."""

    def __init__(
        self,
        context: Context,
        market: str,
        apply_effects: ApplyEffects,
        tasks: Tasks,
        upcoming: UpcomingDrivers,
    ) -> None:
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
        self._openings = NextOpening(context, market, apply_effects)
        self._tasks = tasks
        self._upcoming = upcoming
        self._runs = RunOffers(context, market, apply_effects, tasks)
        self._running = False
        self._woken = 0
        self._full = asyncio.Event()
        # By waiting job: until when it is postponed, and in how many batches its data failed.
        self._postponed_ms: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        # Of jobs that failed: the kind of the last error. Its text may quote an order.
        self._errors: dict[str, str] = {}
        self._selection = JobSelection(self._policy.max_batch_jobs)
        # New and due jobs: the next batch reads them.
        self._named: dict[str, None] = {}
        # How many jobs no batch has read since a driver became free; None: all of them.
        self._unseen: int | None = 0
        # Multiplies the retry interval, so that a long queue costs no more than a short one.
        self._retry_factor = 1.0
        # Drivers of the last batch who were not free any more when it offered.
        self._missed: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """The number of jobs in memory."""
        return len(self._postponed_ms.keys() | self._failures.keys() | self._selection.in_vain)

    def wake(self, job: str = "", *, driver: bool = False) -> None:
        """Start a batch. ``job``: a new or due job; ``driver``: a driver has become free."""
        if job:
            self._named[job] = None
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
            # The due entries remain: a node that reaches the storage continues.
            _often.warning(
                "batch ended: storage unavailable", market=self._market, error=str(error)
            )
        finally:
            self._running = False

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
        queue = _without_meetings(await self._offers.queue_of(self._market, most, named))
        self._retry_factor = max(1.0, queue.total / _FULL_RATE_JOBS)
        self._wake_for_rest(queue)
        if not queue.jobs:
            self._postponed_ms.clear()
            self._failures.clear()
            self._errors.clear()
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
                self._note_failure(name, error)
        self._wake_for_missed(missed | runs.missed)
        was_offered = runs.offered or len(dequeued) > ended
        await self._postpone(queue, dequeued | runs.dequeued, again_ms | dict(runs.held_ms))
        if was_offered:
            self._context.metrics.matched(clock() - started)

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
            self._woken += 1
        early_ms = int(self._policy.send_early_s * 1000)
        due = [
            plan
            for plan in plans
            if plan.now and (plan.fading or plan.depart_ms - early_ms <= queue.now_ms)
        ]
        offered = await asyncio.gather(*(self._offer(plan, queue.now_ms) for plan in due))
        dequeued.update(*offered)
        if self._selection.left_some_out and any(offered):
            self._woken += 1  # there is room for other jobs now
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
            self._woken += 1

    def _wake_for_missed(self, missed: frozenset[str]) -> None:
        """Start another batch, unless the same drivers were missed in the one before."""
        if missed - self._missed:
            self._woken += 1
        self._missed = missed

    async def _offer_runs(self, queue: MarketQueue, jobs: Sequence[BatchJob]) -> RunsOffered:
        """Plan and offer the runs of every mall at which jobs wait."""
        malls = {job.mall.id: job.mall for job in jobs}
        around = await self._offers.free_around(
            self._market,
            [(mall.lat, mall.lon) for mall in malls.values()],
            radius_m=self._policy.initial_radius_m,
            max_radius_m=self._policy.max_radius_m,
            drivers=self._policy.candidates,
            most=self._policy.max_candidates,
            malls=tuple(malls),
        )
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
                self._openings.move(malls[mall], jobs, queue.now_ms)
                for mall, jobs in at_mall.items()
            )
        )
        return frozenset().union(*moved)

    async def _drivers(self, jobs: Sequence[BatchJob], now_ms: int) -> list[BatchDriver]:
        """Return the free drivers around the jobs' malls, and the upcoming ones."""
        points = {job.mall.id: (job.mall.lat, job.mall.lon) for job in jobs}
        free = await self._offers.free_around(
            self._market,
            list(points.values()),
            radius_m=self._policy.initial_radius_m,
            max_radius_m=self._policy.max_radius_m,
            drivers=self._policy.candidates,
            most=self._policy.max_candidates,
        )
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
            self._note_failure(job.waiting.job, type(error).__name__)
            return False
        return True

    def _note_failure(self, job: str, error: str) -> None:
        self._failures[job] = self._failures.get(job, 0) + 1
        self._errors[job] = error

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
                self._woken += 1
            return frozenset(known)
        self._context.metrics.offer("offered")
        self._apply_effects(self._market, offered.effects)
        return frozenset([job.waiting.job for job in plan.jobs])

    async def _postpone(
        self, queue: MarketQueue, dequeued: set[str], set_off_ms: dict[str, int]
    ) -> None:
        """Postpone the remaining jobs until their driver must set off, or to the next retry."""
        postponed_ms: dict[str, int] = {}
        calls: list[Callable[[], Coroutine[Any, Any, None]]] = []
        for mall, waiting in queue.jobs:
            name = waiting.job
            if name in dequeued:
                continue
            if (failures := self._failures.get(name, 0)) >= _MAX_FAILURES:
                error = self._errors.get(name, "Exception")
                calls.append(partial(self._bury, mall, waiting, failures, error))
                continue
            again_ms = self._again_ms(mall, waiting, queue.now_ms, set_off_ms.get(name))
            known_ms = self._postponed_ms.get(name, 0)
            # A job that is already due sooner keeps its entry.
            if queue.now_ms < known_ms <= again_ms:
                again_ms = known_ms
            else:
                calls.append(partial(self._retry_at, mall, waiting, again_ms))
            postponed_ms[name] = again_ms
        self._postponed_ms = postponed_ms
        self._selection.keep(postponed_ms.keys())
        self._failures = {job: n for job, n in self._failures.items() if job in postponed_ms}
        self._errors = {job: it for job, it in self._errors.items() if job in self._failures}
        # One write of thousands would delay the calls of other malls.
        for first in range(0, len(calls), _WRITE_BATCH):
            await asyncio.gather(*(call() for call in calls[first : first + _WRITE_BATCH]))

    def _again_ms(self, mall: str, waiting: Waiting, now_ms: int, set_off_ms: int | None) -> int:
        again_ms = now_ms + int(self._policy.retry_s * 1000 * self._retry_factor)
        expires_ms = waiting.need.expires_ms
        bar_end_ms = first_bar_end_ms(waiting.asked, expires_ms, now_ms, self._policy)
        again_ms = min(again_ms, bar_end_ms or again_ms)
        if waiting.held_until_ms > now_ms:
            again_ms = waiting.held_until_ms
        elif set_off_ms is not None and set_off_ms > now_ms:
            again_ms = set_off_ms
        place = self._context.places.malls.get(mall)
        look_by_ms = self._openings.look_by_ms(place, waiting, now_ms) if place else None
        return min(again_ms, look_by_ms or again_ms, expires_ms)

    async def _retry_at(self, mall: str, waiting: Waiting, at_ms: int) -> None:
        effects = await self._deadlines.retry_later(
            JobRef(waiting.job, mall), waiting.attempt, at_ms
        )
        self._apply_effects(self._market, effects)

    async def _bury(self, mall: str, waiting: Waiting, rounds: int, error: str) -> None:
        letters = self._context.storage.dead_letters
        ref = JobRef(waiting.job, mall)
        effects = await letters.bury(ref, waiting.attempt, rounds, error)
        if effects is not None:
            _log.error("job is a dead letter: it broke its batches", job=waiting.job)
            self._apply_effects(self._market, effects)

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
