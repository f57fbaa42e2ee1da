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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engine.core.cost import driver_terms
from engine.core.eta import TravelTime, travel_matrix
from engine.core.mall import Gate, Mall
from engine.core.matching import MatchPolicy, barred_by
from engine.core.model import Driver, RankedDriver, Term, Waiting
from protocol.codes import ID_CHECK

Matrix = NDArray[np.float64]

# No pair and no job left over may cost as much as one that cannot be.
_NEVER_S = 1e9
_LEFT_OVER_S = 1e7
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


class PlanWeights(Protocol):
    """What a plan's seconds are worth; see ``PlanCosts`` in the configuration."""

    @property
    def age(self) -> float:
        """How much more a second of lateness counts for each hour since the parcel was ready."""
        ...

    @property
    def left(self) -> float:
        """A second since the parcel was ready, for a job that is left without a driver."""
        ...

    @property
    def travel(self) -> float:
        """A second on the way to the mall."""
        ...

    @property
    def wait(self) -> float:
        """A second's wait for the parcel."""
        ...

    @property
    def soon(self) -> float:
        """A second until the driver is free."""
        ...


class BatchPolicy(MatchPolicy, Protocol):
    """What a batch needs besides of a market's policy; see ``MarketPolicy`` for the units."""

    @property
    def wave_s(self) -> float:
        """Jobs that are ready within this time of one another share a wave."""
        ...

    @property
    def waves(self) -> int:
        """How many waves there are; the last takes the rest."""
        ...

    @property
    def plan(self) -> PlanWeights:
        """What a plan's seconds are worth."""
        ...


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job that waits, and where."""

    waiting: Waiting
    mall: Mall


@dataclass(frozen=True, slots=True)
class BatchDriver:
    """A driver, from when it is free, and where it is then. ``free_ms`` 0: it is free now."""

    driver: Driver
    lat: float
    lon: float
    free_ms: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A job and the driver that it is best given to. ``depart_ms``: when the driver must set off,
    at the latest, not to be late for the parcel; past if it is late already. ``now``: the driver is
    free now and this would be its next job."""

    job: BatchJob
    driver: RankedDriver
    depart_ms: int
    now: bool


class _Stops(NamedTuple):
    """Of n jobs: where their drivers go, and the figures that no driver changes; each (n,)."""

    lat: Matrix
    lon: Matrix
    ready_ms: Matrix
    collect_ms: Matrix
    haul_ms: Matrix


def solve(
    jobs: Sequence[BatchJob],
    drivers: Sequence[BatchDriver],
    now_ms: int,
    policy: BatchPolicy,
    travel: TravelTime,
) -> list[Plan]:
    """A plan for each job that there is a driver for; the rest wait on.

    :raises KeyError: for a job that names a store which its mall does not have
    """
    plans: list[Plan] = []
    for job in jobs:
        _gate(job)  # a job that cannot be is told, also when there is no driver
    left = list(jobs)
    fleet = list(drivers)
    unplanned = [True] * len(fleet)
    for wave in range(1, policy.waves + 1):
        until_ms = now_ms + wave * policy.wave_s * 1000
        last = wave == policy.waves
        turn = [job for job in left if last or job.waiting.need.ready_ms <= until_ms]
        if not turn or not fleet:
            continue
        table = _Table(turn, fleet, now_ms, policy, travel)
        for row, column in table.pairs():
            plan = table.plan(row, column)
            plans.append(replace(plan, now=plan.now and unplanned[column]))
            unplanned[column] = False
            fleet[column] = table.after(row, column)
        planned = {plan.job.waiting.job for plan in plans}
        left = [job for job in left if job.waiting.job not in planned]
    return plans


class _Table:
    """The costs of every pair of one wave, (jobs, drivers)."""

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        drivers: Sequence[BatchDriver],
        now_ms: int,
        policy: BatchPolicy,
        travel: TravelTime,
    ) -> None:
        self._jobs, self._drivers = jobs, drivers
        self._now_ms, self._policy = now_ms, policy
        self._gates = [_gate(job) for job in jobs]
        stops = self._stops = self._read_stops(travel)
        free_ms = np.array([max(driver.free_ms, now_ms) for driver in drivers], dtype=np.float64)
        lats = np.array([driver.lat for driver in drivers])
        lons = np.array([driver.lon for driver in drivers])
        self._travel_s = travel_matrix(travel, lats, lons, stops.lat, stops.lon, now_ms).T
        there_ms = free_ms + self._travel_s * 1000 + stops.collect_ms[:, None]
        ready_ms = stops.ready_ms[:, None]
        self._pickup_ms = np.maximum(there_ms, ready_ms)
        self._dropoff_ms = self._pickup_ms + stops.haul_ms[:, None]
        self._free_ms = free_ms
        weights, plan = policy.weights, policy.plan
        deadline_ms = np.array([job.waiting.need.deadline_ms for job in jobs], dtype=np.float64)
        slack_s = (deadline_ms[:, None] - self._dropoff_ms) / 1000
        age_h = np.maximum(0.0, now_ms - stops.ready_ms) / 3_600_000
        late_s = (self._pickup_ms - np.maximum(ready_ms, now_ms)) / 1000
        own = [driver_terms(driver.driver, now_ms, weights) for driver in drivers]
        self._own = own
        self._terms: dict[str, Matrix] = {
            "lateness": late_s * (1 + plan.age * age_h)[:, None],
            "travel": plan.travel * self._travel_s,
            "wait": plan.wait * np.maximum(0.0, ready_ms - there_ms) / 1000,
            "soon": np.broadcast_to(plan.soon * (free_ms - now_ms) / 1000, late_s.shape),
            "slack": weights.slack * np.maximum(0.0, weights.slack_s - slack_s),
        }
        own_s = np.array([sum(term.seconds for term in terms) for terms in own])
        self._cost_s = sum(self._terms.values(), np.zeros_like(late_s)) + own_s
        self._why_not = self._misfits()

    def pairs(self) -> list[tuple[int, int]]:
        """The cheapest pairs of (job, driver), as indexes."""
        jobs = len(self._jobs)
        cost_s = np.where(self._why_not == 0, self._cost_s, _NEVER_S)
        # Each job may also be left over: a column of its own. As many as can be are not.
        left_over = np.full((jobs, jobs), _NEVER_S)
        np.fill_diagonal(left_over, self._left_over_s())
        rows, columns = linear_sum_assignment(np.hstack((cost_s, left_over)))
        return [
            (int(row), int(column))
            for row, column in zip(rows, columns, strict=True)
            if column < len(self._drivers)
        ]

    def _left_over_s(self) -> Matrix:
        """What it costs to leave each job over: more the older it is, so that with fewer drivers
        than jobs none starves; most for the urgent."""
        priority = np.array([job.waiting.need.priority for job in self._jobs], dtype=np.float64)
        late_s = np.maximum(0.0, self._now_ms - self._stops.ready_ms) / 1000
        return _LEFT_OVER_S + _PRIORITY_S * priority + self._policy.plan.left * late_s

    def plan(self, row: int, column: int) -> Plan:
        """The pair as a plan."""
        leaves_ms = self._stops.ready_ms[row] - self._stops.collect_ms[row]
        depart_ms = int(leaves_ms - self._travel_s[row, column] * 1000)
        ranked = self.ranked(row, column)
        return Plan(self._jobs[row], ranked, depart_ms, self._drivers[column].free_ms == 0)

    def after(self, row: int, column: int) -> BatchDriver:
        """The driver when it has delivered that job."""
        need, driver = self._jobs[row].waiting.need, self._drivers[column].driver
        return BatchDriver(driver, need.lat, need.lon, int(self._dropoff_ms[row, column]))

    def ranked(self, row: int, column: int) -> RankedDriver:
        """The pair as a candidate of the job's round."""
        driver = self._drivers[column].driver
        why_not = _MISFITS[self._why_not[row, column]] or None
        terms = [Term(name, float(table[row, column])) for name, table in self._terms.items()]
        return RankedDriver(
            driver=driver.id,
            eligible=why_not is None,
            why_not=why_not,
            cost_s=None if why_not else float(self._cost_s[row, column]),
            terms=(*terms, *self._own[column]),
            eta_s=round(float(self._travel_s[row, column])),
            distance_m=0,
            gate=self._gates[row].id,
            eta_pickup_ms=int(self._pickup_ms[row, column]),
            eta_dropoff_ms=int(self._dropoff_ms[row, column]),
        )

    def _read_stops(self, travel: TravelTime) -> _Stops:
        collect_s, haul_s = [], []
        for job, gate in zip(self._jobs, self._gates, strict=True):
            need, stores = job.waiting.need, job.mall.stores
            walk_s = sum(stores[store].walk_s for store in need.stores)
            collect_s.append(walk_s + self._policy.store_dwell_s * len(need.stores))
            way_s = travel.seconds(gate.lat, gate.lon, need.lat, need.lon, self._now_ms)
            haul_s.append(way_s + self._policy.dropoff_dwell_s)
        return _Stops(
            np.array([gate.lat for gate in self._gates]),
            np.array([gate.lon for gate in self._gates]),
            np.array([job.waiting.need.ready_ms for job in self._jobs], dtype=np.float64),
            np.array(collect_s) * 1000,
            np.array(haul_s) * 1000,
        )

    def _misfits(self) -> NDArray[np.uint8]:
        """Which hard constraint keeps a driver from a job, an index of `_MISFITS`; 0: none."""
        needs = [job.waiting.need for job in self._jobs]
        vehicles = [driver.driver.vehicle for driver in self._drivers]
        why = np.zeros(self._cost_s.shape, dtype=np.uint8)
        until_ms = np.array([driver.driver.until_ms or np.inf for driver in self._drivers])
        ends_ms = self._pickup_ms if self._policy.block_covers == "pickup" else self._dropoff_ms
        why[ends_ms > until_ms] = _MISFITS.index("block_ends_too_soon")
        weight_g = np.array([need.weight_g for need in needs])[:, None]
        why[weight_g > np.array([vehicle.max_weight_g for vehicle in vehicles])] = _MISFITS.index(
            "too_heavy"
        )
        volume_l = np.array([need.volume_l for need in needs])[:, None]
        why[volume_l > np.array([vehicle.max_volume_l for vehicle in vehicles])] = _MISFITS.index(
            "too_big"
        )
        number = {driver.driver.id: column for column, driver in enumerate(self._drivers)}
        for row, job in enumerate(self._jobs):
            if equipment := frozenset(job.waiting.need.requires) - {ID_CHECK}:
                lacks = [not equipment.issubset(vehicle.equipment) for vehicle in vehicles]
                why[row, lacks] = _MISFITS.index("lacks_equipment")
            for driver in barred_by(job.waiting.asked, self._now_ms, self._policy.unreachable_s):
                if driver in number:
                    why[row, number[driver]] = _MISFITS.index("asked_before")
        return why


def _gate(job: BatchJob) -> Gate:
    return job.mall.gates[job.mall.stores[job.waiting.need.stores[0]].gate]
