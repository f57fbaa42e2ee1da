"""Updates the expected times of held jobs from positions and steps.

The node that holds a driver's socket, or took its acceptance, knows the driver's course: its jobs
in drop-off order. It reads the jobs once after each change, not with each fix. A fix updates the
times in memory, at most once in `eta_every_s`, and writes the driver's position as an event every
`MOVED_EVERY_S`. One script call writes the times of all jobs of the driver, and only if they have
changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from mallard_engine.core.model import TRANSFER, Driver, Job
from mallard_engine.core.tracking import has_more_to_collect
from mallard_engine.dispatch.context import Context, Tasks
from mallard_engine.dispatch.etas.course import in_order, times_of
from mallard_engine.ports import (
    DriverFix,
    MovedJob,
    NoSuchDriver,
    Stop,
    StoreUnavailable,
)
from mallard_protocol.events import MOVED_EVERY_S

_log = structlog.get_logger(__name__)

# The most courses that this node updates.
_MOST_COURSES = 50_000
# Smaller changes are not stored.
_LEAST_CHANGE_MS = 5_000


@dataclass(slots=True)
class _Course:
    """A driver's jobs in drop-off order; None: they must be read again.

    ``computed_ms``: when the times were last computed. ``times``: what is stored, by job.
    ``reported_ms``: when the driver's position was last written as an event.
    """

    jobs: tuple[Job, ...] | None = None
    computed_ms: int = 0
    times: dict[str, tuple[int, int]] | None = None
    reported_ms: int = 0


class LiveEtas:
    """The courses of the drivers of this node."""

    def __init__(self, context: Context, tasks: Tasks) -> None:
        self._context = context
        self._tasks = tasks
        self._courses: dict[tuple[str, str], _Course] = {}

    def __len__(self) -> int:
        return len(self._courses)

    def holds(self, market: str, driver: Driver, jobs: Sequence[Job] = ()) -> None:
        """Note that a driver holds other jobs, or has done a step.

        ``jobs``: all jobs that it holds, if they are known; else they are read with its next fix.
        """
        key = market, driver.id
        if not driver.jobs or not self._context.policy(market).eta_every_s:
            self._courses.pop(key, None)
            return
        if key not in self._courses and len(self._courses) >= _MOST_COURSES:
            return
        held = {held.job for held in driver.jobs}
        known = held <= {job.id for job in jobs}
        self._renew(key, in_order(jobs) if known else None)

    def holds_unknown_job(self, market: str, driver: str) -> None:
        """Note that a driver of this node holds a job that this node does not know."""
        if self._context.policy(market).eta_every_s and len(self._courses) < _MOST_COURSES:
            self._renew((market, driver), None)

    def changed(self, market: str, driver: str) -> None:
        """Read the jobs of a driver again with its next fix."""
        if (market, driver) in self._courses:
            self._renew((market, driver), None)

    def _renew(self, key: tuple[str, str], jobs: tuple[Job, ...] | None) -> None:
        old = self._courses.get(key)
        self._courses[key] = _Course(jobs, reported_ms=old.reported_ms if old else 0)

    def forget(self, market: str, driver: str) -> None:
        """Forget a driver whose socket has closed, or who holds nothing."""
        self._courses.pop((market, driver), None)

    def moved(self, market: str, fixes: Sequence[DriverFix], verdicts: Sequence[str]) -> None:
        """Update the times of drivers who moved and hold jobs."""
        if not self._courses:
            return
        every_ms = self._context.policy(market).eta_every_s * 1000
        now_ms = self._context.storage.now_ms()
        for fix, verdict in zip(fixes, verdicts, strict=True):
            course = self._courses.get((market, fix.driver))
            if course is None or verdict != "ok":
                continue
            is_due = now_ms >= course.computed_ms + every_ms
            is_reported = now_ms >= course.reported_ms + MOVED_EVERY_S * 1000
            if is_due:
                course.computed_ms = now_ms
            if is_reported:
                course.reported_ms = now_ms
            if is_due or is_reported:
                self._tasks.start(self._update(market, fix, course, is_due, is_reported), "etas")

    async def _update(
        self,
        market: str,
        fix: DriverFix,
        course: _Course,
        is_due: bool,  # noqa: FBT001 - private
        is_reported: bool,  # noqa: FBT001 - private
    ) -> None:
        store = self._context.storage
        try:
            if course.jobs is None:
                snapshot = await store.drivers.snapshot(market, fix.driver)
                course.jobs = in_order(snapshot.jobs)
                if not course.jobs and self._courses.get((market, fix.driver)) is course:
                    self.forget(market, fix.driver)
            if is_due and (stops := self._stops(market, fix, course)):
                await store.jobs.update_etas(market, fix.driver, stops)
            if is_reported and (next_stop := _next_stop(course)):
                await store.event_log.publish_move(market, fix, next_stop)
        except (NoSuchDriver, StoreUnavailable) as error:
            course.jobs = course.times = None
            _log.debug("times not stored", driver=fix.driver, error=str(error))

    def _stops(self, market: str, fix: DriverFix, course: _Course) -> list[Stop]:
        """Return the times to store, if one has changed enough."""
        now_ms = self._context.storage.now_ms()
        jobs = [job for job in course.jobs or () if self._context.places.knows(job.mall)]
        times = times_of(self._context, market, (fix.lat, fix.lon), jobs, now_ms)
        stored = course.times or {
            job.id: (job.eta_pickup_ms or 0, job.eta_dropoff_ms or 0) for job in jobs
        }
        changed = any(
            abs(new - old) >= _LEAST_CHANGE_MS
            for job in jobs
            for new, old in zip(times[job.id], stored[job.id], strict=True)
        )
        if not changed:
            return []
        course.times = times
        return [Stop(job.id, job.attempt, *times[job.id]) for job in jobs]


def _next_stop(course: _Course) -> list[MovedJob]:
    """Return the jobs that the driver drives to: those to collect at one mall, or one drop-off."""
    jobs = course.jobs or ()
    waiting = [job for job in jobs if has_more_to_collect(job)]
    heading_for = [job for job in waiting if job.mall == waiting[0].mall] or jobs[:1]
    times = course.times or {}
    return [
        MovedJob(
            job.id,
            job.service,
            times.get(job.id, (job.eta_pickup_ms or 0, job.eta_dropoff_ms or 0)),
        )
        for job in heading_for
        if job.kind != TRANSFER
    ]
