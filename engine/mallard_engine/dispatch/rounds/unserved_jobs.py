"""The jobs that the rounds of a mall did not serve: when each is tried again, what is recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import structlog

from mallard_engine.core.matching.ranking import Ranking
from mallard_engine.core.model import RoundRecord, Waiting
from mallard_engine.core.places.markets import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.next_opening import NextOpening
from mallard_engine.dispatch.rounds.retry_pace import RetryPace
from mallard_engine.dispatch.rounds.round_memory import RecordedRounds
from mallard_engine.dispatch.rounds.search_times import SearchTimes
from mallard_engine.ports import Found, JobRef, StoreUnavailable
from mallard_engine.tasks import in_parts

_log = structlog.get_logger(__name__)

# A job whose data fails in this many rounds becomes a dead letter.
MAX_FAILURES = 5
# Records that are written at once.
_RECORDS_AT_ONCE = 32
# Jobs that are postponed after which the event loop serves other tasks, and at a time.
_JOBS_AT_ONCE = 32
_CALLS_AT_ONCE = 32
_NO_HOLDS: Mapping[str, int] = {}


class UnservedJobs:
    """Postpones jobs. ``apply_effects`` is called with the effects."""

    def __init__(
        self,
        context: Context,
        mall: Mall,
        apply_effects: ApplyEffects,
        tasks: Tasks,
        pace: RetryPace,
    ) -> None:
        self._context = context
        self._mall = mall
        self._offers = context.storage.offers
        self._deadlines = context.storage.deadlines
        self._policy = context.policy(mall.market)
        self._times = SearchTimes(context, mall.market)
        self._apply_effects = apply_effects
        self._tasks = tasks
        self._pace = pace
        self.openings = NextOpening(context, mall.market, apply_effects)
        # By waiting job: until when it is postponed, and in how many rounds its data failed.
        self._postponed_ms: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        # Of jobs that failed: the kind of the last error. Its text may quote an order.
        self._errors: dict[str, str] = {}
        self._recorded = RecordedRounds()

    def __len__(self) -> int:
        """The number of jobs in memory."""
        return len(self._postponed_ms.keys() | self._failures.keys())

    def forget(self) -> None:
        """Forget all jobs: none waits."""
        self._postponed_ms.clear()
        self._failures.clear()
        self._errors.clear()
        self._recorded.clear()

    def called_for(self, jobs: Iterable[str]) -> None:
        """Note new and due jobs: their due entries are not those that were written here."""
        for job in jobs:
            self._postponed_ms.pop(job, None)

    def has_failed(self, job: str) -> bool:
        """Return whether the job's data failed when it was looked at last."""
        return job in self._failures

    def is_postponed(self, job: str, now_ms: int) -> bool:
        """Return whether the job is postponed, and nothing has called for it since."""
        return now_ms < self._postponed_ms.get(job, 0)

    def note_error(self, job: str, error: str) -> None:
        """Note why a job failed in this round."""
        self._errors[job] = error

    def is_time(self, job: Waiting, now_ms: int) -> bool:
        """See `SearchTimes.is_time`."""
        return self._times.is_time(self._mall, job, now_ms)

    async def postpone(
        self,
        found: Found,
        rankings: Mapping[str, Ranking],
        failed: Collection[str] = (),
        *,
        is_whole: bool = True,
        held_ms: Mapping[str, int] = _NO_HOLDS,
    ) -> None:
        """Postpone jobs without a driver; those whose data failed too often are dead letters.

        Args:
            found: The jobs.
            rankings: Their rankings, for `explain`.
            failed: Jobs whose data failed in this round.
            is_whole: Whether the round has read the first jobs of the mall, not only due ones.
            held_ms: Until when jobs are held, so that they can share a run.
        """
        now_ms = found.now_ms
        # A hold that has become shorter, as jobs and drivers come and go, replaces the known time.
        known_ms = {
            job: at_ms
            for job, at_ms in self._postponed_ms.items()
            if now_ms < at_ms <= held_ms.get(job, at_ms)
        }
        postponed_ms = {} if is_whole else known_ms
        failures = {} if is_whole else self._failures
        calls: list[Callable[[], Awaitable[object]]] = []
        records: list[RoundRecord] = []
        for job in found.waiting:
            if count := self._failures.get(job.job, 0) + (job.job in failed):
                failures[job.job] = count
            if count >= MAX_FAILURES:
                error = self._errors.get(job.job, "Exception")
                calls.append(partial(self._bury, job, count, error))
                del failures[job.job]
                continue
            again_ms = known_ms.get(job.job, 0)
            if not again_ms:
                if len(calls) % _JOBS_AT_ONCE == _JOBS_AT_ONCE - 1:
                    await asyncio.sleep(0)
                again_ms = self._again_ms(job, now_ms, held_ms.get(job.job, 0))
                calls.append(partial(self._retry_at, job, again_ms))
                record = round_of(
                    found, job, job.attempt, rankings.get(job.job, ()), capped=found.more
                )
                # A held job has a record of its own.
                if job.job not in held_ms and self._recorded.is_news(record, found.waiting_total):
                    records.append(record)
            postponed_ms[job.job] = again_ms
        self._postponed_ms, self._failures = postponed_ms, failures
        self._errors = {job: error for job, error in self._errors.items() if job in failures}
        if records:
            # In the background, because only `explain` reads this.
            self._tasks.start(self._store(records), f"explain {self._mall.id}")
        await in_parts(calls, _CALLS_AT_ONCE)

    def _again_ms(self, job: Waiting, now_ms: int, held_ms: int) -> int:
        """Return the next time at which something can change for the job, or its next retry."""
        expires_ms = job.need.expires_ms
        look_by_ms = self.openings.look_by_ms(self._mall, job, now_ms) or expires_ms
        if held_ms > now_ms:
            return min(held_ms, look_by_ms, expires_ms)
        again_ms = self._times.again_ms(job, now_ms, self._retry_ms(job, now_ms))
        return min(again_ms, look_by_ms, expires_ms)

    def _retry_ms(self, job: Waiting, now_ms: int) -> int:
        retry_ms = int(self._policy.retry_s * 1000)
        if job.job in self._errors:
            return now_ms + retry_ms
        return self._pace.again_ms(self._mall.id, job.job, now_ms, retry_ms)

    async def _retry_at(self, job: Waiting, at_ms: int) -> None:
        effects = await self._deadlines.retry_later(self._ref(job), job.attempt, at_ms)
        self._apply_effects(self._mall.market, effects)

    async def _bury(self, job: Waiting, rounds: int, error: str) -> None:
        letters = self._context.storage.dead_letters
        effects = await letters.bury(self._ref(job), job.attempt, rounds, error)
        if effects is not None:
            _log.error("job is a dead letter: it broke its rounds", job=job.job, error=error)
            self._apply_effects(self._mall.market, effects)

    async def _store(self, records: Sequence[RoundRecord]) -> None:
        try:
            # In parts: hundreds of records in one write would be in memory at once.
            for first in range(0, len(records), _RECORDS_AT_ONCE):
                part = records[first : first + _RECORDS_AT_ONCE]
                store = self._offers.record_round
                await asyncio.gather(*[store(self._mall.market, record) for record in part])
        except StoreUnavailable:
            _log.debug("rounds not stored", mall=self._mall.id)

    def _ref(self, job: Waiting) -> JobRef:
        return JobRef(job.job, self._mall.id)


def round_of(
    found: Found, job: Waiting, number: int, ranking: Ranking, *, capped: bool = False
) -> RoundRecord:
    """Return the round of a job, for ``explain``."""
    return RoundRecord(
        job=job.job,
        round=number,
        at_ms=found.now_ms,
        radius_m=round(found.radius_m),
        capped=capped,
        candidates=ranking,
    )
