"""Plans the runs of one mall: the jobs that go together, their driver, and the offer."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from mallard_engine.core.matching.capacity import load_of, misfit
from mallard_engine.core.matching.cost import driver_terms
from mallard_engine.core.matching.patience import barred_by
from mallard_engine.core.model import (
    Driver,
    HeldJob,
    Near,
    RankedDriver,
    RoundRecord,
    Term,
    Waiting,
)
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.pickup.pickup_plan import MINUTE_MS, arrive_by_ms, run_tour
from mallard_engine.core.places.mall import Gate, Mall
from mallard_engine.core.runs.pooling import Pool
from mallard_engine.core.runs.refused_add_ons import RefusedAddOns
from mallard_engine.core.runs.run import Run, RunDriver
from mallard_engine.dispatch.context import Context
from mallard_engine.ports import OfferPlan, PlannedJob
from mallard_protocol.codes import WhyNot

# How many drivers `explain` shows: the one who gets the offer, and the next best.
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class PlannedRuns:
    """The offers to make now, and until when the other jobs are held (epoch ms)."""

    offers: tuple[OfferPlan, ...]
    held: Mapping[str, int]


class RunPlanner:
    """Plans the runs of one market's malls."""

    def __init__(self, context: Context, market: str) -> None:
        self._policy = context.policy(market)
        self._travel = context.travel_time(market)
        self._service_time = context.service_time(market)
        self._new_offer_id = context.runtime.new_offer_id
        # By mall.
        self._refused: defaultdict[str, RefusedAddOns] = defaultdict(RefusedAddOns)

    def plan(
        self,
        mall: Mall,
        jobs: Sequence[Waiting],
        near: Sequence[Near],
        coming: Sequence[Near],
        now_ms: int,
        radius_m: float = 0.0,
    ) -> PlannedRuns:
        """Plan the runs of these jobs of the mall: which leave now, and which jobs are held.

        Raises:
            KeyError: A job names a store that the mall does not have.
        """
        if not jobs:
            return PlannedRuns((), {})
        approaches = self._approaches(mall, near, now_ms)
        run_drivers = [self._room(mall, driver, now_ms, carries=True) for driver in coming]
        run_drivers += [self._room(mall, driver, now_ms) for driver, _ in approaches]
        pooled = Pool(
            mall,
            jobs,
            now_ms,
            self._policy,
            self._travel,
            self._service_time,
            self._refused[mall.id],
        ).runs(run_drivers)
        terms = {driver.driver.id: own for driver, own in approaches}
        by_driver = {driver.driver.id: driver for driver in (*coming, *near)}
        there_s = {room.driver: room.there_s for room in run_drivers}
        offers = []
        for run in pooled.runs:
            driver = by_driver[run.driver]
            own = terms.pop(run.driver, None) or self._terms(driver, there_s[run.driver], now_ms)
            by_ms = min(collect_by_ms(mall, job.need, now_ms) for job in run.jobs)
            asked = self._ranked(mall, run, driver, own, now_ms, by_ms, is_chosen=True)
            if not asked.eligible:
                continue
            next_best = [
                self._ranked(mall, run, by_driver[name], others, now_ms, by_ms)
                for name, others in list(terms.items())[: _SHOWN - 1]
            ]
            candidates = (asked, *(next_best if run.why != "add_on" else ()))
            offers.append(self._offer(mall, run, candidates, now_ms, radius_m))
        return PlannedRuns(tuple(offers), pooled.held)

    def held_record(self, job: Waiting, until_ms: int, now_ms: int) -> RoundRecord:
        """Return what `explain` shows of a held job."""
        return RoundRecord(job.job, job.attempt, now_ms, 0, capped=False, held_until_ms=until_ms)

    def _approaches(
        self, mall: Mall, near: Sequence[Near], now_ms: int
    ) -> list[tuple[Near, tuple[Term, ...]]]:
        """Return the free drivers, cheapest first, with the cost terms that no run changes."""
        found = [(it, self._terms(it, self._there_s(mall, it, now_ms), now_ms)) for it in near]
        found.sort(key=lambda each: (sum(term.seconds for term in each[1]), each[0].driver.id))
        return found

    def _terms(self, near: Near, there_s: float, now_ms: int) -> tuple[Term, ...]:
        own = driver_terms(near.driver, now_ms, self._policy.weights)
        return (Term("travel", there_s), *own)

    def _there_s(self, place: Mall | Gate, near: Near, now_ms: int) -> float:
        at = near.position
        return self._travel.seconds(at.lat, at.lon, place.lat, place.lon, now_ms)

    def _room(self, mall: Mall, near: Near, now_ms: int, *, carries: bool = False) -> RunDriver:
        driver, until_s = near.driver, inf
        if driver.until_ms is not None and self._policy.block_covers == "dropoff":
            until_s = (driver.until_ms - now_ms) / 1000 - self._policy.block_margin_s
        carried = tuple([_known_at(mall, held) for held in driver.jobs]) if carries else ()
        gates = {held.gate for held in carried}
        if carried and len(gates) == 1 and (gate := gates.pop()):
            there_s = self._there_s(mall.gates[gate], near, now_ms)
            return RunDriver(driver.id, driver.vehicle, there_s, until_s, carried, 0.0, gate)
        there_s = self._there_s(mall, near, now_ms)
        gate_s = max(self._there_s(gate, near, now_ms) for gate in mall.gates.values()) - there_s
        return RunDriver(driver.id, driver.vehicle, there_s, until_s, carried, max(gate_s, 0.0))

    def _ranked(
        self,
        mall: Mall,
        run: Run,
        near: Near,
        own: tuple[Term, ...],
        now_ms: int,
        by_ms: int,
        *,
        is_chosen: bool = False,
    ) -> RankedDriver:
        """Return a driver as a candidate of a run that must be collected by ``by_ms``.

        Pooling has checked the room and the block of the driver that it chose.
        """
        # The saving of the run is a term of its own.
        terms = (*own, Term("run", -run.saved_s))
        there_s = self._there_s(mall.gates[run.gate], near, now_ms)
        arrive_ms = now_ms + int(there_s * 1000)
        pickup_ms, latest_ms = self._pickup_ms(mall, run, arrive_ms, by_ms)
        done_ms = pickup_ms + int(run.done_s[-1] * 1000)
        why_not = None if is_chosen else self._why_not(run, near.driver, now_ms)
        if why_not is None and pickup_ms > by_ms:
            why_not = WhyNot.TOO_LATE_FOR_PICKUP
        if not (why_not or is_chosen) and self._ends_too_soon(near.driver, pickup_ms, done_ms):
            why_not = WhyNot.BLOCK_ENDS_TOO_SOON
        return RankedDriver(
            driver=near.driver.id,
            eligible=why_not is None,
            why_not=why_not,
            cost_s=sum(term.seconds for term in terms) if why_not is None else None,
            terms=terms,
            eta_s=round(there_s),
            distance_m=round(near.distance_m),
            gate=run.gate,
            eta_pickup_ms=pickup_ms,
            eta_dropoff_ms=done_ms,
            ask_by_ms=latest_ms - (arrive_ms - now_ms),
        )

    def _why_not(self, run: Run, driver: Driver, now_ms: int) -> str | None:
        """Return why the driver may not be asked for the run, or has no room for it."""
        for job in run.jobs:
            if driver.id in barred_by(job.asked, job.need.expires_ms, now_ms, self._policy):
                return WhyNot.ASKED_BEFORE
        load = load_of(job.need for job in run.jobs)
        return misfit(driver.vehicle, load, self._policy.max_run_jobs)

    def _ends_too_soon(self, driver: Driver, pickup_ms: int, done_ms: int) -> bool:
        """Return whether the driver's block ends before it would be done."""
        if driver.until_ms is None:
            return False
        covered_ms = done_ms if self._policy.block_covers == "dropoff" else pickup_ms
        return covered_ms + self._policy.block_margin_s * 1000 > driver.until_ms

    def _pickup_ms(self, mall: Mall, run: Run, arrive_ms: int, by_ms: int) -> tuple[int, int]:
        """Return when such a driver has the run in hand, and until when it may arrive."""
        tour = run.tour
        if tour is None:
            collect_ms = int(run.collect_s * 1000)
            ready_ms = max(job.need.ready_ms for job in run.jobs)
            return max(arrive_ms + collect_ms, ready_ms), by_ms - collect_ms
        # By the tour that it chooses on arrival, the last parcel is in hand at most so much later.
        own_tour_ms = tour.back_ms + MINUTE_MS if len(tour.order) > 1 else 0
        pickup_ms = tour.done_ms(arrive_ms)
        if arrive_ms > by_ms or pickup_ms + own_tour_ms <= by_ms:
            return pickup_ms, by_ms - tour.collect_ms - own_tour_ms
        needs = [job.need for job in run.jobs]
        tour_of = partial(run_tour, mall, needs, self._service_time, gate=run.gate)
        return tour_of(arrive_ms).done_ms(arrive_ms), arrive_by_ms(tour_of, arrive_ms, by_ms)

    def _offer(
        self,
        mall: Mall,
        run: Run,
        candidates: tuple[RankedDriver, ...],
        now_ms: int,
        radius_m: float,
    ) -> OfferPlan:
        asked = candidates[0]
        together = tuple(job.job for job in run.jobs)
        planned = []
        for job, done_s in zip(run.jobs, run.done_s, strict=True):
            record = RoundRecord(
                job=job.job,
                round=job.attempt + 1,
                at_ms=now_ms,
                radius_m=round(radius_m),
                capped=False,
                candidates=candidates,
                run=together,
                why=run.why,
            )
            eta = asked.eta_pickup_ms, asked.eta_pickup_ms + int(done_s * 1000)
            planned.append(PlannedJob(job.job, job.attempt, record, (eta,)))
        return OfferPlan(self._new_offer_id(), mall.id, tuple(planned), (asked,))


def _known_at(mall: Mall, held: HeldJob) -> HeldJob:
    """Return a held job without stores or a gate that the mall no longer has."""
    stores = held.stores if all(store in mall.stores for store in held.stores) else ()
    gate = held.gate if held.gate in mall.gates else ""
    if (stores, gate) == (held.stores, held.gate):
        return held  # nearly always: to copy each held job is a twelfth of a plan's time
    return replace(held, stores=stores, gate=gate)
