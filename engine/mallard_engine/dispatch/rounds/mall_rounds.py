"""The rounds of one mall: read its queued jobs and the free drivers near it, rank, offer."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from mallard_engine.core.matching.eligibility import servable
from mallard_engine.core.matching.ranking import Matcher, Ranking, offerable
from mallard_engine.core.matching.search_policy import (
    JOBS_AT_FIRST,
    Search,
    end_reason,
    first_search,
    wide_enough,
    widened,
)
from mallard_engine.core.matching.service_turns import ServiceTurns
from mallard_engine.core.matching.travel_matrix import requests_of_round
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Need, RoundRecord, Waiting
from mallard_engine.core.places.markets import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.rounds.long_queue import LongQueue, Serve
from mallard_engine.dispatch.rounds.named_jobs import Named, NamedJobs
from mallard_engine.dispatch.rounds.offer_ladder import OfferLadder
from mallard_engine.dispatch.rounds.retry_pace import STORAGE_AWAY_S, RetryPace
from mallard_engine.dispatch.rounds.round_memory import SeenDrivers
from mallard_engine.dispatch.rounds.unserved_jobs import UnservedJobs, round_of
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import (
    Found,
    JobRef,
    OfferPlan,
    PlannedJob,
    StoreUnavailable,
    TravelMatrixSource,
)
from mallard_engine.tasks import cooperative
from mallard_protocol.codes import JobReason

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log)

RANK_BATCH = 8
"""Jobs that are ranked before the event loop serves other tasks. A ranking evaluates about twenty
drivers in a tenth of a millisecond; the offer takes twice that."""
# A round that served no job is followed by a pause of the same length, up to this.
_LONGEST_REST_S = 0.25
# Drivers at whom a retry looks at least.
_SEEN_BY_RETRIES = 32


class MallRounds:
    """Runs the rounds of one mall, one at a time.

    Jobs that arrive during a round share the next one: a flash sale takes a few rounds, not
    hundreds that compete. ``apply_effects`` is called with the effects of each offer.
    """

    def __init__(
        self,
        context: Context,
        mall: Mall,
        apply_effects: ApplyEffects,
        tasks: Tasks,
        pace: RetryPace,
    ) -> None:
        self._mall = mall
        self._context = context
        self._offers = context.storage.offers
        self._deadlines = context.storage.deadlines
        self._metrics = context.metrics
        self._policy = context.policy(mall.market)
        self._travel = context.travel_time(mall.market)
        self._service_time = context.service_time(mall.market)
        # The source of travel times that is queried before a ranking; None: no query is needed.
        self._ahead = context.ahead.get(mall.market)
        self._ladder = OfferLadder(self._policy.offer_rungs, context.runtime.new_offer_id)
        self._clock = context.runtime.clock
        self._new_offer_id = context.runtime.new_offer_id
        self._apply_effects = apply_effects
        self._tasks = tasks
        self._running = False
        self._again = False
        # Completes at the end of the next round that begins.
        self._next_round: asyncio.Future[None] | None = None
        # The radius in which the last search found its first candidates.
        self._needed_m: float | None = None
        self._turns = ServiceTurns()
        self._rest = LongQueue(context.storage.offers, mall.market, mall.id)
        self._pass_looked_for = 0
        self._named = NamedJobs()
        # The service that was read last, where one call cannot read all; the one served last.
        self._after = ""
        self._served_last = ""
        self._pace = pace
        self._unserved = UnservedJobs(context, mall, apply_effects, tasks, pace)
        self._seen = SeenDrivers()

    def __len__(self) -> int:
        """The number of jobs in memory."""
        return len(self._unserved)

    @property
    def market(self) -> str:
        """The market of the mall."""
        return self._mall.market

    @property
    def is_running(self) -> bool:
        """Whether a round runs."""
        return self._running

    def wake(self, job: str = "", *, due: str = "", driver: bool = False) -> None:
        """Run a round now, or right after the one that is running.

        Args:
            job: A job that has just been queued.
            due: A job whose retry is due.
            driver: Whether a driver may have become free since the jobs were last ranked.
        """
        self._named.note(job, due, driver=driver)
        if driver:
            self._rest.begin(self._served_last)
        self._again = True
        if not self._running:
            self._running = True
            self._tasks.start(self._serve(), f"round {self._mall.id}")

    def next_round(self) -> asyncio.Future[None]:
        """Return a future that completes when the next round ends or the rounds fail."""
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().create_future()
        return self._next_round

    def pause(self) -> bool:
        """Pause rounds until `resume`; return False while one is running."""
        if self._running:
            return False
        self._running = True
        return True

    def resume(self) -> None:
        """Resume rounds; start one if a wake-up has come meanwhile."""
        self._running = False
        if self._again:
            self.wake()

    async def search_drivers(self) -> Found:
        """Return the drivers that a job would find first, and how many jobs wait."""
        return await self._look(self._first_search(), jobs=0)

    @property
    def waits_for_travel(self) -> bool:
        """Whether travel times come over a network."""
        return self._ahead is not None and self._ahead.waits

    async def plan_first(self, found: Found, job: Waiting) -> OfferPlan | None:
        """Return the offer that a round would make for this job, if no other waits; None: none."""
        travel = await self._travel_ahead(found, job.need)
        ranking = self._matcher(found, travel).plan(job, self._ladder.depth(job.attempt))
        return self._plan(found, job, ranking)

    async def quote(self, need: Need) -> RoundRecord:
        """Return the round that such a job would get now. Nothing is stored."""
        search: Search | None = first_search(self._needed_m, self._policy)
        while search is not None:
            found = await self._look(search, jobs=0)
            ranking = self._matcher(found, await self._travel_ahead(found, need)).rank(need)
            if any(candidate.eligible for candidate in ranking):
                break
            search = widened(search, self._policy, more_drivers=found.more)
        capped = search is None and found.more
        return RoundRecord("", 0, found.now_ms, round(found.radius_m), capped, ranking)

    async def _serve(self) -> None:
        try:
            while self._again:
                self._again = False
                over, self._next_round = self._next_round, None
                started = self._clock()
                try:
                    served = await self._round()
                finally:
                    _resolve(over)
                took_s = self._clock() - started
                if served:
                    self._metrics.matched(took_s)
                else:
                    # Bound the load of jobs that no driver here can take: every driver who becomes
                    # free starts a round.
                    await asyncio.sleep(min(took_s, _LONGEST_REST_S))
        except StoreUnavailable as error:
            _often.warning("round ended: storage unavailable", error=str(error))
            self._tasks.start(self._repeat(), f"repeat {self._mall.id}")
        finally:
            self._running = False
            over, self._next_round = self._next_round, None
            _resolve(over)

    async def _repeat(self) -> None:
        """Start the interrupted round again: retries alone would find its jobs much later."""
        await asyncio.sleep(STORAGE_AWAY_S)
        self.wake(driver=True)

    async def _round(self) -> int:
        """Offer waiting jobs until no job or no driver is left; return how many were served.

        It terminates, because each search serves a job or widens, up to a maximum.
        """
        served = 0
        failed: set[str] = set()
        named = await self._named_to_serve()
        if named is None:
            return served
        search = self._first_search()
        while True:
            found = await self._look(search, search.jobs, named)
            if found.more and (wide := wide_enough(search, len(found.waiting), self._policy)):
                search = wide
                continue
            found = await self._collectable(found)
            rankings: dict[str, Ranking] = {}
            newly = await self._serve_found(found, rankings, failed)
            served += newly
            if newly == len(found.waiting) == found.waiting_total:
                self._forget()
                return served
            if newly:
                continue
            further = widened(search, self._policy, more_drivers=found.more and bool(rankings))
            if further is not None:
                search = further
                continue
            await self._unserved.postpone(found, rankings, failed)
            newly = await self._serve_rest(found, lambda piece: self._serve_piece(piece, failed))
            if not newly:
                return served
            served += newly

    async def _named_to_serve(self) -> Sequence[str] | None:
        """Return new and due jobs up to a limit; the next round takes the others.

        None: the round was started by retries, or by new jobs behind many others, and there is
        nothing to do for any job.
        """
        named = self._named.take()
        self._unserved.called_for(named.jobs)
        self._again = self._again or bool(self._named)
        if named.is_partial and await self._is_in_vain(named):
            return None
        self._seen.clear()
        return named.jobs

    async def _is_in_vain(self, named: Named) -> bool:
        """Look at these jobs and the drivers alone; return whether no job can be served.

        Postpones the jobs then. A whole round reads more: it is left to wake-ups, to new jobs that
        a driver here could take, and to retries that find other drivers here than the last round
        did.
        """
        search = self._first_search()
        search = replace(search, drivers=max(search.drivers, _SEEN_BY_RETRIES))
        found = await self._look(search, 0, named.jobs)
        here = (*found.near, *found.coming)
        if named.due:
            is_changed, has_moved = self._seen.note(here)
            if is_changed:
                self._rest.begin(self._served_last)
            if is_changed or has_moved:
                return False
        drivers = [near.driver for near in here]
        arrived = [job for job in found.waiting if job.job in named.new]
        may_serve = servable(arrived, lambda job: job, drivers, found.now_ms, self._policy)
        if arrived and (may_serve or found.more):
            return False
        found = await self._collectable(found)
        jobs = [job for job in found.waiting if self._unserved.is_time(job, found.now_ms)]
        for job in jobs:
            is_over = end_reason(job, (), found.now_ms, self._policy)
            if is_over or self._unserved.has_failed(job.job):
                return False
        if (found.near or found.coming) and any(self._may_share(job) for job in jobs):
            return False
        rankings = await self._ranked(found, jobs)
        if rankings is None:
            return False
        await self._unserved.postpone(found, rankings, is_whole=False)
        return True

    def _may_share(self, job: Waiting) -> bool:  # noqa: ARG002 - `RunRounds` overrides this and needs it
        """Return whether the job may be held until it can share a run."""
        return False

    async def _ranked(self, found: Found, jobs: Sequence[Waiting]) -> dict[str, Ranking] | None:
        """Rank the drivers for each job; None if one may be offered a job, or data fails."""
        if not found.near:
            return {}
        travel = None
        if self._ahead is not None and jobs:
            travel = await self._ask(self._ahead, found, [job.need for job in jobs])
        try:
            matcher = self._matcher(found, travel)
            rankings = {
                job.job: matcher.rank(job.need, job.asked)
                async for job in cooperative(jobs, RANK_BATCH)
            }
        except Exception:  # noqa: BLE001  the whole round finds out which job's data failed
            return None
        is_any = any(it.eligible for ranking in rankings.values() for it in ranking)
        return None if is_any else rankings

    async def _serve_rest(self, found: Found, serve: Serve) -> int:
        """Serve jobs that this round has not read, if a driver may be free for one."""
        if (not found.near and not found.coming) or found.waiting_total <= len(found.waiting):
            # For a driver who became free after the search, the next round searches again.
            if self._rest.begun == self._pass_looked_for:
                self._rest.end()
            return 0
        known = {job.job for job in found.waiting}
        served = await self._rest.serve(found, known, serve, self._pass_looked_for)
        if not (served or self._rest.is_done):
            self._named.look_at_all()
            self._again = True
        return served

    async def _serve_piece(self, piece: Found, failed: set[str]) -> int:
        return await self._serve_found(await self._collectable(piece), {}, failed)

    def _forget(self) -> None:
        """Reset the state of waiting jobs: no job waits."""
        self._unserved.forget()
        self._seen.clear()
        self._turns.forget()
        self._rest.end()

    def _first_search(self) -> Search:
        search = first_search(self._needed_m, self._policy)
        return self._ladder.wide(search, self._policy)

    async def _look(self, search: Search, jobs: int, named: Sequence[str] = ()) -> Found:
        self._pass_looked_for = self._rest.begun
        found = await self._offers.candidates(
            self._mall.market,
            self._mall.id,
            self._mall.lat,
            self._mall.lon,
            radius_m=search.radius_m,
            max_radius_m=self._policy.max_radius_m,
            drivers=search.drivers,
            jobs=jobs,
            named=named,
            after=self._after,
        )
        if jobs:
            self._named.is_long = found.waiting_total > JOBS_AT_FIRST
            self._after = found.after
            self._seen.note((*found.near, *found.coming))
        if jobs or named:
            self._pace.note(self._mall.id, found.waiting_total)
        if found.near:
            nearest = found.near[: self._policy.candidates]
            self._needed_m = max(near.distance_m for near in nearest)
        return found

    async def _collectable(self, found: Found) -> Found:
        """Leave out the jobs that cannot be collected before closing.

        They move to the next opening.
        """
        moved = await self._unserved.openings.move(self._mall, found.waiting, found.now_ms)
        if not moved:
            return found
        waiting = tuple([job for job in found.waiting if job.job not in moved])
        return replace(found, waiting=waiting, waiting_total=found.waiting_total - len(moved))

    async def _travel_ahead(self, found: Found, need: Need) -> TravelTime | None:
        """Return a source's travel times for one job; None: there is no such source."""
        return await self._ask(self._ahead, found, [need]) if self._ahead is not None else None

    async def _ask(
        self, ahead: TravelMatrixSource, found: Found, needs: Sequence[Need]
    ) -> TravelTime:
        return await ahead.fetch(requests_of_round(self._mall, found.near, needs), found.now_ms)

    def _matcher(self, found: Found, travel: TravelTime | None) -> Matcher:
        travel = travel or self._travel
        return Matcher(
            self._mall, found.near, found.now_ms, self._policy, travel, self._service_time
        )

    async def _serve_found(
        self, found: Found, rankings: dict[str, Ranking], failed: set[str]
    ) -> int:
        """Serve the jobs that were found, in order; return how many no longer wait."""
        jobs = [
            job
            for job in self._turns.order(found.waiting)
            if job.job not in failed and self._unserved.is_time(job, found.now_ms)
        ]
        travel = None
        if self._ahead is not None and jobs and found.near:
            travel = await self._ask(self._ahead, found, [job.need for job in jobs])
        matcher = self._matcher(found, travel)
        # At most as many jobs as drivers: further jobs would compete for drivers who have an offer.
        drivers = len(found.near) or RANK_BATCH
        batch = min(drivers, RANK_BATCH)
        served = 0
        for start in range(0, len(jobs), batch):
            # The offers of one batch are sent in one write; a single offer is sent before other
            # calls of this turn of the loop.
            first, *others = [
                self._serve_job(found, matcher, job, rankings, failed)
                for job in jobs[start : start + batch]
            ]
            if others:
                served += sum(await asyncio.gather(first, *others))
            else:
                served += await first
                if start % RANK_BATCH == RANK_BATCH - 1:
                    await asyncio.sleep(0)  # with one driver, a job without an offer awaits nothing
            if served >= drivers:
                # Every driver that was found has an offer now; the next search serves the others.
                break
        return served

    async def _serve_job(
        self,
        found: Found,
        matcher: Matcher,
        job: Waiting,
        rankings: dict[str, Ranking],
        failed: set[str],
    ) -> bool:
        """Offer a job to its best driver, or end it; return whether it no longer waits."""
        try:
            ranking = rankings[job.job] = matcher.plan(job, self._ladder.depth(job.attempt))
            if reason := end_reason(job, ranking, found.now_ms, self._policy):
                return await self._end(job, reason, self._policy.max_attempts)
            plan = self._plan(found, job, ranking)
            return plan is not None and await self.make(plan, job.service)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  one job's data must not stop the others
            _log.exception("job failed in its round", job=job.job)
            failed.add(job.job)
            self._unserved.note_error(job.job, type(error).__name__)
            return False

    def _plan(self, found: Found, job: Waiting, ranking: Ranking) -> OfferPlan | None:
        """Return the offer of a job to the best drivers of its ranking; None: there is none."""
        drivers = offerable(ranking, self._ladder.depth(job.attempt))
        if not drivers:
            return None
        record = round_of(found, job, job.attempt + 1, ranking)
        return OfferPlan(
            offer=self._new_offer_id(),
            mall=self._mall.id,
            jobs=(PlannedJob(job.job, job.attempt, record),),
            drivers=drivers,
            more=self._ladder.more(job.attempt, len(drivers)),
        )

    async def make(self, plan: OfferPlan, service: str) -> bool:
        """Make the offer of a job of this service; return whether a driver got it."""
        offered = await self._offers.make(plan)
        if offered.verdict != "offered":
            return False
        self._metrics.offer("offered")
        self._turns.served(service)
        self._served_last = service
        self._apply_effects(self._mall.market, offered.effects)
        return True

    async def _end(self, job: Waiting, reason: JobReason, max_attempts: int) -> bool:
        effects = await self._deadlines.expire(self._ref(job), reason.value, max_attempts)
        if effects is None:
            return False
        _often.info("job expired", reason=reason.value, example={"job": job.job})
        self._apply_effects(self._mall.market, effects)
        return True

    def _ref(self, job: Waiting) -> JobRef:
        return JobRef(job.job, self._mall.id)


def _resolve(over: asyncio.Future[None] | None) -> None:
    if over is not None and not over.done():
        over.set_result(None)
