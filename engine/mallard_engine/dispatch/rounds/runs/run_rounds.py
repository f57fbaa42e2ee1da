"""The rounds of one mall with pooling: the same search, but for runs instead of single jobs.

Express jobs are offered one by one, as in a market without runs, and before the others.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from mallard_engine.core.matching.ranking import Ranking
from mallard_engine.core.matching.search_policy import (
    end_reason,
    wide_enough,
    widened,
)
from mallard_engine.core.model import Near, RankedDriver, Waiting
from mallard_engine.core.pickup.pickup_deadline import ready_no_sooner
from mallard_engine.core.places.markets import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.rounds.mall_rounds import RANK_BATCH, MallRounds
from mallard_engine.dispatch.rounds.retry_pace import RetryPace
from mallard_engine.dispatch.rounds.runs.offers import NO_RUNS, RunOffers
from mallard_engine.ports import Found, OfferPlan
from mallard_engine.tasks import cooperative
from mallard_protocol.codes import ServiceLevel, WhyNot

# How many drivers on their way to the mall `explain` shows for an express job.
_SHOWN_ON_THE_WAY = 4
# Jobs that a search reads, to pool them: at first, and where more wait.
_JOBS_AT_FIRST = 256
_JOBS_AT_MOST = 1_024


class RunRounds(MallRounds):
    """Runs the rounds of one mall, one at a time, in a market with runs."""

    def __init__(
        self,
        context: Context,
        mall: Mall,
        apply_effects: ApplyEffects,
        tasks: Tasks,
        pace: RetryPace,
    ) -> None:
        super().__init__(context, mall, apply_effects, tasks, pace)
        self._runs = RunOffers(context, mall.market, apply_effects, tasks)
        # Of the jobs of the running round: until when they are held for pooling.
        self._held_ms: dict[str, int] = {}
        self._jobs_at_first = _JOBS_AT_FIRST
        self._drivers_at_first = 0

    def __len__(self) -> int:
        """The number of jobs in memory."""
        return super().__len__() + len(self._runs)

    async def plan_first(self, found: Found, job: Waiting) -> OfferPlan | None:
        """Return the offer that a round of this job alone would make; None: it would make none."""
        if not found.coming or self._express([job]):
            return await super().plan_first(found, job)
        return self._runs.plan_first(self._mall, job, found)

    async def _round(self) -> int:
        """Offer runs until no driver is free or all jobs are held; return how many were served.

        It terminates: each search serves a job, misses a driver, or widens, up to a maximum.
        """
        served = 0
        failed: set[str] = set()
        missed: set[str] = set()
        named = await self._named_to_serve()
        if named is None:
            return served
        search = self._first_search()
        search = replace(
            search,
            jobs=max(search.jobs, self._jobs_at_first),
            drivers=max(search.drivers, self._drivers_at_first),
        )
        while True:
            found = await self._look(search, search.jobs, named)
            # A long queue is read once: the next round begins with what this one needs.
            is_long = found.waiting_total > _JOBS_AT_FIRST
            self._jobs_at_first = _JOBS_AT_MOST if is_long else _JOBS_AT_FIRST
            self._drivers_at_first = search.drivers if is_long else 0
            if search.jobs < _JOBS_AT_MOST and found.waiting_total > len(found.waiting):
                search = replace(search, jobs=_JOBS_AT_MOST)
                continue
            if found.more and (wide := wide_enough(search, len(found.waiting), self._policy)):
                search = wide
                continue
            found = await self._collectable(found)
            known = len(missed)
            newly = await self._serve_runs(found, failed, missed)
            served += newly
            if newly == len(found.waiting) == found.waiting_total:
                self._forget()
                return served
            if newly or len(missed) > known:
                continue
            held = self._held_ms
            unserved = [job for job in found.waiting if job.job not in held]
            further = widened(search, self._policy, more_drivers=found.more and bool(unserved))
            if further is not None:
                search = further
                continue
            rankings = await self._rankings(found, unserved, failed)
            await self._unserved.postpone(found, rankings, failed, held_ms=held)
            newly = await self._serve_rest(
                found,
                lambda piece: self._serve_runs(piece, failed, missed),
            )
            if not newly:
                return served
            served += newly

    async def _rankings(
        self, found: Found, unserved: Sequence[Waiting], failed: Collection[str]
    ) -> dict[str, Ranking]:
        """Rank the drivers for each job whose time has come, for `explain`.

        The record of a job that is postponed already does not change.
        """
        matcher = self._matcher(found, None)
        # Jobs whose time has not come are left out: ranking may fail on their data.
        due = [
            job
            for job in unserved
            if not self._unserved.is_postponed(job.job, found.now_ms)
            and job.job not in failed
            and self._unserved.is_time(job, found.now_ms)
        ]
        rankings = {
            job.job: matcher.rank(job.need, job.asked) async for job in cooperative(due, RANK_BATCH)
        }
        on_the_way = tuple(map(_kept_from_express, found.coming[:_SHOWN_ON_THE_WAY]))
        for job in self._express(unserved):
            if job.job in rankings:
                rankings[job.job] += on_the_way
        return rankings

    def _express(self, jobs: Iterable[Waiting]) -> tuple[Waiting, ...]:
        level_of = self._policy.level_of
        return tuple([job for job in jobs if level_of(job.need) is ServiceLevel.EXPRESS])

    async def _serve_runs(self, found: Found, failed: set[str], missed: set[str]) -> int:
        """Offer the runs that should leave now and end expired jobs.

        Returns how many jobs no longer wait.

        ``missed``: drivers who became unavailable between an earlier search and their offer.
        """
        express = self._express(found.waiting)
        if express and (newly := await self._serve_singly(found, express, failed)):
            return newly  # the next search does not find the drivers who got these offers
        ending, jobs = [], []
        for job in self._turns.order(found.waiting):
            if job in express or job.job in failed or not self._may_plan(job, found.now_ms):
                continue
            if reason := end_reason(job, (), found.now_ms, self._policy):
                ending.append(self._end(job, reason, self._policy.max_attempts))
            else:
                need = ready_no_sooner(job.need, job.held_until_ms)
                jobs.append(replace(job, need=need))
        ended = sum(await asyncio.gather(*ending))
        runs = NO_RUNS
        if jobs:
            near, coming = (
                [driver for driver in drivers if driver.driver.id not in missed]
                for drivers in (found.near, found.coming)
            )
            runs = await self._runs.offer(
                [(self._mall, jobs)], near, coming, found.now_ms, found.radius_m
            )
        for job in jobs:
            if job.job in runs.dequeued:
                self._turns.served(job.service)
                self._served_last = job.service
        failed.update(runs.failed)
        for name, error in runs.failed.items():
            self._unserved.note_error(name, error)
        missed |= runs.missed
        self._held_ms = dict(runs.held_ms)
        return ended + len(runs.dequeued)

    def _may_share(self, job: Waiting) -> bool:
        # A held job leaves in a run with others, which a whole round reads.
        return self._policy.may_hold(job.need)

    def _may_plan(self, job: Waiting, now_ms: int) -> bool:
        """Return whether a run may be planned with the job now.

        A driver who is far away may set off long before the parcels are ready, or a shop opens.
        """
        if job.need.expires_ms <= now_ms:
            return True
        if self._context.is_paused(self._mall, job.need):
            return False
        ahead_ms = int(self._policy.look_ahead_s * 1000)
        return max(job.held_until_ms, job.need.ready_ms) - ahead_ms <= now_ms

    async def _serve_singly(
        self, found: Found, express: tuple[Waiting, ...], failed: set[str]
    ) -> int:
        return await self._serve_found(replace(found, waiting=express), {}, failed)


def _kept_from_express(near: Near) -> RankedDriver:
    """Return a driver on its way to the mall as a candidate of an express job."""
    return RankedDriver(
        driver=near.driver.id,
        eligible=False,
        why_not=WhyNot.EXPRESS_ALONE,
        cost_s=None,
        terms=(),
        eta_s=0,
        distance_m=round(near.distance_m),
        gate="",
    )
