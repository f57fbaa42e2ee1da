"""A mall's round: find its queued jobs and the free drivers near it, rank, offer.

Jobs that arrive while a round of their mall is under way share the next one, so a flash sale is a
few rounds and not hundreds of racing ones.
"""

import asyncio
import secrets
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from engine.core.matching import Matcher, offerable
from engine.core.model import RankedDriver, RoundRecord, Waiting
from engine.core.places import Mall
from engine.core.policy import Search, end_reason, first_search, wide_enough, widened
from engine.dispatch.context import Context, Follow, Tasks
from engine.ports import Found, JobRef, Offered, OfferPlan, StoreUnavailable
from protocol.codes import JobReason

_log = structlog.get_logger(__name__)

# A job whose round breaks this often is ended; the others go on.
_MAX_BROKEN = 5

Ranking = tuple[RankedDriver, ...]


class Rounds:
    """Runs rounds, one at a time a mall. ``follow`` hastens what each offer brought about."""

    def __init__(self, context: Context, follow: Follow, tasks: Tasks) -> None:
        self._context = context
        self._follow = follow
        self._tasks = tasks
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._needed_m: dict[str, float] = {}
        self._freed_near: dict[str, set[str]] = {}
        # Until when a job that found nobody has been put off, by this node.
        self._put_off_ms: dict[str, int] = {}
        self._broken: dict[str, int] = {}

    def wake(self, market: str, mall: str) -> None:
        """Give the mall a round now, or right after the one under way."""
        if mall in self._running:
            self._again.add(mall)
            return
        self._running.add(mall)
        self._tasks.start(self._serve(market, mall), f"round {mall}")

    def wake_waiting(self, market: str, malls: Sequence[str]) -> None:
        """Give those of the malls a round at which jobs wait: a driver became free near them."""
        if not malls:
            return
        if market in self._freed_near:
            self._freed_near[market].update(malls)
            return
        self._freed_near[market] = set(malls)
        self._tasks.start(self._wake_waiting(market), f"wake {market}")

    async def look(self, market: str, mall: Mall, search: Search, jobs: int) -> Found:
        """Read what a round looks at."""
        return await self._context.store.candidates(
            market,
            mall.id,
            mall.lat,
            mall.lon,
            radius_m=search.radius_m,
            max_radius_m=self._context.policy(market).max_radius_m,
            drivers=search.drivers,
            jobs=jobs,
        )

    def matcher(self, market: str, mall: Mall, found: Found) -> Matcher:
        """A matcher for what a round found."""
        return Matcher(
            mall,
            found.near,
            found.now_ms,
            self._context.policy(market),
            self._context.travel_time(market),
        )

    def search(self, market: str, mall: str) -> Search:
        """Where a search at this mall starts."""
        return first_search(self._needed_m.get(mall), self._context.policy(market))

    async def _wake_waiting(self, market: str) -> None:
        # One turn later: a batch of positions or a sweep frees many drivers at once.
        await asyncio.sleep(0)
        malls = tuple(self._freed_near.pop(market))
        counts = await self._context.store.waiting(market, malls)
        for mall, count in zip(malls, counts, strict=True):
            if count:
                self.wake(market, mall)

    async def _serve(self, market: str, mall: str) -> None:
        try:
            while True:
                self._again.discard(mall)
                try:
                    await self._round(market, self._context.places.mall(mall))
                except StoreUnavailable as error:
                    # The due entries stay: whoever reaches the store again goes on.
                    _log.warning("round given up", mall=mall, error=str(error))
                    return
                if mall not in self._again:
                    return
        finally:
            self._running.discard(mall)

    async def _round(self, market: str, mall: Mall) -> None:
        started = time.perf_counter()
        policy = self._context.policy(market)
        search = self.search(market, mall.id)
        while True:
            found = await self.look(market, mall, search, search.jobs)
            if not found.waiting:
                return
            if len(found.waiting) * 2 > search.drivers and found.more:
                wide = wide_enough(search, len(found.waiting), policy)
                if wide != search:
                    search = wide
                    continue
            if found.near:
                self._needed_m[mall.id] = max(n.distance_m for n in found.near[: policy.candidates])
            plans = self._plan(market, mall, found)
            placed = await self._offer(market, mall, plans)
            more_jobs = found.waiting_total > len(found.waiting)
            if placed:
                self._context.metrics.matched(time.perf_counter() - started)
                if placed == len(plans) and not more_jobs:
                    return
                continue
            further = widened(search, policy, more_drivers=found.more, more_jobs=more_jobs)
            if further is None:
                await self._put_off(market, mall, found, plans)
                return
            search = further

    def _plan(self, market: str, mall: Mall, found: Found) -> list[tuple[Waiting, Ranking]]:
        """Rank the drivers for each job that may be offered now; a job that breaks the ranking is
        left out of it, and counted."""
        ready = [job for job in found.waiting if job.held_until_ms <= found.now_ms]
        matcher = self.matcher(market, mall, found)
        try:
            return matcher.plan(ready)
        except Exception:  # noqa: BLE001  whatever one job's data does, the others go on
            _log.exception("round broke", mall=mall.id)
        plans: list[tuple[Waiting, Ranking]] = []
        for job in ready:
            try:
                plans += matcher.plan([job])
            except Exception:  # noqa: BLE001  as above; this one is counted, and ended in the end
                _log.exception("job broke its round", job=job.job)
                self._broken[job.job] = self._broken.get(job.job, 0) + 1
        return plans

    async def _offer(
        self, market: str, mall: Mall, plans: Sequence[tuple[Waiting, Ranking]]
    ) -> int:
        """Put the offers out, all in one write; how many jobs found a driver."""
        calls: list[Coroutine[Any, Any, Offered]] = []
        asked: list[tuple[Waiting, Ranking]] = []
        policy = self._context.policy(market)
        now_ms = self._context.store.now_ms()
        for job, ranking in plans:
            drivers = offerable(ranking)
            if not drivers or end_reason(job, ranking, now_ms, policy):
                continue
            plan = OfferPlan(
                offer=f"offer_{secrets.token_urlsafe(12)}",
                mall=mall.id,
                job=job.job,
                attempt=job.attempt,
                card=job.card,
                drivers=drivers,
            )
            calls.append(self._context.store.offer(plan))
            asked.append((job, ranking))
        placed = 0
        for (job, ranking), offered in zip(asked, await asyncio.gather(*calls), strict=True):
            if offered.verdict != "offered":
                continue
            placed += 1
            self._put_off_ms.pop(job.job, None)
            self._context.metrics.offer("offered")
            self._follow(market, offered.effects)
            self._keep(market, job, job.attempt + 1, ranking, mall.id, capped=False)
        return placed

    async def _put_off(
        self,
        market: str,
        mall: Mall,
        found: Found,
        plans: Sequence[tuple[Waiting, Ranking]],
    ) -> None:
        """Nobody for these jobs now: end those whose time has come, look again at the others."""
        policy = self._context.policy(market)
        rankings = {job.job: ranking for job, ranking in plans}
        capped = found.more
        calls: list[Coroutine[Any, Any, Any]] = []
        for job in found.waiting:
            ref = JobRef(job.job, mall.id)
            ranking = rankings.get(job.job, ())
            reason = end_reason(job, ranking, found.now_ms, policy)
            if self._broken.get(job.job, 0) >= _MAX_BROKEN:
                reason = JobReason.TOO_MANY_ATTEMPTS
            if reason is not None:
                calls.append(self._end(market, ref, reason))
                continue
            if self._put_off_ms.get(job.job, 0) > found.now_ms:
                continue
            again_ms = found.now_ms + int(policy.retry_s * 1000)
            if job.held_until_ms > found.now_ms:
                again_ms = job.held_until_ms
            self._put_off_ms[job.job] = min(again_ms, job.need.expires_ms) - 1
            calls.append(self._retry(market, ref, job.attempt, again_ms))
            self._keep(market, job, job.attempt, ranking, mall.id, capped=capped)
        await asyncio.gather(*calls)
        self._drop_memory(found.now_ms)

    async def _retry(self, market: str, ref: JobRef, attempt: int, again_ms: int) -> None:
        self._follow(market, await self._context.store.retry_later(ref, attempt, again_ms))

    async def _end(self, market: str, ref: JobRef, reason: JobReason) -> None:
        # A job that breaks its rounds has spent its attempts whatever their number says.
        broken = self._broken.pop(ref.job, 0) >= _MAX_BROKEN
        most = 0 if broken else self._context.policy(market).max_attempts
        effects = await self._context.store.expire(ref, reason.value, most)
        self._put_off_ms.pop(ref.job, None)
        if effects:
            _log.info("job expired", job=ref.job, reason=reason.value)
            self._follow(market, effects)

    def _keep(
        self, market: str, job: Waiting, number: int, ranking: Ranking, mall: str, *, capped: bool
    ) -> None:
        record = RoundRecord(
            job=job.job,
            round=number,
            at_ms=self._context.store.now_ms(),
            radius_m=round(self._needed_m.get(mall, 0)),
            capped=capped,
            candidates=ranking,
        )
        self._tasks.start(self._record(market, record), f"explain {job.job}")

    async def _record(self, market: str, record: RoundRecord) -> None:
        try:
            await self._context.store.record_round(market, record)
        except StoreUnavailable:
            _log.debug("round not kept", job=record.job)

    def _drop_memory(self, now_ms: int) -> None:
        """Forget what has been put off till a time that is over: those jobs are seen again."""
        if len(self._put_off_ms) > 10_000:
            late = [job for job, till in self._put_off_ms.items() if till < now_ms]
            for job in late:
                del self._put_off_ms[job]
