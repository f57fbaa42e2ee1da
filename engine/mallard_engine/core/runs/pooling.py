"""Pooling: which queued jobs of a mall are delivered in one run, and which are held for later.

The most urgent job is the seed of a run. The run is filled, one job at a time, with the job that
saves most beyond its *potential*: a share of its own round trip. A remote job can save more in a
later run than a near one, so the share keeps it for a better run without a forecast (Ma, Ma,
Romero, "Potential-Based Greedy Matching for Dynamic Delivery Pooling", arXiv 2502.16862: one half
for pairs). The delay of the other jobs reduces the gain, and with hard deadlines no job becomes
late by it. Then the order of the drop-offs is optimised.

A run leaves at once if one of its jobs may not be held (`pooled`). Otherwise it leaves when no
further job would fit, or when one of its jobs must leave (its deadline less route, stops and
margin, or the end of its hold). All other jobs are held until a given time. Express jobs are never
pooled: the callers leave them out.

With `run.plan` `by_deadline`, `release_by_deadline` decides which runs leave.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from mallard_engine.core.matching.patience import barred_by
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.model import Waiting
from mallard_engine.core.pickup.approximate_tour import ApproximateTour
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.pickup.pickup_plan import ServiceTime, run_tour
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.runs.drop_off_order import Order
from mallard_engine.core.runs.refused_add_ons import RefusedAddOns, mark_of
from mallard_engine.core.runs.release_by_deadline import Release
from mallard_engine.core.runs.run import Pooled, Run, RunDriver, hold_until_ms
from mallard_engine.core.runs.stops import Draft, RunStops, need_of

# How many of the jobs with the greatest gain are tried as the next job of a run, and as an add-on
# for a driver on the way, whose block may end soon.
_TRIED = 6
_TRIED_ON_THE_WAY = 24
# A round considers this many of the most urgent jobs, to bound its duration.
_LOOKED_AT = 160
# The same where jobs are held for hours.
_LOOKED_AT_HELD = 400
# If more jobs than this that may not be held wait for each free driver, the mall is behind.
_MANY_A_DRIVER = 3


class Pool:
    """The queued jobs of one mall, ready to be pooled.

    `service_time` None: the policy's `store_dwell_s` at every store. `refused`: what earlier plans
    of the mall have tried; it is updated.

    Raises:
        KeyError: A job names a store that the mall does not have.
    """

    def __init__(
        self,
        mall: Mall,
        jobs: Sequence[Waiting],
        now_ms: int,
        policy: MarketPolicy,
        travel: TravelTime,
        service_time: ServiceTime | None = None,
        refused: RefusedAddOns | None = None,
    ) -> None:
        self._mall = mall
        self._now_ms = now_ms
        self._policy = policy
        self._travel = travel
        self._service_time = service_time or (lambda _mall, _store: policy.store_dwell_s)
        self._tour = ApproximateTour(mall, self._service_time)
        self._by_deadline = policy.run.plan == "by_deadline"
        self._refused = RefusedAddOns() if refused is None else refused
        self._most = _LOOKED_AT_HELD if self._by_deadline else _LOOKED_AT
        self._jobs, self._until_ms, self._held = self._by_urgency(jobs)
        self._barred = [
            barred_by(job.asked, job.need.expires_ms, now_ms, policy) for job in self._jobs
        ]

    def runs(self, run_drivers: Sequence[RunDriver]) -> Pooled:
        """Return runs for these drivers, at most one each, in the given order.

        A driver who is already on the way to collect jobs here gets at most one more.
        """
        coming = [driver for driver in run_drivers if driver.carried]
        free = [driver for driver in run_drivers if not driver.carried]
        self._stops = self._measured(coming, len(free))
        left = list(range(len(self._jobs)))
        runs = list(self._add_ons(left, coming))
        if self._by_deadline:
            runs += self._leaving(left, free)
        else:
            runs += self._one_by_one(left, free)
        pooled = {job.job for run in runs for job in run.jobs}
        held = {job: until_ms for job, until_ms in self._held.items() if job not in pooled}
        return Pooled(tuple(runs), held)

    def _leaving(self, left: Sequence[int], free: Sequence[RunDriver]) -> list[Run]:
        """Return the runs that must leave now, and shorten the holds of the others."""
        opens_ms = [job.held_until_ms for job in self._jobs]
        release = Release(
            self._stops, self._until_ms, self._barred, opens_ms, self._now_ms, self._policy
        )
        leaving, stays_ms = release.leaving(left, free)
        for index, until_ms in stays_ms.items():
            job = self._jobs[index].job
            if job in self._held:
                self._held[job] = min(self._held[job], until_ms)
        runs = [
            self._run(self._stops.ordered(turn, driver).turn, driver, why)
            for turn, driver, why in leaving
        ]
        turn_of = {driver.driver: turn for turn, driver in enumerate(free)}
        return sorted(runs, key=lambda run: turn_of[run.driver])

    def _one_by_one(self, left: list[int], free: Sequence[RunDriver]) -> Iterator[Run]:
        """Yield a run for each driver in order, around the most urgent job."""
        for driver in free:
            may_ask = [index for index in left if self._may_ask(index, driver)]
            run = self._run_for(may_ask, driver)
            if run is not None:
                self._take(left, run)
                yield run

    def _take(self, left: list[int], run: Run) -> None:
        taken = {job.job for job in run.jobs}
        left[:] = [index for index in left if self._jobs[index].job not in taken]

    def _may_ask(self, index: int, driver: RunDriver) -> bool:
        """Return whether the driver may be asked for the job and would not wait at the mall."""
        job = self._jobs[index]
        there_ms = self._now_ms + driver.there_s * 1000
        if job.held_until_ms > there_ms or driver.driver in self._barred[index]:
            return False
        return job.need.ready_ms <= there_ms + self._tour.visit_s(job.need.visits)[0] * 1000

    def _run_for(self, left: Sequence[int], driver: RunDriver) -> Run | None:
        """Return a run for a driver without jobs; None if no run should leave now."""
        # Jobs are in order of urgency: if the first one is held, all are.
        stops = self._stops
        alone = (stops.evaluated((index,), stops.load((index,)), driver) for index in left)
        draft = next((found for found in alone if found is not None), None)
        if draft is None:
            return None
        draft = self._filled(draft, left, driver)
        is_due = any(self._until_ms[index] <= self._now_ms for index in draft.turn)
        if not is_due and not draft.full:
            return None
        is_free = any(not self._until_ms[index] for index in draft.turn)
        why = "free" if is_free else "due" if is_due else "full"
        return self._run(stops.ordered(draft.turn, driver).turn, driver, why)

    def _filled(self, draft: Draft, left: Sequence[int], driver: RunDriver) -> Draft:
        """Return the draft filled with all jobs that gain by joining it."""
        others = [index for index in left if index not in draft.turn]
        while others and not draft.full:
            longer = self._longer(draft, others, driver)
            if len(longer.turn) == len(draft.turn):
                draft = longer
                break
            draft = longer
            others = [index for index in others if index not in draft.turn]
        return draft._replace(full=draft.full or draft.load.jobs >= self._most_jobs(driver))

    def _most_jobs(self, driver: RunDriver) -> int:
        return min(driver.vehicle.max_jobs, self._policy.max_run_jobs)

    def _add_ons(self, left: list[int], coming: Sequence[RunDriver]) -> Iterator[Run]:
        """Yield one more job for each driver on the way here, if pooling it pays."""
        carried_from = len(self._jobs)
        marks = [mark_of(job) for job in self._jobs] if coming else []
        self._refused.keep(coming)
        for driver in coming:
            carried = range(carried_from, carried_from + len(driver.carried))
            carried_from = carried.stop
            refused = self._refused.of(driver, self._now_ms)
            may_ask = [
                index
                for index in left
                if marks[index] not in refused and self._may_ask(index, driver)
            ]
            run = self._add_on(may_ask, driver, carried)
            if run is not None:
                self._take(left, run)
                yield run
            else:
                refused.update([marks[index] for index in may_ask])

    def _add_on(self, left: Sequence[int], driver: RunDriver, carried: range) -> Run | None:
        stops = self._stops
        if len(carried) >= self._most_jobs(driver):
            return None
        # Most jobs lie in another direction: no order of the run has to be found for them.
        left = [index for index in left if stops.may_save_s(index, carried) >= 0]
        if not left:
            return None
        before = stops.ordered(tuple(carried), driver)
        draft = self._longer(before, left, driver, _TRIED_ON_THE_WAY)
        if len(draft.turn) == len(before.turn):
            return None
        index = next(index for index in draft.turn if index not in carried)
        gate, collect_s, back_s = self._visit_with(index, draft.turn, driver)
        done_s = stops.done_s(draft.turn)
        return Run(
            driver=driver.driver,
            jobs=(self._jobs[index],),
            collect_s=collect_s,
            done_s=(back_s + done_s[draft.turn.index(index)],),
            route_s=stops.route_s(draft.turn) - stops.route_s(before.turn),
            alone_s=float(stops.alone_s[index + 1]),
            why="add_on",
            gate=gate,
        )

    def _visit_with(self, index: int, turn: Order, driver: RunDriver) -> tuple[str, float, float]:
        """Return the visit of a driver on the way to whose run a job is added.

        Returns:
            Its gate; seconds from there until all parcels are in hand, and back to it.
        """
        stops = self._stops
        if not stops.are_stores_known(turn):
            visits = self._jobs[index].need.visits
            in_s, back_s = self._tour.visit_s(visits)
            collect_s = max(sum(stops.visit_s(turn)) - back_s, in_s)
            return self._mall.stores[visits[0]].gate, collect_s, back_s
        arrive_ms = self._now_ms + int(driver.there_s * 1000)
        needs = [stops.needs[member] for member in turn]
        tour = run_tour(self._mall, needs, self._service_time, arrive_ms, driver.gate or None)
        return tour.gate, (tour.done_ms(arrive_ms) - arrive_ms) / 1000, tour.back_ms / 1000

    def _longer(
        self, draft: Draft, others: Sequence[int], driver: RunDriver, tried: int = _TRIED
    ) -> Draft:
        """Return the draft with the job that gains most by joining.

        The draft is unchanged if no job would gain, and marked full if those that would do not fit.
        """
        stops = self._stops
        here = np.array([0, *(index + 1 for index in draft.turn)])
        after = np.append(here[1:], 0)
        new = np.array(others) + 1
        back = self._policy.run.back
        out_s = stops.travel_s[np.ix_(here, new)]
        on_s = stops.travel_s[np.ix_(new, after)].T
        leg_s = stops.travel_s[here, after]
        # The last leg is the trip back, of which a share counts.
        on_s[-1] *= back
        leg_s[-1] *= back
        detour_s = out_s + on_s - leg_s[:, None]
        places = detour_s.argmin(axis=0)
        gain_s = (1 - self._policy.run.potential) * stops.alone_s[new] - detour_s.min(axis=0)
        may_not = False
        for best in np.argsort(-gain_s, kind="stable")[:tried]:
            if gain_s[best] <= 0:
                break
            index, place = others[best], int(places[best])
            turn = (*draft.turn[:place], index, *draft.turn[place:])
            longer = stops.evaluated(turn, draft.load.plus(stops.needs[index]), driver)
            if longer is None:
                may_not = True
                continue
            lost_s = stops.lost_s(draft, longer, index)
            if lost_s < gain_s[best]:
                return longer
            may_not = may_not or longer.late_s > draft.late_s
        return draft._replace(full=may_not)

    def _run(self, turn: Order, driver: RunDriver, why: str) -> Run:
        """Return the run of these stops with its exact tour of the stores."""
        jobs = tuple(self._jobs[index] for index in turn)
        arrive_ms = self._now_ms + int(driver.there_s * 1000)
        tour = run_tour(self._mall, [job.need for job in jobs], self._service_time, arrive_ms)
        stops = self._stops
        return Run(
            driver=driver.driver,
            jobs=jobs,
            collect_s=(tour.done_ms(arrive_ms) - arrive_ms) / 1000,
            done_s=tuple(tour.back_ms / 1000 + at_s for at_s in stops.done_s(turn)),
            route_s=stops.route_s(turn),
            alone_s=float(sum(stops.alone_s[index + 1] for index in turn)),
            why=why,
            gate=tour.gate,
            tour=tour,
        )

    def _by_urgency(
        self, jobs: Sequence[Waiting]
    ) -> tuple[list[Waiting], list[int], dict[str, int]]:
        """Sort jobs by urgency.

        Returns:
            The most urgent jobs, first those whose hold is over; until when each of them may be
            held (epoch ms); and, of all jobs, those that may still be held, with the same time.
        """
        mall, policy, now_ms = self._mall, self._policy, self._now_ms
        doors = Points.of((job.need.lat, job.need.lon) for job in jobs)
        out_s = self._travel.matrix(Points.of([(mall.lat, mall.lon)]), doors, now_ms)[0].tolist()
        keyed: list[tuple[bool, int, int, int]] = []
        for index, job in enumerate(jobs):
            need = job.need
            least_s = sum(self._tour.visit_s(need.visits)) + out_s[index] + policy.dropoff_dwell_s
            # When its driver must be at the mall.
            there_ms = min(
                need.deadline_ms - int(least_s * 1000),
                collect_by_ms(mall, need, now_ms)
                - int(self._tour.surely_in_hand_s(need.visits) * 1000),
            )
            until_ms = hold_until_ms(need, there_ms, policy)
            is_held = until_ms > now_ms
            keyed.append((is_held, until_ms if is_held else there_ms, index, until_ms))
        held = {jobs[index].job: until_ms for is_held, _, index, until_ms in keyed if is_held}
        first = sorted(keyed)[: self._most]
        return [jobs[index] for *_, index, _ in first], [until_ms for *_, until_ms in first], held

    def _measured(self, coming: Sequence[RunDriver], free: int) -> RunStops:
        """Return the stops of the jobs, followed by those of carried jobs."""
        is_behind = sum(not until_ms for until_ms in self._until_ms) > _MANY_A_DRIVER * free
        needs = [job.need for job in self._jobs]
        carried = [need_of(held) for driver in coming for held in driver.carried]
        measures = self._now_ms, self._policy, self._travel, self._tour, self._service_time
        return RunStops(self._mall, needs + carried, *measures, len(carried), is_behind=is_behind)
