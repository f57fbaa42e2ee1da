"""The jobs that a batch of a market did not serve: when each is planned again."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import structlog

from mallard_engine.core.matching.patience import first_bar_end_ms
from mallard_engine.core.model import Waiting
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.dispatch.next_opening import NextOpening
from mallard_engine.dispatch.rounds.retry_pace import RetryPace
from mallard_engine.dispatch.rounds.unserved_jobs import MAX_FAILURES
from mallard_engine.ports import JobRef, MarketQueue

_log = structlog.get_logger(__name__)

# How many jobs are postponed in one write.
_WRITE_BATCH = 256


class UnservedInBatch:
    """Postpones jobs. ``apply_effects`` is called with the effects."""

    def __init__(
        self, context: Context, market: str, apply_effects: ApplyEffects, pace: RetryPace
    ) -> None:
        self._context = context
        self._market = market
        self._deadlines = context.storage.deadlines
        self._policy = context.policy(market)
        self._apply_effects = apply_effects
        self._pace = pace
        self.openings = NextOpening(context, market, apply_effects)
        # By waiting job: until when it is postponed, and in how many batches its data failed.
        self._postponed_ms: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        # Of jobs that failed: the kind of the last error. Its text may quote an order.
        self._errors: dict[str, str] = {}

    @property
    def jobs(self) -> AbstractSet[str]:
        """The jobs in memory."""
        return self._postponed_ms.keys() | self._failures.keys()

    def forget(self) -> None:
        """Forget all jobs: none waits."""
        self._postponed_ms.clear()
        self._failures.clear()
        self._errors.clear()

    def called_for(self, jobs: Iterable[str]) -> None:
        """Note new and due jobs: their due entries are not those that were written here."""
        for job in jobs:
            self._postponed_ms.pop(job, None)

    def has_failed(self, job: str) -> bool:
        """Return whether the job's data failed when it was looked at last."""
        return job in self._failures

    def note_failure(self, job: str, error: str) -> None:
        """Note that a job's data failed in this batch."""
        self._failures[job] = self._failures.get(job, 0) + 1
        self._errors[job] = error

    async def postpone(
        self, queue: MarketQueue, set_off_ms: Mapping[str, int], *, is_whole: bool = True
    ) -> None:
        """Postpone jobs until their driver must set off, or to the next retry.

        Args:
            queue: The jobs.
            set_off_ms: When the planned driver of a job must set off (epoch ms).
            is_whole: Whether the batch has read the market's jobs, not only due ones.
        """
        now_ms = queue.now_ms
        known = {job: at_ms for job, at_ms in self._postponed_ms.items() if at_ms > now_ms}
        postponed_ms = {} if is_whole else known
        calls: list[Callable[[], Coroutine[Any, Any, None]]] = []
        for mall, waiting in queue.jobs:
            name = waiting.job
            if (failures := self._failures.get(name, 0)) >= MAX_FAILURES:
                error = self._errors.get(name, "Exception")
                calls.append(partial(self._bury, mall, waiting, failures, error))
                continue
            again_ms = self._again_ms(mall, waiting, now_ms, set_off_ms.get(name))
            known_ms = known.get(name, 0)
            # A job that is already due sooner keeps its entry.
            if now_ms < known_ms <= again_ms:
                again_ms = known_ms
            else:
                calls.append(partial(self._retry_at, mall, waiting, again_ms))
            postponed_ms[name] = again_ms
        self._postponed_ms = postponed_ms
        if is_whole:
            self._failures = {job: n for job, n in self._failures.items() if job in postponed_ms}
            self._errors = {job: it for job, it in self._errors.items() if job in self._failures}
        # One write of thousands would delay the calls of other malls.
        for first in range(0, len(calls), _WRITE_BATCH):
            await asyncio.gather(*(call() for call in calls[first : first + _WRITE_BATCH]))

    def _again_ms(self, mall: str, waiting: Waiting, now_ms: int, set_off_ms: int | None) -> int:
        retry_ms = int(self._policy.retry_s * 1000)
        if waiting.job in self._failures:
            again_ms = now_ms + retry_ms
        else:
            again_ms = self._pace.again_ms(self._market, waiting.job, now_ms, retry_ms)
        expires_ms = waiting.need.expires_ms
        bar_end_ms = first_bar_end_ms(waiting.asked, expires_ms, now_ms, self._policy)
        again_ms = min(again_ms, bar_end_ms or again_ms)
        if waiting.held_until_ms > now_ms:
            again_ms = waiting.held_until_ms
        elif set_off_ms is not None and set_off_ms > now_ms:
            again_ms = set_off_ms
        elif now_ms < (ready_ms := self._in_sight_ms(waiting)) < again_ms:
            again_ms = ready_ms
        place = self._context.places.malls.get(mall)
        look_by_ms = self.openings.look_by_ms(place, waiting, now_ms) if place else None
        return min(again_ms, look_by_ms or again_ms, expires_ms)

    def _in_sight_ms(self, waiting: Waiting) -> int:
        """Return when batches begin to plan the job."""
        return waiting.need.ready_ms - int(self._policy.look_ahead_s * 1000)

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
