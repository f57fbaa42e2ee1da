"""The cost matrix of one wave of a batch, and its cheapest assignment."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.batch.bundling import Unit
from mallard_engine.core.batch.drivers import Fleet, Matrix
from mallard_engine.core.batch.problem import BatchJob, Plan
from mallard_engine.core.matching.acceptance import band_of, bands_of, cell_of
from mallard_engine.core.matching.patience import barred_by
from mallard_engine.core.matching.ranking import Ranking
from mallard_engine.core.model import RankedDriver, Term
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.pickup.pickup_plan import MINUTE_MS, arrive_by_ms
from mallard_engine.core.policy import MarketPolicy

# (unit, driver), by index.
Pairs = list[tuple[int, int]]

# The cost of an impossible pair exceeds that of every pair and every job left over.
_NEVER_S = 1e9
LEFT_OVER_S = 1e7
# The weight of a step of priority where not every job gets a driver.
_PRIORITY_S = 1e5
# A job is fading if fewer drivers than this could take it a while later, and more can now.
_FEW = 3
# A term that is 0 for every pair.
_NOTHING: Matrix = np.zeros((0, 0))
# The same reasons as in an instant round; see `ranking`.
_MISFITS = (
    "",
    "block_ends_too_soon",
    "too_heavy",
    "too_big",
    "lacks_equipment",
    "asked_before",
    "too_many_jobs",
    "too_late_for_pickup",
)


class _Stops(NamedTuple):
    """What does not depend on drivers: arrays of shape (units,)."""

    gate: NDArray[np.intp]
    jobs: Matrix
    ready_ms: Matrix
    since_ms: Matrix
    collect_ms: Matrix
    haul_ms: Matrix
    # The latest time at which the parcels may be in hand.
    collect_by_ms: Matrix


class Table:
    """The costs of every pair of one wave: (units, drivers)."""

    def __init__(
        self, units: Sequence[Unit], fleet: Fleet, now_ms: int, policy: MarketPolicy
    ) -> None:
        self._units, self._fleet = units, fleet
        self._now_ms, self._policy = now_ms, policy
        self._bundles = any(len(unit.jobs) > 1 for unit in units)
        stops = self._stops = self._read_stops()
        free_ms = fleet.free_ms
        self._travel_s = fleet.travel_s[stops.gate]
        # In place, here and below: a temporary array costs as much as the arithmetic.
        there_ms = self._travel_s * 1000
        there_ms += free_ms
        there_ms += stops.collect_ms[:, None]
        ready_ms = stops.ready_ms[:, None]
        self._pickup_ms = np.maximum(there_ms, ready_ms)
        self._dropoff_ms = self._pickup_ms + stops.haul_ms[:, None]
        self._judge_by_own_tours(there_ms)
        self._why_not = self._misfits()
        self._fades = self._fading()
        self._terms = self._weighed(there_ms)
        self._cost_s = np.zeros(self._pickup_ms.shape)
        for table in self._terms.values():
            if table is not _NOTHING:
                self._cost_s += table
        self._cost_s += fleet.own_s

    def _judge_by_own_tours(self, there_ms: Matrix) -> None:
        """Correct the times of drivers close to a unit's limit to those of their own tours.

        A driver chooses its tour on arrival, and by that tour it may be late where the others are
        in time, or in time where they are late.
        """
        for row, unit in enumerate(self._units):
            if unit.tour_of is None:
                continue
            by_ms = self._stops.collect_by_ms[row]
            arrive_ms = np.trunc(there_ms[row] - unit.collect_ms)
            is_close = (arrive_ms <= by_ms) & (by_ms < self._pickup_ms[row] + unit.own_tour_ms)
            minutes = np.ceil(arrive_ms / MINUTE_MS)
            for minute in np.unique(minutes[is_close]).tolist():
                tour = unit.tour_of(int(minute) * MINUTE_MS)
                here = is_close & (minutes == minute)
                done_ms = np.maximum(arrive_ms[here] + tour.collect_ms, tour.ready_ms)
                self._pickup_ms[row, here] = done_ms
                haul_ms = unit.done_ms[-1] - unit.back_ms + tour.back_ms
                self._dropoff_ms[row, here] = done_ms + haul_ms

    def _weighed(self, there_ms: Matrix) -> dict[str, Matrix]:
        """Return the terms of the cost by name: (units, drivers).

        Terms with weight 0 are not computed: a city's table has a million pairs.
        """
        units, fleet, stops, now_ms = self._units, self._fleet, self._stops, self._now_ms
        weights, plan = self._policy.weights, self._policy.plan
        ready_ms, free_ms = stops.ready_ms[:, None], fleet.free_ms
        late_s = self._pickup_ms - np.maximum(ready_ms, now_ms)
        late_s *= stops.jobs[:, None]
        late_s /= 1000
        terms: dict[str, Matrix] = {
            "lateness": late_s,
            "travel": plan.travel * self._travel_s,
            "wait": _NOTHING,
            "soon": np.broadcast_to(plan.soon * (free_ms - now_ms) / 1000, late_s.shape),
            "slack": _NOTHING,
        }
        if plan.age:
            age_h = np.maximum(0.0, now_ms - stops.since_ms) / 3_600_000
            terms["lateness"] = late_s * (1 + plan.age * age_h)[:, None]
        if plan.wait:
            terms["wait"] = plan.wait * np.maximum(0.0, ready_ms - there_ms) / 1000
        if weights.slack:
            deadline_ms = np.array([_deadline_ms(unit) for unit in units], dtype=np.float64)
            slack_s = (deadline_ms[:, None] - self._dropoff_ms) / 1000
            terms["slack"] = weights.slack * np.maximum(0.0, weights.slack_s - slack_s)
        if self._bundles:
            company_s = [(it.company_ms + plan.delay * it.delay_ms) / 1000 for it in units]
            terms["company"] = np.broadcast_to(np.array([company_s]).T, late_s.shape)
        if fleet.refusal_s is not None:
            # By gate, of which there are fewer than jobs.
            each = np.arange(len(fleet.drivers))[None, :]
            by_gate_s = fleet.refusal_s[each, bands_of(fleet.travel_s)]
            terms["acceptance"] = by_gate_s[stops.gate]
        if self._fades.any():
            busy_s: Matrix = np.where(free_ms > now_ms, self._policy.fading_s, 0.0)
            terms["fading"] = self._fades[:, None] * busy_s
        return terms

    def pairs(self) -> Pairs:
        """Return the assignment with the least cost as (unit, driver) indexes."""
        jobs, drivers = len(self._units), len(self._fleet.drivers)
        # A column of its own for each unit that is left over, at a cost that makes these few.
        cost_s = np.full((jobs, drivers + jobs), _NEVER_S)
        np.copyto(cost_s[:, :drivers], self._cost_s, where=self._why_not == 0)
        np.fill_diagonal(cost_s[:, drivers:], self._left_over_s())
        # A third of the time that a node takes to start, and only batches need it.
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

        rows, columns = linear_sum_assignment(cost_s)
        return [
            (row, column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if column < drivers
        ]

    def _left_over_s(self) -> Matrix:
        """Return the cost of leaving each unit over: (units,).

        With fewer drivers than jobs, the cost rises with age, so that no job starves, falls with
        the distance to the door, so that more jobs are served, and rises most with priority.
        """
        priority = np.array([_priority(unit) for unit in self._units], dtype=np.float64)
        late_s = np.maximum(0.0, self._now_ms - self._stops.since_ms) / 1000
        plan, count = self._policy.plan, self._stops.jobs
        far_s = self._stops.haul_ms / 1000
        most_s = count * (LEFT_OVER_S + plan.left * late_s)
        return most_s + _PRIORITY_S * priority - plan.haul * far_s

    def sums(self, pairs: Pairs) -> tuple[int, float, float]:
        """Return the number of jobs in the pairs, their cost and their lateness in seconds."""
        at = ([row for row, _ in pairs], [column for _, column in pairs])
        late_s = float(self._terms["lateness"][at].sum())
        return int(self._stops.jobs[at[0]].sum()), float(self._cost_s[at].sum()), late_s

    def plans(self, pairs: Pairs, is_next: Sequence[bool]) -> list[Plan]:
        """Return the pairs as plans. `is_next`: the driver is free now and has no earlier job."""
        stops, drivers = self._stops, self._fleet.drivers
        at = ([row for row, _ in pairs], [column for _, column in pairs])
        depart_ms = (stops.ready_ms - stops.collect_ms)[at[0]] - self._travel_s[at] * 1000
        columns = zip(
            *(depart_ms.tolist(), self._pickup_ms[at].tolist()),
            *(is_next, self._fades[at[0]].tolist()),
            strict=True,
        )
        plans = []
        for (row, column), (depart, pickup, now, fades) in zip(pairs, columns, strict=True):
            unit = self._units[row]
            bundle: tuple[tuple[BatchJob, int], ...] = ()
            if len(unit.jobs) > 1:
                done_ms = [int(pickup + at_ms) for at_ms in unit.done_ms]
                bundle = tuple(zip(unit.jobs, done_ms, strict=True))
            ranking = partial(self._ranking, row, column)
            driver = drivers[column].driver.id
            plans.append(Plan(unit.jobs[0], driver, int(depart), now, ranking, fades, bundle))
        return plans

    def _ranking(self, row: int, column: int) -> Ranking:
        """Return the ranking of a unit that was paired with this driver."""
        return (self._ranked(row, column),)

    def _ranked(self, row: int, column: int) -> RankedDriver:
        """Return the driver as a candidate of the unit, with the terms of its cost."""
        fleet, at = self._fleet, (row, column)
        travel_s = float(self._travel_s[at])
        terms = [
            Term(name, 0.0 if table is _NOTHING else float(table[at]))
            for name, table in self._terms.items()
        ]
        return RankedDriver(
            driver=fleet.drivers[column].driver.id,
            eligible=True,
            why_not=None,
            cost_s=float(self._cost_s[at]),
            terms=(*terms, *fleet.own_terms(column)),
            eta_s=round(travel_s),
            distance_m=0,
            gate=self._units[row].gate.id,
            eta_pickup_ms=int(self._pickup_ms[at]),
            eta_dropoff_ms=int(self._dropoff_ms[at]),
            cell=None if fleet.refusal_s is None else cell_of(band_of(travel_s), fleet.part),
            ask_by_ms=self._ask_by_ms(self._units[row], row, travel_s),
        )

    def _ask_by_ms(self, unit: Unit, row: int, travel_s: float) -> int:
        """Return until when a driver who is free may be asked (epoch ms)."""
        by_ms = int(self._stops.collect_by_ms[row])
        arrive_ms = self._now_ms + int(travel_s * 1000)
        ask_by_ms = int(by_ms - travel_s * 1000 - unit.collect_ms - unit.own_tour_ms)
        pickup_ms = max(arrive_ms + unit.collect_ms, unit.ready_ms)
        if unit.tour_of is None or by_ms >= pickup_ms + unit.own_tour_ms:
            return ask_by_ms
        return self._now_ms - arrive_ms + arrive_by_ms(unit.tour_of, arrive_ms, by_ms)

    def _fading(self) -> NDArray[np.bool_]:
        """Return whether hardly any driver could take each unit a little later: (units,)."""
        if not self._policy.fading_s:
            return np.zeros(len(self._units), dtype=np.bool_)
        ends_ms = self._pickup_ms if self._policy.block_covers == "pickup" else self._dropoff_ms
        spare_ms = self._fleet.until_ms - self._policy.block_margin_s * 1000 - ends_ms
        able = self._why_not == 0
        later = (able & (spare_ms >= self._policy.fading_s * 1000)).sum(axis=1)
        fades: NDArray[np.bool_] = (later < _FEW) & (later < able.sum(axis=1))
        return fades

    def send(self, pairs: Pairs) -> None:
        """Plan the drivers of the pairs: they are free after their jobs' drop-offs."""
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
            np.array([self._collect_by_ms(unit) for unit in units], dtype=np.float64),
        )

    def _collect_by_ms(self, unit: Unit) -> int:
        return min([collect_by_ms(job.mall, job.waiting.need, self._now_ms) for job in unit.jobs])

    def _misfits(self) -> NDArray[np.uint8]:
        """Return the violated hard constraint of each pair, an index of `_MISFITS`; 0: none."""
        fleet = self._fleet
        loads = [unit.load for unit in self._units]
        why = np.zeros(self._pickup_ms.shape, dtype=np.uint8)
        ends_ms = self._pickup_ms if self._policy.block_covers == "pickup" else self._dropoff_ms
        margin_ms = self._policy.block_margin_s * 1000
        why[ends_ms + margin_ms > fleet.until_ms] = _MISFITS.index("block_ends_too_soon")
        is_late = self._pickup_ms > self._stops.collect_by_ms[:, None]
        why[is_late] = _MISFITS.index("too_late_for_pickup")
        weight_g = np.array([load.weight_g for load in loads])
        if weight_g.any():
            why[weight_g[:, None] > fleet.max_weight_g] = _MISFITS.index("too_heavy")
        volume_l = np.array([load.volume_l for load in loads])
        if volume_l.any():
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
                expires_ms = job.waiting.need.expires_ms
                for driver in barred_by(job.waiting.asked, expires_ms, self._now_ms, self._policy):
                    if driver in fleet.column:
                        why[row, fleet.column[driver]] = _MISFITS.index("asked_before")
        return why


def _deadline_ms(unit: Unit) -> float:
    """Return when the unit's last drop-off must be done so that all are in time."""
    last_ms = unit.done_ms[-1]
    return min(
        [
            job.waiting.need.deadline_ms + last_ms - done_ms
            for job, done_ms in zip(unit.jobs, unit.done_ms, strict=True)
        ]
    )


def _priority(unit: Unit) -> int:
    return sum([job.waiting.need.priority for job in unit.jobs])
