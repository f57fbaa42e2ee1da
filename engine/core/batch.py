"""Jobs × drivers of a whole market as one assignment problem.

What a pair costs, in seconds: how late the pickup would be after the parcel is ready (more for a
job that has waited already), and, as the driver's time is worth something too, its way there, its
wait for the parcel and the time until it is free; then the driver's own terms and the slack to the
deadline, as in an instant round. The sum over all pairs is least (Jonker and Volgenant's algorithm,
through scipy). A driver may be planned for a second job after its first: jobs are dealt out in
waves by the time at which they are ready, so that one which is ready later does not keep a driver
from one that is ready now.

Nothing here commits anybody: a plan says when its driver must set off, and whether it is free.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engine.core.acceptance import BANDS, Acceptance, band_of, bands_of, cell_of, part_of_day
from engine.core.batch_problem import BatchDriver, BatchJob, BatchPolicy, Plan, PlanWeights
from engine.core.collecting import Tour
from engine.core.cost import driver_terms
from engine.core.eta import Points, TravelTime
from engine.core.fairness import Fairness
from engine.core.mall import Gate
from engine.core.matching import barred_by
from engine.core.model import Driver, Need, RankedDriver, Term
from engine.core.visits import Handover, when_ready
from protocol.codes import ID_CHECK

__all__ = ["BatchDriver", "BatchJob", "BatchPolicy", "Plan", "PlanWeights", "solve"]

Matrix = NDArray[np.float64]

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
)


class _Stops(NamedTuple):
    """Of n jobs: which gate their drivers go to, and the figures that no driver changes; each
    (n,)."""

    gate: NDArray[np.intp]
    ready_ms: Matrix
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
    gates = [_gate(job, tours) for job in jobs]
    fleet = _Fleet(drivers, gates, now_ms, part, policy, travel)
    deals = [
        _deal(jobs, fleet.fresh(), tours, now_ms, share * policy.wave_s, policy, travel)
        for share in _WAVE_SHARES[: policy.deals]
    ]
    return min(deals, key=lambda plans: _sum_s(plans, len(jobs)))


def _sum_s(plans: Sequence[Plan], jobs: int) -> float:
    """What a whole plan costs, with the jobs that it leaves over."""
    return _LEFT_OVER_S * (jobs - len(plans)) + sum([plan.driver.cost_s or 0.0 for plan in plans])


def _deal(
    jobs: Sequence[BatchJob],
    fleet: "_Fleet",
    tours: Mapping[str, Tour],
    now_ms: int,
    wave_s: float,
    policy: BatchPolicy,
    travel: TravelTime,
) -> list[Plan]:
    """The jobs dealt out in waves, each of them at its least cost."""
    plans: list[Plan] = []
    left = list(jobs)
    for wave in range(1, policy.waves + 1):
        until_ms = now_ms + wave * wave_s * 1000
        last = wave == policy.waves
        turn = [job for job in left if last or job.waiting.need.ready_ms <= until_ms]
        if not turn:
            continue
        table = _Table(turn, tours, fleet, now_ms, policy, travel)
        pairs = table.pairs()
        plans += table.plans(pairs)
        if pairs and not last:
            table.send(pairs)
        planned = {plan.job.waiting.job for plan in plans}
        left = [job for job in left if job.waiting.job not in planned]
    return plans


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
        self.until_ms = np.array([driver.driver.until_ms or np.inf for driver in drivers])
        self.column = {driver.driver.id: column for column, driver in enumerate(drivers)}

    def fresh(self) -> "_Fleet":
        """The same fleet, of which nobody is planned yet."""
        fleet = copy(self)
        fleet.free_ms, fleet.travel_s = self.free_ms.copy(), self.travel_s.copy()
        fleet.unplanned = [True] * len(self.drivers)
        return fleet

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
    """The costs of every pair of one wave, (jobs, drivers)."""

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        tours: Mapping[str, Tour],
        fleet: _Fleet,
        now_ms: int,
        policy: BatchPolicy,
        travel: TravelTime,
    ) -> None:
        self._jobs, self._fleet = jobs, fleet
        self._now_ms, self._policy = now_ms, policy
        self._gates = [_gate(job, tours) for job in jobs]
        stops = self._stops = self._read_stops([tours[job.waiting.job] for job in jobs], travel)
        free_ms = fleet.free_ms
        self._travel_s = fleet.travel_s[stops.gate]
        there_ms = free_ms + self._travel_s * 1000 + stops.collect_ms[:, None]
        ready_ms = stops.ready_ms[:, None]
        self._pickup_ms = np.maximum(there_ms, ready_ms)
        self._dropoff_ms = self._pickup_ms + stops.haul_ms[:, None]
        weights, plan = policy.weights, policy.plan
        deadline_ms = np.array([job.waiting.need.deadline_ms for job in jobs], dtype=np.float64)
        slack_s = (deadline_ms[:, None] - self._dropoff_ms) / 1000
        age_h = np.maximum(0.0, now_ms - stops.ready_ms) / 3_600_000
        late_s = (self._pickup_ms - np.maximum(ready_ms, now_ms)) / 1000
        self._terms: dict[str, Matrix] = {
            "lateness": late_s * (1 + plan.age * age_h)[:, None],
            "travel": plan.travel * self._travel_s,
            "wait": plan.wait * np.maximum(0.0, ready_ms - there_ms) / 1000,
            "soon": np.broadcast_to(plan.soon * (free_ms - now_ms) / 1000, late_s.shape),
            "slack": weights.slack * np.maximum(0.0, weights.slack_s - slack_s),
        }
        if fleet.refusal_s is not None:
            # By gate, of which there are few, and not by job.
            each = np.arange(len(fleet.drivers))[None, :]
            by_gate_s = fleet.refusal_s[each, bands_of(fleet.travel_s)]
            self._terms["acceptance"] = by_gate_s[stops.gate]
        self._cost_s = sum(self._terms.values(), np.zeros_like(late_s)) + fleet.own_s
        self._why_not = self._misfits()

    def pairs(self) -> list[tuple[int, int]]:
        """The cheapest pairs of (job, driver), as indexes."""
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
        """What it costs to leave each job over: more the older it is, so that with fewer drivers
        than jobs none starves, less the longer its way, so that more are served; most for the
        urgent."""
        priority = np.array([job.waiting.need.priority for job in self._jobs], dtype=np.float64)
        late_s = np.maximum(0.0, self._now_ms - self._stops.ready_ms) / 1000
        plan = self._policy.plan
        far_s = self._stops.haul_ms / 1000
        return _LEFT_OVER_S + _PRIORITY_S * priority + plan.left * late_s - plan.haul * far_s

    def plans(self, pairs: Sequence[tuple[int, int]]) -> list[Plan]:
        """The pairs as plans."""
        fleet, stops = self._fleet, self._stops
        at = ([row for row, _ in pairs], [column for _, column in pairs])
        depart_ms = (stops.ready_ms - stops.collect_ms)[at[0]] - self._travel_s[at] * 1000
        names = tuple(self._terms)
        terms = np.array([table[at] for table in self._terms.values()]).T.tolist()
        figures = zip(
            *(self._cost_s[at].tolist(), self._travel_s[at].tolist()),
            *(self._pickup_ms[at].tolist(), self._dropoff_ms[at].tolist()),
            *(depart_ms.tolist(), terms),
            strict=True,
        )
        plans = []
        for (row, column), (cost, travel, pickup, dropoff, depart, own) in zip(
            pairs, figures, strict=True
        ):
            ranked = RankedDriver(
                driver=fleet.drivers[column].driver.id,
                eligible=True,
                why_not=None,
                cost_s=cost,
                terms=(*map(Term, names, own), *fleet.own[column]),
                eta_s=round(travel),
                distance_m=0,
                gate=self._gates[row].id,
                eta_pickup_ms=int(pickup),
                eta_dropoff_ms=int(dropoff),
                cell=None if fleet.refusal_s is None else cell_of(band_of(travel), fleet.part),
            )
            now = fleet.unplanned[column] and fleet.drivers[column].free_ms == 0
            plans.append(Plan(self._jobs[row], ranked, int(depart), now))
        return plans

    def send(self, pairs: Sequence[tuple[int, int]]) -> None:
        """The drivers of the pairs are planned for their jobs, and free when they have delivered
        them."""
        rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
        needs = [self._jobs[row].waiting.need for row in rows]
        self._fleet.deliver(columns, needs, np.trunc(self._dropoff_ms[rows, columns]))

    def _read_stops(self, tours: Sequence[Tour], travel: TravelTime) -> _Stops:
        haul_s = []
        for job, gate, tour in zip(self._jobs, self._gates, tours, strict=True):
            need = job.waiting.need
            way_s = travel.seconds(gate.lat, gate.lon, need.lat, need.lon, self._now_ms)
            haul_s.append(tour.back_ms / 1000 + way_s + self._policy.dropoff_dwell_s)
        return _Stops(
            np.array([self._fleet.number[gate.lat, gate.lon] for gate in self._gates]),
            np.array([tour.ready_ms for tour in tours], dtype=np.float64),
            np.array([tour.collect_ms for tour in tours], dtype=np.float64),
            np.array(haul_s) * 1000,
        )

    def _misfits(self) -> NDArray[np.uint8]:
        """Which hard constraint keeps a driver from a job, an index of `_MISFITS`; 0: none."""
        needs, fleet = [job.waiting.need for job in self._jobs], self._fleet
        why = np.zeros(self._cost_s.shape, dtype=np.uint8)
        ends_ms = self._pickup_ms if self._policy.block_covers == "pickup" else self._dropoff_ms
        why[ends_ms > fleet.until_ms] = _MISFITS.index("block_ends_too_soon")
        weight_g = np.array([need.weight_g for need in needs])
        why[weight_g[:, None] > fleet.max_weight_g] = _MISFITS.index("too_heavy")
        volume_l = np.array([need.volume_l for need in needs])
        why[volume_l[:, None] > fleet.max_volume_l] = _MISFITS.index("too_big")
        for row, job in enumerate(self._jobs):
            if equipment := frozenset(job.waiting.need.requires) - {ID_CHECK}:
                equipped = [driver.driver.vehicle.equipment for driver in fleet.drivers]
                lacks = [not equipment.issubset(own) for own in equipped]
                why[row, lacks] = _MISFITS.index("lacks_equipment")
            if not job.waiting.asked:
                continue
            for driver in barred_by(job.waiting.asked, self._now_ms, self._policy.unreachable_s):
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


def _gate(job: BatchJob, tours: Mapping[str, Tour]) -> Gate:
    return job.mall.gates[tours[job.waiting.job].gate]
