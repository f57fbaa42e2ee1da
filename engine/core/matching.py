"""Queued jobs × free drivers of one mall → for each job the drivers to ask, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.core.cost import Weights, driver_terms, slack_term
from engine.core.eta import TravelTime
from engine.core.mall import Gate, Mall
from engine.core.model import Asked, Driver, Near, Need, RankedDriver, Term, Waiting
from protocol.lifecycle import NOT_ASKED_AGAIN, Outcome

# What a job may require of the hand-over; everything else that it requires is equipment.
_HANDOVER = frozenset({"id_check"})
# An offer carries this many drivers at the most: the store takes the first who is still free.
OFFER_DEPTH = 16


class MatchPolicy(Protocol):
    """What ranking needs of a market's policy; see ``MarketPolicy`` for units and bounds."""

    @property
    def unreachable_s(self) -> float:
        """How long one who did not acknowledge is not asked again."""
        ...

    @property
    def store_dwell_s(self) -> float:
        """The time at each store."""
        ...

    @property
    def dropoff_dwell_s(self) -> float:
        """The time at the door."""
        ...

    @property
    def weights(self) -> Weights:
        """The weights of the cost."""
        ...


@dataclass(frozen=True, slots=True)
class Approach:
    """One driver on its way to one gate."""

    near: Near
    gate: Gate
    seconds: float
    terms: tuple[Term, ...]


class Matcher:
    """Ranks the drivers of one round. What depends on the driver alone is worked out once."""

    def __init__(
        self,
        mall: Mall,
        near: Sequence[Near],
        now_ms: int,
        policy: MatchPolicy,
        travel: TravelTime,
    ) -> None:
        self._mall = mall
        self._near = near
        self._now_ms = now_ms
        self._policy = policy
        self._travel = travel
        self._terms = {n.driver.id: driver_terms(n.driver, now_ms, policy.weights) for n in near}
        self._approaches: dict[str, tuple[Approach, ...]] = {}

    def rank(self, need: Need, asked: Sequence[Asked] = ()) -> tuple[RankedDriver, ...]:
        """Every driver of the round as a candidate for the job: the eligible by cost, then the
        rest by distance, each with the reason."""
        barred = self._barred(asked)
        gate = self._mall.gates[self._mall.stores[need.stores[0]].gate]
        walk_s = sum(self._mall.stores[store].walk_s for store in need.stores)
        visit_s = walk_s + self._policy.store_dwell_s * len(need.stores)
        haul_s = self._travel.seconds(gate.lat, gate.lon, need.lat, need.lon, self._now_ms)
        ranked = [
            self._candidate(approach, need, visit_s, haul_s, barred)
            for approach in self._approach(gate)
        ]
        ranked.sort(key=_by_cost)
        return tuple(ranked)

    def plan(self, waiting: Sequence[Waiting]) -> list[tuple[Waiting, tuple[RankedDriver, ...]]]:
        """Each job, in the order given, with its ranking; a driver whom an earlier job of the
        round will ask first is moved behind the others, so that one round serves them all."""
        spoken_for: set[str] = set()
        plans = []
        for job in waiting:
            ranked = self.rank(job.need, job.asked)
            free = [d for d in ranked if d.eligible and d.driver not in spoken_for]
            rest = [d for d in ranked if not d.eligible or d.driver in spoken_for]
            if free:
                spoken_for.add(free[0].driver)
            plans.append((job, (*free, *sorted(rest, key=_by_cost))))
        return plans

    def _approach(self, gate: Gate) -> tuple[Approach, ...]:
        if gate.id not in self._approaches:
            self._approaches[gate.id] = tuple(
                Approach(
                    near,
                    gate,
                    self._travel.seconds(
                        near.position.lat, near.position.lon, gate.lat, gate.lon, self._now_ms
                    ),
                    self._terms[near.driver.id],
                )
                for near in self._near
            )
        return self._approaches[gate.id]

    def _candidate(
        self, approach: Approach, need: Need, visit_s: float, haul_s: float, barred: set[str]
    ) -> RankedDriver:
        driver = approach.near.driver
        pickup_ms = max(self._now_ms + int((approach.seconds + visit_s) * 1000), need.ready_ms)
        dropoff_ms = pickup_ms + int((haul_s + self._policy.dropoff_dwell_s) * 1000)
        why_not = "asked_before" if driver.id in barred else _misfit(driver, need, dropoff_ms)
        terms = (
            Term("travel", approach.seconds),
            *approach.terms,
            slack_term(need.deadline_ms, dropoff_ms, self._policy.weights),
        )
        return RankedDriver(
            driver=driver.id,
            eligible=why_not is None,
            why_not=why_not,
            cost_s=None if why_not else sum(term.seconds for term in terms),
            terms=terms,
            eta_s=round(approach.seconds),
            distance_m=round(approach.near.distance_m),
            gate=approach.gate.id,
            eta_pickup_ms=pickup_ms,
            eta_dropoff_ms=dropoff_ms,
        )

    def _barred(self, asked: Sequence[Asked]) -> set[str]:
        since_ms = self._now_ms - int(self._policy.unreachable_s * 1000)
        return {
            turn.driver
            for turn in asked
            if turn.outcome in NOT_ASKED_AGAIN
            or (turn.outcome == Outcome.UNACKNOWLEDGED and turn.at_ms > since_ms)
        }


def _misfit(driver: Driver, need: Need, dropoff_ms: int) -> str | None:
    """The hard constraint that keeps this driver from this job; None if there is none."""
    vehicle = driver.vehicle
    if need.weight_g > vehicle.max_weight_g:
        return "too_heavy"
    if need.volume_l > vehicle.max_volume_l:
        return "too_big"
    if not set(need.requires) - _HANDOVER <= set(vehicle.equipment):
        return "lacks_equipment"
    if driver.until_ms is not None and dropoff_ms > driver.until_ms:
        return "block_ends_too_soon"
    return None


def _by_cost(ranked: RankedDriver) -> tuple[bool, float]:
    return (ranked.cost_s is None, ranked.distance_m if ranked.cost_s is None else ranked.cost_s)


def offerable(ranked: Sequence[RankedDriver]) -> tuple[RankedDriver, ...]:
    """The drivers that an offer carries: the eligible ones, in order, to the offer's depth."""
    return tuple([d for d in ranked if d.eligible][:OFFER_DEPTH])
