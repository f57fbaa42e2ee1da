"""Ranks the free drivers near one mall for each of its queued jobs, best first."""

from bisect import insort
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from mallard_engine.core.matching.acceptance import BANDS, Acceptance, band_of, cell_of, part_of_day
from mallard_engine.core.matching.cost import driver_terms, slack_term
from mallard_engine.core.matching.fairness import Fairness
from mallard_engine.core.matching.patience import barred_by
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import (
    Asked,
    Driver,
    Near,
    Need,
    RankedDriver,
    Term,
    Vehicle,
    Waiting,
)
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.pickup.pickup_plan import (
    MINUTE_MS,
    ServiceTime,
    arrive_by_ms,
    job_tour,
)
from mallard_engine.core.places.mall import Gate, Mall
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.codes import ID_CHECK

# The most drivers in a call to offer a job: the script picks the first who is still free.
OFFER_DEPTH = 16
# The most candidates in a ranking: enough for an offer and for `explain`.
RANKING_DEPTH = 16

Ranking = tuple[RankedDriver, ...]


class Approach(NamedTuple):
    """One driver's approach to one gate, with the cost terms that no job changes."""

    near: Near
    seconds: float
    terms: tuple[Term, ...]
    cost_s: float
    cell: int | None


class _Visit(NamedTuple):
    """What a job requires of its driver, from the gate to the door."""

    need: Need
    gate: Gate
    equipment: frozenset[str]
    barred: frozenset[str]
    # From parking at the gate until the parcels are in hand, if they are ready; no sooner than
    # `ready_ms`. From there to the gate, and from the gate until the drop-off is done.
    pickup_s: float
    ready_ms: int
    back_ms: int
    haul_ms: int
    # How much later the last parcel may be in hand by the tour that a driver chooses on arrival;
    # 0 where there is only one.
    own_tour_ms: int
    # When the parcels must be in hand at the latest.
    collect_by_ms: int


class Matcher:
    """Ranks the drivers of one round.

    What depends only on driver and gate is computed once, and a job evaluates only drivers that can
    be among its best. `service_time` None: the policy's `store_dwell_s` at every store.

    Methods raise `KeyError` for a job that names a store which the mall does not have.
    """

    def __init__(
        self,
        mall: Mall,
        near: Sequence[Near],
        now_ms: int,
        policy: MarketPolicy,
        travel: TravelTime,
        service_time: ServiceTime | None = None,
    ) -> None:
        self._mall = mall
        self._service_time = service_time or (lambda _mall, _store: policy.store_dwell_s)
        self._near = near
        self._now_ms = now_ms
        self._policy = policy
        self._travel = travel
        self._approaches: dict[str, tuple[Approach, ...]] = {}
        self._acceptance: Acceptance | None = None
        self._fairness: Fairness | None = None
        if policy.weights.earnings_s:
            drivers = [it.driver for it in near]
            self._fairness = Fairness(drivers, now_ms, policy.weights.earnings_s)
        if policy.weights.acceptance:
            part = part_of_day(now_ms, mall.time_zone)
            self._cells = [cell_of(band, part) for band in range(BANDS)]
            self._acceptance = Acceptance(
                [it.driver.history for it in near],
                part,
                policy.weights,
                offer_s=policy.offer_timeout_ms / 1000,
            )
        self._spoken_for: set[str] = set()
        # Read once here, as they are used for each driver.
        self._weights = policy.weights
        self._covers_dropoff = policy.block_covers == "dropoff"
        self._margin_ms = int(policy.block_margin_s * 1000)

    def rank(self, need: Need, asked: Sequence[Asked] = (), depth: int = RANKING_DEPTH) -> Ranking:
        """Rank the round's drivers for a job.

        Args:
            need: What the job requires.
            asked: The drivers who were asked before, and how that ended.
            depth: The most candidates to return.

        Returns:
            Eligible candidates by cost, then the others by distance, each with the reason.
        """
        visit = self._visit(need, asked)
        free: list[RankedDriver] = []
        costs: list[float] = []
        spoken_for: list[Approach] = []
        rest: list[RankedDriver] = []
        for approach in self._approach(visit.gate):
            # The terms of the job are never negative, so no later driver can be cheaper.
            if len(costs) >= depth and approach.cost_s >= costs[depth - 1]:
                break
            if approach.near.driver.id in self._spoken_for:
                spoken_for.append(approach)
                continue
            candidate = self._candidate(approach, visit)
            if candidate.cost_s is None:
                rest.append(candidate)
            else:
                free.append(candidate)
                insort(costs, candidate.cost_s)
        if len(free) < depth:
            others = [self._candidate(approach, visit) for approach in spoken_for]
            rest += [it for it in others if it.cost_s is None]
            free.sort(key=_cost)
            free += sorted([it for it in others if it.cost_s is not None], key=_cost)
            free += sorted(rest, key=_distance)
        else:
            free.sort(key=_cost)
        return tuple(free[:depth])

    def plan(self, job: Waiting, depth: int = RANKING_DEPTH) -> Ranking:
        """Rank drivers for the next job of a round with several.

        The first choice of an earlier job comes behind the other eligible drivers, so that one
        round serves all jobs.
        """
        ranked = self.rank(job.need, job.asked, depth)
        if ranked and ranked[0].eligible:
            self._spoken_for.add(ranked[0].driver)
        return ranked

    def _visit(self, need: Need, asked: Sequence[Asked]) -> _Visit:
        visits = need.visits
        arrive_ms = self._now_ms if len(visits) == 1 else self._soonest_ms(visits[0])
        tour = job_tour(self._mall, need, self._service_time, arrive_ms)
        gate = self._mall.gates[tour.gate]
        way_s = self._travel.seconds(gate.lat, gate.lon, need.lat, need.lon, self._now_ms)
        return _Visit(
            need,
            gate,
            equipment=frozenset(need.requires) - {ID_CHECK},
            barred=barred_by(asked, need.expires_ms, self._now_ms, self._policy),
            pickup_s=tour.collect_ms / 1000,
            ready_ms=tour.ready_ms,
            back_ms=tour.back_ms,
            haul_ms=int((way_s + self._policy.dropoff_dwell_s) * 1000),
            own_tour_ms=tour.back_ms + MINUTE_MS if len(visits) > 1 else 0,
            collect_by_ms=collect_by_ms(self._mall, need, self._now_ms),
        )

    def _soonest_ms(self, store: str) -> int:
        """Return when the cheapest driver would be at the gate of this store (epoch ms)."""
        approaches = self._approach(self._mall.gates[self._mall.stores[store].gate])
        return self._now_ms + (int(approaches[0].seconds * 1000) if approaches else 0)

    def _approach(self, gate: Gate) -> tuple[Approach, ...]:
        if gate.id not in self._approaches:
            approaches = [self._approach_of(near, gate) for near in self._near]
            approaches.sort(key=_base_cost)
            self._approaches[gate.id] = tuple(approaches)
        return self._approaches[gate.id]

    def _approach_of(self, near: Near, gate: Gate) -> Approach:
        at = near.position
        seconds = self._travel.seconds(at.lat, at.lon, gate.lat, gate.lon, self._now_ms)
        idle, declines = driver_terms(near.driver, self._now_ms, self._weights)
        terms: tuple[Term, ...] = (Term("travel", seconds), idle, declines)
        cost_s = seconds + idle.seconds + declines.seconds
        if self._fairness is not None:
            earnings = self._fairness.term(near.driver)
            terms = (*terms, earnings)
            cost_s += earnings.seconds
        cell = None
        if self._acceptance is not None:
            band = band_of(seconds)
            cell = self._cells[band]
            refusal = self._acceptance.term(near.driver.history, band)
            terms = (*terms, refusal)
            cost_s += refusal.seconds
        return Approach(near, seconds, terms, cost_s, cell)

    def _candidate(self, approach: Approach, visit: _Visit) -> RankedDriver:
        near, seconds, terms, cost_s, cell = approach
        need = visit.need
        takes_ms = int((seconds + visit.pickup_s) * 1000)
        pickup_ms, back_ms = max(self._now_ms + takes_ms, visit.ready_ms), visit.back_ms
        by_ms = visit.collect_by_ms
        ask_by_ms = by_ms - takes_ms - visit.own_tour_ms
        if visit.own_tour_ms and by_ms < pickup_ms + visit.own_tour_ms:
            # The times so far are those of the best-placed driver's tour. Its own tour brings this
            # driver back no later, but may collect the last parcel later or sooner. That matters
            # only if the pickup is this close to its limit.
            arrive_ms = self._now_ms + int(seconds * 1000)
            if arrive_ms <= by_ms:
                tour_of = partial(job_tour, self._mall, need, self._service_time)
                tour = tour_of(arrive_ms)
                pickup_ms, back_ms = tour.done_ms(arrive_ms), tour.back_ms
                ask_by_ms = self._now_ms - arrive_ms + arrive_by_ms(tour_of, arrive_ms, by_ms)
        dropoff_ms = pickup_ms + back_ms + visit.haul_ms
        slack = slack_term(need.deadline_ms, dropoff_ms, self._weights)
        done_ms = (dropoff_ms if self._covers_dropoff else pickup_ms) + self._margin_ms
        why_not = _misfit(near.driver, visit, pickup_ms, done_ms)
        # Positional: keyword arguments take half as long again, and a round builds hundreds.
        return RankedDriver(
            near.driver.id,
            why_not is None,
            why_not,
            None if why_not else cost_s + slack.seconds,
            (*terms, slack),
            round(seconds),
            round(near.distance_m),
            visit.gate.id,
            pickup_ms,
            dropoff_ms,
            cell,
            ask_by_ms,
        )


def _cost(candidate: RankedDriver) -> float:
    return candidate.cost_s or 0.0


def _distance(candidate: RankedDriver) -> int:
    return candidate.distance_m


def _base_cost(approach: Approach) -> float:
    return approach.cost_s


def _misfit(driver: Driver, visit: _Visit, pickup_ms: int, done_ms: int) -> str | None:
    """Return the hard constraint that the driver violates; None if there is none."""
    if driver.id in visit.barred:
        return "asked_before"
    if why_not := _vehicle_misfit(driver.vehicle, visit):
        return why_not
    if pickup_ms > visit.collect_by_ms:
        return "too_late_for_pickup"
    if driver.until_ms is not None and done_ms > driver.until_ms:
        return "block_ends_too_soon"
    return None


def _vehicle_misfit(vehicle: Vehicle, visit: _Visit) -> str | None:
    if visit.need.jobs > vehicle.max_jobs:
        return "too_many_jobs"
    if visit.need.weight_g > vehicle.max_weight_g:
        return "too_heavy"
    if visit.need.volume_l > vehicle.max_volume_l:
        return "too_big"
    if visit.equipment and not visit.equipment.issubset(vehicle.equipment):
        return "lacks_equipment"
    return None


def offerable(ranked: Ranking, depth: int = OFFER_DEPTH) -> Ranking:
    """Return the eligible drivers among the first `depth`, in order."""
    return tuple([d for d in ranked[:depth] if d.eligible])
