"""Jobs × drivers of a whole market as one assignment problem.

What a pair costs, in seconds: how late the pickup would be after the parcel is ready (more for a
job that has waited already), and, as the driver's time is worth something too, its way there, its
wait for the parcel and the time until it is free; then the driver's own terms and the slack to the
deadline, as in an instant round. The sum over all pairs is least (Jonker and Volgenant's algorithm,
through scipy). A driver may be planned for a second job after its first: jobs are dealt out in
waves by the time at which they are ready, so that one which is ready later does not keep a driver
from one that is ready now. Where a market lets a driver take several jobs, some are planned as one:
see `bundles`.

Nothing here commits anybody: a plan says when its driver must set off, and whether it is free.
"""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engine.core.acceptance import BANDS, Acceptance, band_of, bands_of, cell_of, part_of_day
from engine.core.batch_problem import BatchDriver, BatchJob, BatchPolicy, Plan, PlanWeights
from engine.core.bundles import WORTHS, Bundler, Unit
from engine.core.cost import driver_terms
from engine.core.eta import Points, TravelTime
from engine.core.fairness import Fairness
from engine.core.mall import Gate
from engine.core.matching import barred_by
from engine.core.model import Driver, Need, RankedDriver, Term
from engine.core.visits import Handover, when_ready

__all__ = ["BatchDriver", "BatchJob", "BatchPolicy", "Plan", "PlanWeights", "solve"]

Matrix = NDArray[np.float64]
# (unit, driver), by index.
_Pairs = list[tuple[int, int]]

# No pair and no job left over may cost as much as one that cannot be.
_NEVER_S = 1e9
_LEFT_OVER_S = 1e7
# The waves of each way to deal jobs out, over a market's `wave_s`.
_WAVE_SHARES = (1.0, 0.75, 0.5, 1.5)
# What a step of priority weighs where not every job finds a driver.
_PRIORITY_S = 1e5
# In the words of an instant round; see `matching`.
_MISFITS = (
    "",
    "block_ends_too_soon",
    "too_heavy",
    "too_big",
    "lacks_equipment",
    "asked_before",
    "too_many_jobs",
)


class _Stops(NamedTuple):
    """Of n units: which gate their drivers go to, how many jobs they are, and the figures that no
    driver changes; each (n,)."""

    gate: NDArray[np.intp]
    jobs: Matrix
    ready_ms: Matrix
    since_ms: Matrix
    collect_ms: Matrix
    haul_ms: Matrix


def solve(
    jobs: Sequence[BatchJob],
    drivers: Sequence[BatchDriver],
    now_ms: int,
    policy: BatchPolicy,
    travel: TravelTime,
    handover: Handover | None = None,
) -> list[Plan]:
    """A plan for each job that there is a driver for; the rest wait on.

    :raises KeyError: for a job that names a store which its mall does not have
    """
    at_store = handover or (lambda _mall, _store: policy.store_dwell_s)
    # A job that cannot be is told, also when there is no driver.
    tours = {
        job.waiting.job: when_ready(job.mall, job.waiting.need, at_store, now_ms) for job in jobs
    }
    if not jobs or not drivers:
        return []
    part = part_of_day(now_ms, jobs[0].mall.time_zone)
    bundler = Bundler(jobs, tours, now_ms, policy, travel)
    fleet = _Fleet(drivers, [unit.gate for unit in bundler.alone], now_ms, part, policy, travel)
    best = _deal(bundler.alone, bundler, fleet.fresh(), now_ms, policy.wave_s, policy)
    # Where nobody would wait, there is nothing that another way could gain.
    if best.is_late:
        for share in _WAVE_SHARES[1 : policy.deals]:
            wave_s = share * policy.wave_s
            deal = _deal(bundler.alone, bundler, fleet.fresh(), now_ms, wave_s, policy)
            best = min(best, deal, key=_Deal.sum_s)
        for worth in WORTHS if bundler.can_bundle else ():
            units = bundler.units(worth)
            deal = _deal(units, bundler, fleet.fresh(), now_ms, policy.wave_s, policy)
            best = min(best, deal, key=_Deal.sum_s)
    return best.plans()


class _Deal:
    """The jobs dealt out in one way: the waves' pairs, and what they cost."""

    def __init__(self, jobs: int) -> None:
        self._waves: list[tuple[_Table, _Pairs, list[bool]]] = []
        self._left = jobs
        self._cost_s = self._late_s = 0.0

    @property
    def is_late(self) -> bool:
        """Whether some customer would wait, or some job is left over."""
        return self._left > 0 or self._late_s > 0

    def sum_s(self) -> float:
        """What it all costs, with the jobs that are left over."""
        return _LEFT_OVER_S * self._left + self._cost_s

    def add(self, table: "_Table", pairs: "_Pairs", is_next: list[bool]) -> None:
        """One more wave. ``is_next``: whether each pair's driver is free now and has no job
        before."""
        count, cost_s, late_s = table.sums(pairs)
        self._waves.append((table, pairs, is_next))
        self._left -= count
        self._cost_s += cost_s
        self._late_s += late_s

    def plans(self) -> list[Plan]:
        """The pairs as plans."""
        waves = self._waves
        return [plan for table, pairs, now in waves for plan in table.plans(pairs, now)]


def _deal(
    units: Sequence[Unit],
    bundler: Bundler,
    fleet: "_Fleet",
    now_ms: int,
    wave_s: float,
    policy: BatchPolicy,
) -> _Deal:
    """The units dealt out in waves, each of them at its least cost."""
    deal = _Deal(len(bundler.alone))
    left = list(units)
    for wave in range(1, policy.waves + 1):
        until_ms = now_ms + wave * wave_s * 1000
        last = wave == policy.waves
        turn = [unit for unit in left if last or unit.ready_ms <= until_ms]
        if not turn:
            continue
        table = _Table(turn, fleet, now_ms, policy)
        if pairs := table.pairs():
            deal.add(table, pairs, [fleet.is_next(column) for _, column in pairs])
        if last:
            break
        if pairs:
            table.send(pairs)
        planned = {id(turn[row]) for row, _ in pairs}
        left = [unit for unit in left if unit.ready_ms > until_ms]
        # A bundle for which there was nobody is no bundle in the next wave.
        left += [one for unit in turn if id(unit) not in planned for one in bundler.apart(unit)]
    return deal


class _Fleet:
    """Each driver, from when it is free and where it is then, as far as it is planned; (drivers,).

    What no job changes is worked out once for all waves: above all the way to every gate,
    ``travel_s``, (gates, drivers).
    """

    def __init__(
        self,
        drivers: Sequence[BatchDriver],
        gates: Sequence[Gate],
        now_ms: int,
        part: int,
        policy: BatchPolicy,
        travel: TravelTime,
    ) -> None:
        self.drivers = drivers
        # Many jobs are of few gates.
        places = dict.fromkeys((gate.lat, gate.lon) for gate in gates)
        self.number = {place: number for number, place in enumerate(places)}
        self._gates = Points.of(places)
        self._now_ms, self._travel = now_ms, travel
        self.free_ms = np.array([max(driver.free_ms, now_ms) for driver in drivers], dtype=float)
        self.unplanned = [True] * len(drivers)
        lats = np.array([driver.lat for driver in drivers])
        lons = np.array([driver.lon for driver in drivers])
        self.travel_s = self._ways(lats, lons)
        known = [driver.driver for driver in drivers]
        self.own = _own_terms(known, now_ms, policy)
        # What a refusal is expected to cost, (drivers, bands); None where it weighs nothing.
        self.part = part
        self.refusal_s = _refusals_s(known, part, policy) if policy.weights.acceptance else None
        self.own_s = np.array([sum([term.seconds for term in terms]) for terms in self.own])
        vehicles = [driver.driver.vehicle for driver in drivers]
        self.max_weight_g = np.array([vehicle.max_weight_g for vehicle in vehicles])
        self.max_volume_l = np.array([vehicle.max_volume_l for vehicle in vehicles])
        self.max_jobs = np.array([vehicle.max_jobs for vehicle in vehicles])
        self.until_ms = np.array([driver.driver.until_ms or np.inf for driver in drivers])
        self.column = {driver.driver.id: column for column, driver in enumerate(drivers)}

    def fresh(self) -> "_Fleet":
        """The same fleet, of which nobody is planned yet."""
        fleet = copy(self)
        fleet.free_ms, fleet.travel_s = self.free_ms.copy(), self.travel_s.copy()
        fleet.unplanned = [True] * len(self.drivers)
        return fleet

    def is_next(self, column: int) -> bool:
        """Whether a driver is free now, and not planned yet."""
        return self.unplanned[column] and self.drivers[column].free_ms == 0

    def _ways(self, lats: Matrix, lons: Matrix) -> Matrix:
        return self._travel.matrix(Points(lats, lons), self._gates, self._now_ms).T.copy()

    def deliver(self, columns: Sequence[int], needs: Sequence[Need], free_ms: Matrix) -> None:
        """These drivers will have delivered those jobs, and be free there then."""
        lats = np.array([need.lat for need in needs])
        lons = np.array([need.lon for need in needs])
        self.travel_s[:, columns] = self._ways(lats, lons)
        self.free_ms[columns] = free_ms
        for column in columns:
            self.unplanned[column] = False


class _Table:
    """The costs of every pair of one wave, (units, drivers)."""

    def __init__(
        self, units: Sequence[Unit], fleet: _Fleet, now_ms: int, policy: BatchPolicy
    ) -> None:
        self._units, self._fleet = units, fleet
        self._now_ms, self._policy = now_ms, policy
        self._bundles = any(len(unit.jobs) > 1 for unit in units)
        stops = self._stops = self._read_stops()
        free_ms = fleet.free_ms
        self._travel_s = fleet.travel_s[stops.gate]
        there_ms = free_ms + self._travel_s * 1000 + stops.collect_ms[:, None]
        ready_ms = stops.ready_ms[:, None]
        self._pickup_ms = np.maximum(there_ms, ready_ms)
        self._dropoff_ms = self._pickup_ms + stops.haul_ms[:, None]
        weights, plan = policy.weights, policy.plan
        deadline_ms = np.array([_deadline_ms(unit) for unit in units], dtype=np.float64)
        slack_s = (deadline_ms[:, None] - self._dropoff_ms) / 1000
        age_h = np.maximum(0.0, now_ms - stops.since_ms) / 3_600_000
        late_s = stops.jobs[:, None] * (self._pickup_ms - np.maximum(ready_ms, now_ms)) / 1000
        self._terms: dict[str, Matrix] = {
            "lateness": late_s * (1 + plan.age * age_h)[:, None],
            "travel": plan.travel * self._travel_s,
            "wait": plan.wait * np.maximum(0.0, ready_ms - there_ms) / 1000,
            "soon": np.broadcast_to(plan.soon * (free_ms - now_ms) / 1000, late_s.shape),
            "slack": weights.slack * np.maximum(0.0, weights.slack_s - slack_s),
        }
        if self._bundles:
            company_s = [(it.company_ms + plan.delay * it.delay_ms) / 1000 for it in units]
            self._terms["company"] = np.broadcast_to(np.array([company_s]).T, late_s.shape)
        if fleet.refusal_s is not None:
            # By gate, of which there are few, and not by job.
            each = np.arange(len(fleet.drivers))[None, :]
            by_gate_s = fleet.refusal_s[each, bands_of(fleet.travel_s)]
            self._terms["acceptance"] = by_gate_s[stops.gate]
        self._cost_s = sum(self._terms.values(), np.zeros_like(late_s)) + fleet.own_s
        self._why_not = self._misfits()

    def pairs(self) -> _Pairs:
        """The cheapest pairs of (unit, driver), as indexes."""
        jobs, drivers = self._cost_s.shape
        # Each job may also be left over: a column of its own. As many as can be are not.
        cost_s = np.full((jobs, drivers + jobs), _NEVER_S)
        np.copyto(cost_s[:, :drivers], self._cost_s, where=self._why_not == 0)
        np.fill_diagonal(cost_s[:, drivers:], self._left_over_s())
        rows, columns = linear_sum_assignment(cost_s)
        return [
            (row, column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if column < drivers
        ]

    def _left_over_s(self) -> Matrix:
        """What it costs to leave each unit over, by its jobs: more the older it is, so that with
        fewer drivers than jobs none starves, less the longer its way, so that more are served;
        most for the urgent."""
        priority = np.array([_priority(unit) for unit in self._units], dtype=np.float64)
        late_s = np.maximum(0.0, self._now_ms - self._stops.since_ms) / 1000
        plan, count = self._policy.plan, self._stops.jobs
        far_s = self._stops.haul_ms / 1000
        most_s = count * (_LEFT_OVER_S + plan.left * late_s)
        return most_s + _PRIORITY_S * priority - plan.haul * far_s

    def sums(self, pairs: _Pairs) -> tuple[int, float, float]:
        """How many jobs the pairs are, what they cost, and how late their parcels are."""
        at = ([row for row, _ in pairs], [column for _, column in pairs])
        late_s = float(self._terms["lateness"][at].sum())
        return int(self._stops.jobs[at[0]].sum()), float(self._cost_s[at].sum()), late_s

    def plans(self, pairs: _Pairs, is_next: Sequence[bool]) -> list[Plan]:
        """The pairs as plans. ``is_next``: see `_Deal.add`."""
        fleet, stops = self._fleet, self._stops
        at = ([row for row, _ in pairs], [column for _, column in pairs])
        depart_ms = (stops.ready_ms - stops.collect_ms)[at[0]] - self._travel_s[at] * 1000
        names = tuple(self._terms)
        terms = np.array([table[at] for table in self._terms.values()]).T.tolist()
        figures = zip(
            *(self._cost_s[at].tolist(), self._travel_s[at].tolist()),
            *(self._pickup_ms[at].tolist(), self._dropoff_ms[at].tolist()),
            *(depart_ms.tolist(), terms, is_next),
            strict=True,
        )
        plans = []
        for (row, column), (cost, travel, pickup, dropoff, depart, own, now) in zip(
            pairs, figures, strict=True
        ):
            unit = self._units[row]
            ranked = RankedDriver(
                driver=fleet.drivers[column].driver.id,
                eligible=True,
                why_not=None,
                cost_s=cost,
                terms=(*map(Term, names, own), *fleet.own[column]),
                eta_s=round(travel),
                distance_m=0,
                gate=unit.gate.id,
                eta_pickup_ms=int(pickup),
                eta_dropoff_ms=int(dropoff),
                cell=None if fleet.refusal_s is None else cell_of(band_of(travel), fleet.part),
            )
            bundle: tuple[tuple[BatchJob, int], ...] = ()
            if len(unit.jobs) > 1:
                done_ms = [int(pickup + at_ms) for at_ms in unit.done_ms]
                bundle = tuple(zip(unit.jobs, done_ms, strict=True))
            plans.append(Plan(unit.jobs[0], ranked, int(depart), now, bundle))
        return plans

    def send(self, pairs: _Pairs) -> None:
        """The drivers of the pairs are planned for their jobs, and free when they have delivered
        them."""
        rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
        needs = [self._units[row].jobs[-1].waiting.need for row in rows]
        self._fleet.deliver(columns, needs, np.trunc(self._dropoff_ms[rows, columns]))

    def _read_stops(self) -> _Stops:
        units, number = self._units, self._fleet.number
        return _Stops(
            np.array([number[unit.gate.lat, unit.gate.lon] for unit in units]),
            np.array([len(unit.jobs) for unit in units], dtype=np.float64),
            np.array([unit.ready_ms for unit in units], dtype=np.float64),
            np.array([unit.since_ms for unit in units], dtype=np.float64),
            np.array([unit.collect_ms for unit in units], dtype=np.float64),
            np.array([unit.done_ms[-1] for unit in units]),
        )

    def _misfits(self) -> NDArray[np.uint8]:
        """Which hard constraint keeps a driver from a job, an index of `_MISFITS`; 0: none."""
        fleet = self._fleet
        loads = [unit.load for unit in self._units]
        why = np.zeros(self._cost_s.shape, dtype=np.uint8)
        ends_ms = self._pickup_ms if self._policy.block_covers == "pickup" else self._dropoff_ms
        why[ends_ms > fleet.until_ms] = _MISFITS.index("block_ends_too_soon")
        weight_g = np.array([load.weight_g for load in loads])
        why[weight_g[:, None] > fleet.max_weight_g] = _MISFITS.index("too_heavy")
        volume_l = np.array([load.volume_l for load in loads])
        why[volume_l[:, None] > fleet.max_volume_l] = _MISFITS.index("too_big")
        if self._bundles:
            count = np.array([load.jobs for load in loads])
            most = np.maximum(fleet.max_jobs, 1)
            why[count[:, None] > most] = _MISFITS.index("too_many_jobs")
        for row, (unit, load) in enumerate(zip(self._units, loads, strict=True)):
            if equipment := load.equipment:
                equipped = [driver.driver.vehicle.equipment for driver in fleet.drivers]
                lacks = [not equipment.issubset(own) for own in equipped]
                why[row, lacks] = _MISFITS.index("lacks_equipment")
            for job in unit.jobs:
                if not job.waiting.asked:
                    continue
                for driver in barred_by(
                    job.waiting.asked, self._now_ms, self._policy.unreachable_s
                ):
                    if driver in fleet.column:
                        why[row, fleet.column[driver]] = _MISFITS.index("asked_before")
        return why


def _own_terms(
    drivers: Sequence[Driver], now_ms: int, policy: BatchPolicy
) -> list[tuple[Term, ...]]:
    """What each driver costs whatever the job."""
    terms = [driver_terms(driver, now_ms, policy.weights) for driver in drivers]
    if not policy.weights.earnings_s:
        return terms
    fairness = Fairness(drivers, now_ms, policy.weights.earnings_s)
    return [(*own, fairness.term(driver)) for own, driver in zip(terms, drivers, strict=True)]


def _refusals_s(drivers: Sequence[Driver], part: int, policy: BatchPolicy) -> Matrix:
    """What a refusal is expected to cost, (drivers, bands): until the next batch can ask."""
    histories = [driver.history for driver in drivers]
    acceptance = Acceptance(
        histories,
        part,
        policy.weights,
        offer_s=policy.offer_timeout_ms / 1000,
        again_s=policy.window_ms / 1000,
    )
    return np.array(
        [[acceptance.cost_s(history, band) for band in range(BANDS)] for history in histories]
    )


def _deadline_ms(unit: Unit) -> float:
    """When the last parcel of a unit must be handed over, so that all are in time."""
    last_ms = unit.done_ms[-1]
    return min(
        [
            job.waiting.need.deadline_ms + last_ms - done_ms
            for job, done_ms in zip(unit.jobs, unit.done_ms, strict=True)
        ]
    )


def _priority(unit: Unit) -> int:
    return sum([job.waiting.need.priority for job in unit.jobs])
