"""When the search for a job's driver may run, and when it runs again."""

from mallard_engine.core.matching.patience import first_bar_end_ms
from mallard_engine.core.matching.search_policy import first_look_ms
from mallard_engine.core.model import Waiting
from mallard_engine.core.places.markets import Mall
from mallard_engine.dispatch.context import Context


class SearchTimes:
    """The times of one market's jobs, in epoch milliseconds."""

    def __init__(self, context: Context, market: str) -> None:
        self._context = context
        self._policy = context.policy(market)
        self._straight_line = context.straight_line(market)

    def is_time(self, mall: Mall, job: Waiting, now_ms: int) -> bool:
        """Return whether the search for a driver may run now.

        It may not while an operator has paused matching, or while a driver would arrive long
        before the parcels are ready; nor, for a job that is not pooled, while a store is held. An
        expired job is served in any case, so that it ends.
        """
        if job.need.expires_ms <= now_ms:
            return True
        is_paused = self._context.is_paused(mall, job.need)
        return not is_paused and self._start_ms(job, now_ms) <= now_ms

    def again_ms(self, job: Waiting, now_ms: int, retry_ms: int) -> int:
        """Return when a job without a driver is searched for again.

        Args:
            job: The job.
            now_ms: The time.
            retry_ms: When it is tried again if nothing calls for it.
        """
        start_ms = self._start_ms(job, now_ms)
        expires_ms = job.need.expires_ms
        again_ms = start_ms if start_ms > now_ms else retry_ms
        bar_end_ms = first_bar_end_ms(job.asked, expires_ms, now_ms, self._policy) or again_ms
        return max(start_ms, min(again_ms, bar_end_ms))

    def _start_ms(self, job: Waiting, now_ms: int) -> int:
        """Return when the search for a driver may start.

        The ready time may have been moved since the job was queued.
        """
        ready_ms, held_ms = job.need.ready_ms, job.held_until_ms
        if self._policy.pools(job.need):
            # No run brings its driver there sooner than the end of the hold.
            ready_ms, held_ms = max(ready_ms, held_ms), 0
        if ready_ms <= now_ms:
            return held_ms
        way_s = self._straight_line.road_s(self._policy.initial_radius_m, ready_ms)
        return max(held_ms, first_look_ms(ready_ms, now_ms, way_s, self._policy))
