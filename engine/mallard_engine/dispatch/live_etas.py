"""Updates the expected times of held jobs from positions and steps.

The node that holds a driver's socket, or took its acceptance, knows the driver's course: its jobs
in drop-off order. It reads the jobs once after each change, not with each fix. A fix updates the
times in memory, at most once in `eta_every_s`. One script call writes the times of all jobs of the
driver, and only if they have changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from mallard_engine.core.model import Driver, Job
from mallard_engine.dispatch.context import Context, Tasks
from mallard_engine.dispatch.course import in_order, times_of
from mallard_engine.ports import DriverFix, DriverSnapshot, NoSuchDriver, Stop, StoreUnavailable

_log = structlog.get_logger(__name__)

# The most courses that this node updates.
_MOST_COURSES = 50_000
# Smaller changes are not stored.
_LEAST_CHANGE_MS = 5_000


@dataclass(slots=True)
class _Course:
    """A driver's jobs in drop-off order; None: they must be read again.

    ``computed_ms``: when the times were last computed. ``times``: what is stored, by job.
    """

    jobs: tuple[Job, ...] | None = None
    computed_ms: int = 0
    times: dict[str, tuple[int, int]] | None = None


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
        self._courses[key] = _Course(in_order(jobs) if known else None)

    def holds_unknown_job(self, market: str, driver: str) -> None:
        """Note that a driver of this node holds a job that this node does not know."""
        if self._context.policy(market).eta_every_s and len(self._courses) < _MOST_COURSES:
            self._courses[market, driver] = _Course()

    def changed(self, market: str, driver: str) -> None:
        """Read the jobs of a driver again with its next fix."""
        if (market, driver) in self._courses:
            self._courses[market, driver] = _Course()

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
            if course is None or verdict != "ok" or now_ms < course.computed_ms + every_ms:
                continue
            course.computed_ms = now_ms
            self._tasks.start(self._update(market, fix, course), "etas")

    async def _update(self, market: str, fix: DriverFix, course: _Course) -> None:
        store = self._context.storage
        try:
            if course.jobs is None:
                snapshot = await store.drivers.snapshot(market, fix.driver)
                course.jobs = self._read(market, snapshot)
            stops = self._stops(market, fix, course)
            if stops:
                await store.jobs.update_etas(market, fix.driver, stops)
        except (NoSuchDriver, StoreUnavailable) as error:
            course.jobs = None
            _log.debug("times not stored", driver=fix.driver, error=str(error))

    def _read(self, market: str, snapshot: DriverSnapshot) -> tuple[Job, ...]:
        if not snapshot.jobs:
            self.forget(market, snapshot.driver.id)
        return in_order(snapshot.jobs)

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
