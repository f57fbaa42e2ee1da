"""Moves jobs that no driver can collect before their mall closes to the next opening."""

import asyncio
from collections.abc import Sequence

import structlog

from mallard_engine.core.model import Need, Waiting
from mallard_engine.core.pickup.pickup_deadline import at_next_opening, last_call_ms
from mallard_engine.core.pickup.pickup_plan import job_tour
from mallard_engine.core.places.mall import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import JobRef

_often = RateLimitedLog(structlog.get_logger(__name__))


class NextOpening:
    """Moves the queued jobs of one market. ``apply_effects`` gets the effects of each move."""

    def __init__(self, context: Context, market: str, apply_effects: ApplyEffects) -> None:
        self._context = context
        self._market = market
        self._service_time = context.service_time(market)
        self._apply_effects = apply_effects

    async def move(self, mall: Mall, jobs: Sequence[Waiting], now_ms: int) -> frozenset[str]:
        """Move the jobs that cannot be collected in the present opening.

        A job moves if a later opening begins before it expires.

        Returns:
            The jobs that a round must leave out.

        Raises:
            StoreUnavailable: The storage cannot be reached.
        """
        if mall.never_closes:
            return frozenset()
        moves = [(job, need) for job in jobs if (need := self._later(mall, job, now_ms))]
        await asyncio.gather(*(self._move(mall, job, need, now_ms) for job, need in moves))
        return frozenset(job.job for job, _ in moves)

    def look_by_ms(self, mall: Mall, job: Waiting, now_ms: int) -> int | None:
        """Return the time by which the job must be checked again (epoch ms), or None."""
        if mall.never_closes or (collect_ms := self._collect_ms(mall, job, now_ms)) is None:
            return None
        last_ms = last_call_ms(mall, job.need, collect_ms, now_ms)
        return None if last_ms is None or last_ms < now_ms else last_ms + 1

    def _later(self, mall: Mall, job: Waiting, now_ms: int) -> Need | None:
        collect_ms = self._collect_ms(mall, job, now_ms)
        return None if collect_ms is None else at_next_opening(mall, job.need, collect_ms, now_ms)

    def _collect_ms(self, mall: Mall, job: Waiting, now_ms: int) -> int | None:
        """Return the milliseconds from the gate until the last parcel is in hand.

        None for a store that the mall does not have.
        """
        try:
            return job_tour(mall, job.need, self._service_time, now_ms).collect_ms
        except KeyError:
            return None

    async def _move(self, mall: Mall, job: Waiting, need: Need, now_ms: int) -> None:
        effects = await self._context.storage.deadlines.next_opening(
            JobRef(job.job, mall.id),
            job.attempt,
            was=job.need,
            need=need,
            release_ms=self._context.release_ms(self._market, need, now_ms),
        )
        if effects is not None:
            _often.info("job moved to the next opening", mall=mall.id, example={"job": job.job})
            self._apply_effects(self._market, effects)
