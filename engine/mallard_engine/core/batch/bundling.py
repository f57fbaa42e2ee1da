"""What a batch deals out: jobs alone, and jobs of one mall that one driver collects together.

A bundle spares a driver's time (a way back to the mall, a stop at the counter), and costs its
customers some: whoever is ready first waits for the last, whoever is served last is driven around.
Where drivers are free it is worth nothing, where they lack it is worth much. So nobody says how
large bundles should be (Reyes et al. 2018 set a target by the ratio of orders to couriers): jobs
are bundled at several *worths* of a driver's second, each lot is dealt out, and the cheapest plan
says which worth it was. Bundles are built by joining, at each mall, the two whose gain is largest,
until nobody gains.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise, permutations
from typing import NamedTuple

from mallard_engine.core.batch.problem import BatchJob
from mallard_engine.core.matching.capacity import Load, load_of
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.core.places.mall import Gate
from mallard_engine.core.policy import MarketPolicy

# What a driver's second may be worth in those of a customer's wait.
WORTHS = (0.3, 1.0, 2.0)
# Jobs whose ready times are further apart do not wait for one another.
_APART_MS = 900_000
# So many jobs of a mall are looked at together, those that are ready first.
_LOOKED_AT = 30
# What a way back to a mall takes that is spared, where nobody knows who would have made it.
_WAY_BACK_S = 600.0


class Unit(NamedTuple):
    """A job alone, or a bundle in the order of its drop-offs; ms.

    ``collect_ms``: from the gate to having the parcels, if they are ready at ``ready_ms``;
    ``done_ms``: from then until each is handed over; ``since_ms``: when the first of them is ready;
    ``company_ms``: what the others wait for the last, together; ``delay_ms``: what they are longer
    on their way, each against alone, together.
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


class Bundler:
    """A batch's jobs as units."""

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        tours: Mapping[str, Tour],
        now_ms: int,
        policy: MarketPolicy,
        travel: TravelTime,
    ) -> None:
        self._now_ms, self._policy, self._travel = now_ms, policy, travel
        self._most = min(policy.bundle_jobs, policy.max_run_jobs)
        self._dwell_ms = policy.dropoff_dwell_s * 1000
        self._tours = tours
        self.alone = [self._alone(job, tours[job.waiting.job]) for job in jobs]
        self._by_name = {unit.jobs[0].waiting.job: unit for unit in self.alone}
        # By the jobs' names, whatever their worth: the best order of their drop-offs.
        self._known: dict[frozenset[str], Unit] = {}
        self._way_ms: dict[tuple[str, str], float] = {}
        self._places = self._measured() if self._most > 1 else []

    @property
    def can_bundle(self) -> bool:
        """Whether any two of the jobs are of one place."""
        return bool(self._places)

    def units(self, worth: float) -> list[Unit]:
        """All jobs, bundled as far as a driver's time is worth it."""
        bundled: list[Unit] = []
        for place in self._places:
            units = list(place)
            while (best := self._best(units, worth)) is not None:
                one, other, both = best
                units = [unit for unit in units if unit is not one and unit is not other]
                units.append(both)
            bundled += [unit for unit in units if len(unit.jobs) > 1]
        gone = {job.waiting.job for unit in bundled for job in unit.jobs}
        rest = [unit for unit in self.alone if unit.jobs[0].waiting.job not in gone]
        return [*bundled, *rest]

    def apart(self, unit: Unit) -> list[Unit]:
        """The jobs of a unit, each alone."""
        return [self._by_name[job.waiting.job] for job in unit.jobs]

    def _alone(self, job: BatchJob, tour: Tour) -> Unit:
        gate, need = job.mall.gates[tour.gate], job.waiting.need
        way_s = self._travel.seconds(gate.lat, gate.lon, need.lat, need.lon, self._now_ms)
        done_ms = tour.back_ms + way_s * 1000 + self._dwell_ms
        times = (tour.ready_ms, tour.ready_ms, tour.collect_ms, tour.back_ms)
        return Unit((job,), gate, *times, (done_ms,), load_of([need]))

    def _measured(self) -> list[list[Unit]]:
        """The units that may go together, by place, and the ways between their doors."""
        places: dict[tuple[str, str], list[Unit]] = {}
        for unit in self.alone:
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

    def _best(self, units: Sequence[Unit], worth: float) -> tuple[Unit, Unit, Unit] | None:
        """The two that gain most by going together, and how they would; None if nobody gains."""
        best, best_ms = None, 0.0
        for one, other in combinations(units, 2):
            if len(one.jobs) + len(other.jobs) > self._most:
                continue
            if abs(one.ready_ms - other.ready_ms) > _APART_MS:
                continue
            both = self._together(one, other)
            gain_ms = self._gain_ms(one, other, both, worth)
            if gain_ms > best_ms:
                best, best_ms = (one, other, both), gain_ms
        return best

    def _gain_ms(self, one: Unit, other: Unit, both: Unit, worth: float) -> float:
        """What a driver's time that is spared is worth, less what the customers' costs."""
        before_ms = one.collect_ms + other.collect_ms + one.done_ms[-1] + other.done_ms[-1]
        spared_ms = before_ms + _WAY_BACK_S * 1000 - both.collect_ms - both.done_ms[-1]
        company_ms = both.company_ms - one.company_ms - other.company_ms
        delay_ms = both.delay_ms - one.delay_ms - other.delay_ms
        return worth * spared_ms - company_ms - self._policy.plan.delay * delay_ms

    def _together(self, one: Unit, other: Unit) -> Unit:
        jobs = (*one.jobs, *other.jobs)
        names = frozenset(job.waiting.job for job in jobs)
        if names not in self._known:
            self._known[names] = self._ordered(jobs)
        return self._known[names]

    def _ordered(self, jobs: Sequence[BatchJob]) -> Unit:
        """A bundle in the order that has its customers wait least, together."""
        tours = [self._tours[job.waiting.job] for job in jobs]
        # Each store once, one after the other.
        stores = {job.waiting.need.stores: tour for job, tour in zip(jobs, tours, strict=True)}
        collect_ms = sum(tour.collect_ms for tour in stores.values())
        back_ms = max(tour.back_ms for tour in tours)
        turns = [(self._done_ms(turn, back_ms), turn) for turn in permutations(jobs)]
        done_ms, turn = min(turns, key=lambda each: sum(each[0]))
        alone_ms = sum(self._by_name[job.waiting.job].done_ms[0] for job in jobs)
        ready_ms = max(tour.ready_ms for tour in tours)
        # Who has waited already only waits from now on.
        leaves_ms = max(ready_ms, self._now_ms)
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
        )

    def _done_ms(self, turn: Sequence[BatchJob], back_ms: int) -> tuple[float, ...]:
        first = self._by_name[turn[0].waiting.job]
        at_ms = first.done_ms[0] - first.back_ms + back_ms
        done_ms = [at_ms]
        for here, there in pairwise(turn):
            at_ms += self._way_ms[here.waiting.job, there.waiting.job] + self._dwell_ms
            done_ms.append(at_ms)
        return tuple(done_ms)
