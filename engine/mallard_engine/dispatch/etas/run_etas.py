"""Updates the expected times of a driver's jobs during its run.

An accepted run brings its times. They change when a job is added, when the run leaves the mall, and
with every drop-off. A driver without a network may collect jobs that were taken off it meanwhile:
when it claims them, what it has on board is ordered anew, or its app would show no order.

The knowledge is local to a node: if another node took the answers, the times stay as they were.
They also stay while the driver holds a job without a known drop-off (one that it accepted before
its market had runs).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from mallard_engine.core.model import Driver, HeldJob, Job
from mallard_engine.core.runs.drop_off_order import HARD_S, OrderCosts, Stops, best_order
from mallard_engine.dispatch.context import Context, Tasks
from mallard_engine.ports import Answered, Stop, StoreUnavailable
from mallard_protocol.lifecycle import Step

_log = structlog.get_logger(__name__)

# A run ends within a day; another node took the answers of an older one.
_MOST_RUNS = 20_000


@dataclass(frozen=True, slots=True)
class _Course:
    """A driver's jobs in drop-off order.

    ``pickup_ms``: when they are picked up. ``back_ms``: the walk from the last store to the gate.
    """

    mall: str
    jobs: tuple[HeldJob, ...]
    pickup_ms: int
    back_ms: int = 0


def _are_placed(driver: Driver) -> bool:
    """Whether the drop-offs of all held jobs are known."""
    return all(job.has_place for job in driver.jobs)


class RunEtas:
    """The courses of the drivers whose answers this node took, in markets with runs."""

    def __init__(self, context: Context, tasks: Tasks) -> None:
        self._context = context
        self._tasks = tasks
        self._courses: dict[tuple[str, str], _Course] = {}

    def __len__(self) -> int:
        return len(self._courses)

    def accepted(self, market: str, answered: Answered) -> None:
        """Note that a driver has accepted a run, or one more job."""
        if self._context.policy(market).max_run_jobs == 1 or not answered.jobs:
            return
        if not _are_placed(answered.driver):
            self.ended(market, answered.driver.id)
            return
        held = {job.job: job for job in answered.driver.jobs}
        new = [held[job.id] for job in answered.jobs if job.id in held]
        others = [job for job in answered.driver.jobs if job not in new]
        pickup_ms = max(job.eta_pickup_ms or 0 for job in answered.jobs)
        course = _Course(answered.jobs[0].mall, tuple(new), pickup_ms)
        if others:
            known = self._courses.get((market, answered.driver.id))
            course = replace(course, back_ms=known.back_ms if known is not None else 0)
            course = self._ordered(market, replace(course, jobs=(*others, *new)))
            self._start_update(market, answered.driver.id, course, self._from_mall(market, course))
        else:
            course = replace(course, back_ms=self._back_ms(market, course, answered.jobs))
        self._keep(market, answered.driver.id, course)

    def progressed(self, market: str, job: str, step: Step, answered: Answered) -> None:
        """Note that a driver has done a step of one of its jobs."""
        known = self._courses.get((market, answered.driver.id))
        if known is None:
            return
        held = {job.job for job in answered.driver.jobs}
        done = next((it for it in known.jobs if it.job == job), None)
        course = replace(known, jobs=tuple(it for it in known.jobs if it.job in held))
        if not course.jobs:
            self.ended(market, answered.driver.id)
            return
        times_ms: Sequence[int] = ()
        if step is Step.PICKED_UP:
            course = replace(course, pickup_ms=answered.effects.now_ms)
            times_ms = self._from_mall(market, course)
        elif step is Step.DELIVERED and done is not None:
            door = done.lat, done.lon
            times_ms = self._times(market, course, door, answered.effects.now_ms)
        if times_ms and _are_placed(answered.driver):
            self._start_update(market, answered.driver.id, course, times_ms)
        self._courses[market, answered.driver.id] = course

    def took_custody(
        self, market: str, mall: str, answered: Answered, fix: tuple[float, float] | None
    ) -> None:
        """Order the drop-offs of a driver who has claimed a parcel that was no longer its job.

        Args:
            market: The market of the driver.
            mall: The mall of the parcel.
            answered: The answer to the claim.
            fix: Where the driver is; None: at the mall.
        """
        driver = answered.driver
        if self._context.policy(market).max_run_jobs == 1 or not _are_placed(driver):
            self.ended(market, driver.id)
            return
        on_board = tuple(held for held in driver.jobs if held.there and held.mall == mall)
        place = self._context.places.mall(mall)
        start = fix or (place.lat, place.lon)
        now_ms = answered.effects.now_ms
        course = self._ordered(market, _Course(mall, on_board, now_ms), start)
        self._start_update(market, driver.id, course, self._times(market, course, start, now_ms))
        self._keep(market, driver.id, course)

    def ended(self, market: str, driver: str) -> None:
        """Forget a driver who no longer holds a job, or has disconnected."""
        self._courses.pop((market, driver), None)

    def _keep(self, market: str, driver: str, course: _Course) -> None:
        if len(self._courses) >= _MOST_RUNS:
            del self._courses[next(iter(self._courses))]
        self._courses[market, driver] = course

    def _ordered(
        self, market: str, course: _Course, start: tuple[float, float] | None = None
    ) -> _Course:
        """Return the course with its drop-offs in the best order from `start`, by default the mall.

        The trip back counts as one to where the course starts.
        """
        policy, mall = self._context.policy(market), self._context.places.mall(course.mall)
        travel = self._context.travel_time(market)
        points = [start or (mall.lat, mall.lon), *((job.lat, job.lon) for job in course.jobs)]
        ways_s = [
            [travel.seconds(*here, *there, course.pickup_ms) for there in points] for here in points
        ]
        leaves_ms = course.pickup_ms + course.back_ms
        stops = Stops(
            out_s=ways_s[0][1:],
            between_s=[row[1:] for row in ways_s[1:]],
            back_s=[row[0] for row in ways_s[1:]],
            due_s=[(job.deadline_ms - leaves_ms) / 1000 for job in course.jobs],
            dwell_s=policy.dropoff_dwell_s,
        )
        late = HARD_S if policy.run.deadlines == "hard" else policy.run.late
        best = best_order(stops, OrderCosts(late, policy.run.back, policy.run.delay))
        return replace(course, jobs=tuple(course.jobs[stop] for stop in best.order))

    def _from_mall(self, market: str, course: _Course) -> Sequence[int]:
        mall = self._context.places.mall(course.mall)
        leaves_ms = course.pickup_ms + course.back_ms
        return self._times(market, course, (mall.lat, mall.lon), leaves_ms)

    def _back_ms(self, market: str, course: _Course, jobs: Sequence[Job]) -> int:
        """Return the walk back to the gate that the times of the offered run include."""
        if not course.jobs:
            return 0
        offered_ms = min(job.eta_dropoff_ms or 0 for job in jobs)
        first_ms = self._from_mall(market, replace(course, jobs=course.jobs[:1], back_ms=0))[0]
        return max(offered_ms - first_ms, 0)

    def _times(
        self, market: str, course: _Course, start: tuple[float, float], at_ms: int
    ) -> Sequence[int]:
        """Return when each job is dropped off, if the driver departs at that time."""
        travel, policy = self._context.travel_time(market), self._context.policy(market)
        here, times_ms = start, []
        for job in course.jobs:
            way_s = travel.seconds(*here, job.lat, job.lon, at_ms)
            at_ms += int((way_s + policy.dropoff_dwell_s) * 1000)
            times_ms.append(at_ms)
            here = job.lat, job.lon
        return times_ms

    def _start_update(
        self, market: str, driver: str, course: _Course, times_ms: Sequence[int]
    ) -> None:
        stops = [
            Stop(job.job, job.attempt, course.pickup_ms, at_ms)
            for job, at_ms in zip(course.jobs, times_ms, strict=True)
        ]
        # In the background: the answer does not wait for better times.
        self._tasks.start(self._update(market, driver, stops), "etas")

    async def _update(self, market: str, driver: str, stops: Sequence[Stop]) -> None:
        try:
            await self._context.storage.jobs.update_etas(market, driver, stops)
        except StoreUnavailable:
            _log.debug("times not stored", driver=driver)
