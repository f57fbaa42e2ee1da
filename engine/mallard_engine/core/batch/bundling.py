"""The units that a batch assigns: single jobs, and bundles of one mall's jobs for one driver.

A bundle saves a driver's time (a trip back to the mall, a call at the counter) and delays its
customers: the first parcel waits for the last, and the last customer is served after the others.
That pays only where drivers are scarce. Instead of a target size (Reyes et al. 2018 derive one from
the ratio of orders to drivers), jobs are bundled at several *values* of a driver's second, each set
of units is assigned, and the cheapest plan wins. Bundles are built greedily: at each mall, the two
units with the greatest gain are joined until no pair gains.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise, permutations
from typing import NamedTuple

from mallard_engine.core.batch.problem import BatchJob
from mallard_engine.core.matching.capacity import Load, load_of
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.pickup.pickup_plan import MINUTE_MS, ServiceTime, job_tour, run_tour
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.core.places.mall import Gate
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.codes import ServiceLevel

# The values of a driver's second that are tried, in seconds of a customer's wait.
DRIVER_VALUES = (0.3, 1.0, 2.0)
# Jobs whose ready times are further apart do not wait for one another.
_APART_MS = 900_000
# Bundling considers this many jobs of a mall: those that are ready first.
_LOOKED_AT = 30
# The duration of a saved trip back to the mall; an assumption, as its driver is unknown.
_WAY_BACK_S = 600.0


class Unit(NamedTuple):
    """A single job, or a bundle in the order of its drop-offs; times in milliseconds.

    `ready_ms`, `since_ms`: when its last and first parcels are ready. `collect_ms`: from the gate
    until all parcels are in hand, if they are ready. `done_ms`: from then until each drop-off.
    `company_ms`: the time that parcels wait for the last one, summed. `delay_ms`: the extra time
    until the drop-offs compared with single jobs, summed.

    These are times of one tour, but drivers choose theirs on arrival: `tour_of` gives the tour for
    an arrival (None: there is only one), by which the last parcel is in hand at most `own_tour_ms`
    later.
    """

    jobs: tuple[BatchJob, ...]
    gate: Gate
    ready_ms: int
    since_ms: int
    collect_ms: int
    back_ms: int
    done_ms: tuple[float, ...]
    load: Load
    company_ms: float = 0.0
    delay_ms: float = 0.0
    tour_of: Callable[[int], Tour] | None = None
    own_tour_ms: int = 0


class Bundler:
    """A batch's jobs as units."""

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        tours: Mapping[str, Tour],
        now_ms: int,
        policy: MarketPolicy,
        travel: TravelTime,
        service_time: ServiceTime,
    ) -> None:
        self._now_ms, self._policy, self._travel = now_ms, policy, travel
        self._service_time = service_time
        self._most = min(policy.bundle_jobs, policy.max_run_jobs)
        self._dwell_ms = policy.dropoff_dwell_s * 1000
        self._tours = tours
        self.alone = [self._alone(job, tours[job.waiting.job]) for job in jobs]
        self._by_name = {unit.jobs[0].waiting.job: unit for unit in self.alone}
        # The unit of each set of jobs, by their ids.
        self._known: dict[frozenset[str], Unit] = {}
        self._way_ms: dict[tuple[str, str], float] = {}
        self._places = self._measured() if self._most > 1 else []

    @property
    def can_bundle(self) -> bool:
        """Whether any two of the jobs share a gate."""
        return bool(self._places)

    def units(self, value: float) -> list[Unit]:
        """Return all jobs as units, bundled at this value of a driver's second."""
        bundled: list[Unit] = []
        for place in self._places:
            units = list(place)
            while (best := self._best(units, value)) is not None:
                one, other, both = best
                units = [unit for unit in units if unit is not one and unit is not other]
                units.append(both)
            bundled += [unit for unit in units if len(unit.jobs) > 1]
        bundled_ids = {job.waiting.job for unit in bundled for job in unit.jobs}
        rest = [unit for unit in self.alone if unit.jobs[0].waiting.job not in bundled_ids]
        return [*bundled, *rest]

    def apart(self, unit: Unit) -> list[Unit]:
        """Return the jobs of a unit as single units."""
        return [self._by_name[job.waiting.job] for job in unit.jobs]

    def _alone(self, job: BatchJob, tour: Tour) -> Unit:
        gate, need = job.mall.gates[tour.gate], job.waiting.need
        way_s = self._travel.seconds(gate.lat, gate.lon, need.lat, need.lon, self._now_ms)
        done_ms = tour.back_ms + way_s * 1000 + self._dwell_ms
        times = (tour.ready_ms, tour.ready_ms, tour.collect_ms, tour.back_ms)
        unit = Unit((job,), gate, *times, (done_ms,), load_of([need]))
        if len(need.visits) == 1:
            return unit
        tour_of = partial(job_tour, job.mall, need, self._service_time)
        return unit._replace(tour_of=tour_of, own_tour_ms=tour.back_ms + MINUTE_MS)

    def _measured(self) -> list[list[Unit]]:
        """Return the units that may share a driver, by gate.

        Records the travel times between their doors.
        """
        places: dict[tuple[str, str], list[Unit]] = {}
        level_of = self._policy.level_of
        for unit in self.alone:
            if level_of(unit.jobs[0].waiting.need) is ServiceLevel.EXPRESS:
                continue
            places.setdefault((unit.jobs[0].mall.id, unit.gate.id), []).append(unit)
        shared = [
            sorted(units, key=lambda unit: (unit.ready_ms, unit.jobs[0].waiting.job))[:_LOOKED_AT]
            for units in places.values()
            if len(units) > 1
        ]
        for units in shared:
            jobs = [unit.jobs[0].waiting for unit in units]
            doors = Points.of((job.need.lat, job.need.lon) for job in jobs)
            ways_ms = (self._travel.matrix(doors, doors, self._now_ms) * 1000).tolist()
            for job, row in zip(jobs, ways_ms, strict=True):
                for other, way_ms in zip(jobs, row, strict=True):
                    self._way_ms[job.job, other.job] = way_ms
        return shared

    def _best(self, units: Sequence[Unit], value: float) -> tuple[Unit, Unit, Unit] | None:
        """Return the pair that gains most by joining, and the joined unit; None if none gains."""
        best, best_ms = None, 0.0
        for one, other in combinations(units, 2):
            if len(one.jobs) + len(other.jobs) > self._most:
                continue
            if abs(one.ready_ms - other.ready_ms) > _APART_MS:
                continue
            both = self._together(one, other)
            gain_ms = self._gain_ms(one, other, both, value)
            if gain_ms > best_ms:
                best, best_ms = (one, other, both), gain_ms
        return best

    def _gain_ms(self, one: Unit, other: Unit, both: Unit, value: float) -> float:
        """Return the value of the driver's time saved, less the cost of the customers' delay."""
        before_ms = one.collect_ms + other.collect_ms + one.done_ms[-1] + other.done_ms[-1]
        spared_ms = before_ms + _WAY_BACK_S * 1000 - both.collect_ms - both.done_ms[-1]
        company_ms = both.company_ms - one.company_ms - other.company_ms
        delay_ms = both.delay_ms - one.delay_ms - other.delay_ms
        return value * spared_ms - company_ms - self._policy.plan.delay * delay_ms

    def _together(self, one: Unit, other: Unit) -> Unit:
        jobs = (*one.jobs, *other.jobs)
        names = frozenset(job.waiting.job for job in jobs)
        if names not in self._known:
            self._known[names] = self._ordered(jobs)
        return self._known[names]

    def _ordered(self, jobs: Sequence[BatchJob]) -> Unit:
        """Return the bundle with the drop-off order that minimises the sum of waiting times."""
        tours = [self._tours[job.waiting.job] for job in jobs]
        # Each store once, one after the other.
        stores = {job.waiting.need.visits: tour for job, tour in zip(jobs, tours, strict=True)}
        collect_ms = sum(tour.collect_ms for tour in stores.values())
        back_ms = max(tour.back_ms for tour in tours)
        turns = [(self._done_ms(turn, back_ms), turn) for turn in permutations(jobs)]
        done_ms, turn = min(turns, key=lambda each: sum(each[0]))
        alone_ms = sum(self._by_name[job.waiting.job].done_ms[0] for job in jobs)
        ready_ms = max(tour.ready_ms for tour in tours)
        # Waiting before now is not counted.
        leaves_ms = max(ready_ms, self._now_ms)
        # No driver chooses a tour that takes longer than those of the jobs, one after the other.
        own_tour_ms = sum(tour.collect_ms + tour.back_ms for tour in stores.values()) + MINUTE_MS
        is_one_store = sum(map(len, stores)) == 1
        return Unit(
            jobs=tuple(turn),
            gate=jobs[0].mall.gates[tours[0].gate],
            ready_ms=ready_ms,
            since_ms=min(tour.ready_ms for tour in tours),
            collect_ms=collect_ms,
            back_ms=back_ms,
            done_ms=done_ms,
            load=load_of([job.waiting.need for job in turn]),
            company_ms=sum(leaves_ms - max(tour.ready_ms, self._now_ms) for tour in tours),
            delay_ms=sum(done_ms) - alone_ms,
            tour_of=None if is_one_store else partial(self._tour_of, jobs, tours[0].gate),
            own_tour_ms=0 if is_one_store else own_tour_ms,
        )

    def _tour_of(self, jobs: Sequence[BatchJob], gate: str, arrive_ms: int) -> Tour:
        needs = [job.waiting.need for job in jobs]
        return run_tour(jobs[0].mall, needs, self._service_time, arrive_ms, gate)

    def _done_ms(self, turn: Sequence[BatchJob], back_ms: int) -> tuple[float, ...]:
        first = self._by_name[turn[0].waiting.job]
        at_ms = first.done_ms[0] - first.back_ms + back_ms
        done_ms = [at_ms]
        for here, there in pairwise(turn):
            at_ms += self._way_ms[here.waiting.job, there.waiting.job] + self._dwell_ms
            done_ms.append(at_ms)
        return tuple(done_ms)
