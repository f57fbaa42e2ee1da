"""A batch's plan: least total cost, no avoidable lateness, hard constraints kept."""

import random
from dataclasses import replace
from typing import Any

import pytest

from mallard_engine.core.batch.solver import BatchDriver, BatchJob, Plan, solve
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Asked, Driver, RankedDriver, Vehicle, Waiting
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_protocol.lifecycle import Wish
from tests.engine.core import makers

import numpy as np  # isort: skip

NOW_MS = 1_800_000_000_000
MALL = Places.load(opening_hours=False).mall("chandler-fashion-center")
GATE = next(iter(MALL.gates.values()))
POLICY = MarketPolicy(
    weights=CostWeights(idle=0, recent_decline_s=0, slack=0, acceptance=1),
    store_dwell_s=0,
    dropoff_dwell_s=0,
)
M_PER_DEG = 111_195.0


class Metres(TravelTime):
    """One second a metre, so that costs are easy to compute."""

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        del at_ms
        return M_PER_DEG * float(np.hypot(to_lat - from_lat, to_lon - from_lon))


def driver(name: str, north_m: float, free_in_s: int = 0, **record: object) -> BatchDriver:
    known = Driver(id=name, wish=Wish.AVAILABLE, connected=True, **record)  # type: ignore[arg-type]
    free_ms = NOW_MS + free_in_s * 1000 if free_in_s else 0
    return BatchDriver(known, GATE.lat + north_m / M_PER_DEG, GATE.lon, free_ms)


def job(name: str, *, ready_in_s: int = 0, asked: tuple[Asked, ...] = (), **need: Any) -> BatchJob:
    needed = makers.need(NOW_MS, **need)
    needed = replace(
        needed,
        stores=tuple(s.id for s in MALL.stores.values() if s.gate == GATE.id)[:1],
        ready_ms=NOW_MS + ready_in_s * 1000,
    )
    return BatchJob(Waiting(name, 0, needed, asked, b""), MALL)


def plans(jobs: list[BatchJob], drivers: list[BatchDriver], **overrides: object) -> dict[str, Plan]:
    policy = replace(POLICY, **overrides)  # type: ignore[arg-type]
    return {plan.job.waiting.job: plan for plan in solve(jobs, drivers, NOW_MS, policy, Metres())}


def asked(plan: Plan) -> RankedDriver:
    return plan.ranking()[0]


def test_each_job_gets_a_driver_of_its_own() -> None:
    found = plans([job("a"), job("b")], [driver("near", 100), driver("far", 900)])
    assert {plan.driver for plan in found.values()} == {"near", "far"}


def test_no_drivers_or_no_jobs_give_no_plan() -> None:
    assert plans([job("a")], []) == {}
    assert plans([], [driver("d", 1)]) == {}


def test_remaining_jobs_are_second_jobs_or_left_over() -> None:
    jobs = [job(name) for name in "abc"]
    assert len(plans(jobs, [driver("d", 100)], waves=1)) == 1
    found = plans(jobs, [driver("d", 100)], waves=3)
    assert sum(plan.now for plan in found.values()) == 1


def test_busy_driver_is_planned_but_not_now() -> None:
    far, soon = driver("far", 5_000), driver("soon", 100, free_in_s=60)
    (plan,) = plans([job("a")], [far, soon]).values()
    assert (plan.driver, plan.now) == ("soon", False)
    (plan,) = plans([job("a")], [far]).values()
    assert (plan.driver, plan.now) == ("far", True)


def test_departure_is_in_time_for_the_parcel() -> None:
    walk_s = MALL.stores[job("a").waiting.need.stores[0]].walk_s
    (plan,) = plans([job("a", ready_in_s=2_000)], [driver("d", 300)]).values()
    assert plan.depart_ms == pytest.approx(NOW_MS + (2_000 - walk_s - 300) * 1000, abs=2_000)


def test_hard_constraints_are_kept() -> None:
    small = Vehicle(max_weight_g=10, max_volume_l=1)
    cases = {
        "asked_before": (job("a", asked=(Asked("d", 1, "declined", NOW_MS),)), driver("d", 10)),
        "block": (job("a"), driver("d", 10, until_ms=NOW_MS + 5_000)),
        "too_heavy": (job("a", weight_g=100), driver("d", 10, vehicle=small)),
        "too_big": (job("a", volume_l=5), driver("d", 10, vehicle=small)),
        "equipment": (job("a", requires=("crane",)), driver("d", 10)),
    }
    for why, (one, other) in cases.items():
        assert plans([one], [other]) == {}, why
    crane = Vehicle(equipment=("crane",))
    lifted = plans([job("a", requires=("crane", "id_check"))], [driver("d", 10, vehicle=crane)])
    assert lifted["a"].now


def test_block_may_cover_the_pickup_only() -> None:
    ends = driver("d", 10, until_ms=NOW_MS + 400_000)
    one = job("a", lat=GATE.lat + 0.2, lon=GATE.lon)
    assert plans([one], [ends]) == {}
    assert plans([one], [ends], block_covers="pickup")["a"].now


def test_block_margin_is_kept() -> None:
    one = job("a")
    done_ms = asked(plans([one], [driver("d", 10)])["a"]).eta_dropoff_ms
    ends = driver("d", 10, until_ms=done_ms + 60_000)
    assert plans([one], [ends], block_margin_s=55.0)["a"].now
    assert plans([one], [ends], block_margin_s=65.0) == {}


def near_door(ready_in_s: int) -> BatchJob:
    return job("a", ready_in_s=ready_in_s, lat=GATE.lat, lon=GATE.lon)


def test_job_fades_when_blocks_leave_few_drivers_for_later() -> None:
    soon_over = [driver(f"s{n}", 100 + n, until_ms=NOW_MS + 1_400_000) for n in range(4)]
    for others, fades in ((0, True), (2, True), (3, False)):
        drivers = soon_over + [driver(f"d{n}", 300 + n) for n in range(others)]
        assert plans([near_door(600)], drivers)["a"].fading is fades
    assert not plans([near_door(600)], soon_over, fading_s=0.0)["a"].fading
    assert not plans([near_door(600)], soon_over, fading_s=300.0)["a"].fading
    # Few drivers are not enough: these are still there later.
    assert not plans([near_door(600)], [driver("d", 100)])["a"].fading


def test_fading_job_does_not_wait_for_a_busy_driver() -> None:
    block = {"until_ms": NOW_MS + 1_400_000}
    far = driver("far", 400, **block)
    soon = driver("soon", 100, free_in_s=60, **block)
    plan = plans([near_door(0)], [far, soon])["a"]
    assert (plan.driver, plan.now, plan.fading) == ("far", True, True)
    assert asked(plan).cost_s == pytest.approx(sum(term.seconds for term in asked(plan).terms))
    plan = plans([near_door(0)], [far, soon], fading_s=0.0)["a"]
    assert (plan.driver, plan.now) == ("soon", False)
    alone = driver("soon", 100, free_in_s=60, until_ms=NOW_MS + 1_000_000)
    plan = plans([near_door(0)], [alone])["a"]
    assert {term.name: term.seconds for term in asked(plan).terms}["fading"] == 900.0


def test_shortage_serves_urgent_and_old_jobs_first() -> None:
    one = [driver("d", 100)]
    jobs = [job("new"), job("urgent", priority=1), job("old", ready_in_s=-3_600)]
    assert list(plans(jobs, one, waves=1)) == ["urgent"]
    assert list(plans([jobs[0], jobs[2]], one, waves=1)) == ["old"]


def test_terms_add_up_to_the_cost() -> None:
    (plan,) = plans([job("a")], [driver("d", 700)]).values()
    assert asked(plan).cost_s == pytest.approx(sum(term.seconds for term in asked(plan).terms))
    assert {term.name for term in asked(plan).terms} >= {"lateness", "travel", "wait", "soon"}


def test_unknown_store_raises() -> None:
    broken = job("a")
    need = replace(broken.waiting.need, stores=("nowhere",))
    broken = replace(broken, waiting=replace(broken.waiting, need=need))
    with pytest.raises(KeyError):
        plans([broken], [driver("d", 1)])


def test_driver_who_refuses_less_is_planned() -> None:
    reliable, picky = driver("reliable", 400), driver("picky", -398, history=makers.REFUSES_ALL)
    (plan,) = plans([job("a")], [picky, reliable]).values()
    assert plan.driver == "reliable"
    (alone,) = plans([job("a")], [picky]).values()
    costs_s = {who.driver: dict(who.terms)["acceptance"] for who in (asked(plan), asked(alone))}
    assert costs_s["picky"] > costs_s["reliable"] + 4
    assert asked(alone).cost_s == pytest.approx(sum(term.seconds for term in asked(alone).terms))


def test_zero_acceptance_weight_gives_no_term() -> None:
    weights = CostWeights(idle=0, recent_decline_s=0, slack=0, acceptance=0)
    (plan,) = plans([job("a")], [driver("d", 400)], weights=weights).values()
    assert asked(plan).cell is None
    assert "acceptance" not in dict(asked(plan).terms)


def test_shortage_may_prefer_short_deliveries() -> None:
    one = [driver("d", 100)]
    far, short = job("far", lat=GATE.lat + 0.09), job("short", lat=GATE.lat + 0.01)
    first = {"waves": 1, "plan": replace(POLICY.plan, haul=10.0)}
    for jobs in ([far, short], [short, far]):
        assert list(plans(jobs, one, **first)) == ["short"]


def test_cheapest_alternative_plan_wins() -> None:
    rng = random.Random(3)
    better = 0
    for _ in range(30):
        jobs = [
            job(f"j{number}", ready_in_s=rng.randrange(3_000), lat=GATE.lat + rng.gauss(0, 0.02))
            for number in range(8)
        ]
        fleet = [driver(f"d{n}", rng.randrange(4_000), rng.randrange(1_500)) for n in range(3)]
        one, four = (plans(jobs, fleet, deals=deals).values() for deals in (1, 4))
        costs = [sum(asked(plan).cost_s or 0 for plan in found) for found in (one, four)]
        if len(one) == len(four):
            assert costs[1] <= costs[0] + 1e-6
            better += costs[1] < costs[0] - 1
        assert len(four) >= len(one)
    assert better
