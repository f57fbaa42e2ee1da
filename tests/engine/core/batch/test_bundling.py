"""Bundles: which jobs are joined at what value of a driver's time, their order and driver."""

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from mallard_engine.core.batch.bundling import Bundler, Unit
from mallard_engine.core.batch.solver import BatchDriver, BatchJob, Plan, solve
from mallard_engine.core.model import Asked, Vehicle
from mallard_engine.core.pickup.pickup_plan import tour_when_ready
from tests.engine.core.batch.test_solver import GATE, M_PER_DEG, NOW_MS, POLICY, Metres, driver, job

BUNDLES = replace(POLICY, max_run_jobs=3, bundle_jobs=3)
WALK_S = tour_when_ready(
    job("a").mall, job("a").waiting.need, lambda *_: 0.0, NOW_MS
).collect_ms // 1000  # fmt: skip
ROOMY = Vehicle(max_jobs=3)


def far(name: str, north_m: float, east_m: float = 0.0, **job_of: Any) -> BatchJob:
    """Return a job with its drop-off at this distance from the gate."""
    at: dict[str, Any] = {
        "lat": GATE.lat + north_m / M_PER_DEG,
        "lon": GATE.lon + east_m / M_PER_DEG,
    }
    return job(name, **at, **job_of)


def bundler(jobs: list[BatchJob], **overrides: Any) -> Bundler:
    policy = replace(BUNDLES, **overrides)
    tours = {
        it.waiting.job: tour_when_ready(it.mall, it.waiting.need, lambda *_: 0.0, NOW_MS)
        for it in jobs
    }
    return Bundler(jobs, tours, NOW_MS, policy, Metres(), lambda *_: 0.0)


def names(units: list[Unit]) -> list[str]:
    """Return the job ids of each unit in order, sorted."""
    return sorted("".join(it.waiting.job for it in unit.jobs) for unit in units)


def plans(jobs: list[BatchJob], drivers: list[BatchDriver], **overrides: Any) -> list[Plan]:
    return solve(jobs, drivers, NOW_MS, replace(BUNDLES, **overrides), Metres())


def roomy(name: str, north_m: float, **known: Any) -> BatchDriver:
    return driver(name, north_m, **{"vehicle": ROOMY} | known)


def test_neighbours_are_bundled_if_driver_time_has_value() -> None:
    jobs = [far("a", 900), far("b", 1_000), far("c", -1_000)]
    assert names(bundler(jobs).units(0.0)) == ["a", "b", "c"]
    assert names(bundler(jobs).units(0.3)) == ["ab", "c"]


def test_job_ready_much_later_is_not_bundled() -> None:
    jobs = [far("a", 900), far("b", 1_000, ready_in_s=600), far("c", 1_000, ready_in_s=2_000)]
    assert names(bundler(jobs).units(0.3)) == ["a", "b", "c"]
    # Even at a high value of the driver's time, half an hour is too long.
    assert names(bundler(jobs).units(2.0)) == ["ab", "c"]


@pytest.mark.parametrize("overrides", [{"bundle_jobs": 2}, {"max_run_jobs": 2}])
def test_bundle_size_is_limited_by_policy(overrides: dict[str, int]) -> None:
    jobs = [far(name, 900) for name in "abc"]
    assert max(map(len, names(bundler(jobs).units(1.0)))) == 3
    assert max(map(len, names(bundler(jobs, **overrides).units(1.0)))) == 2
    assert not bundler(jobs, bundle_jobs=1).can_bundle


def test_jobs_of_different_gates_are_not_bundled() -> None:
    one = job("a")
    gate = one.mall.stores[one.waiting.need.stores[0]].gate
    there = next(store.id for store in one.mall.stores.values() if store.gate != gate)
    need = replace(one.waiting.need, stores=(there,))
    other = replace(one, waiting=replace(one.waiting, job="b", need=need))
    assert not bundler([one, other]).can_bundle


def test_bundles_have_each_job_once_in_least_waiting_order() -> None:
    rng = random.Random(7)
    sizes = set()
    for _ in range(20):
        jobs = [
            far(
                name,
                rng.gauss(0, 1_500),
                rng.gauss(0, 1_500),
                ready_in_s=rng.randrange(-600, 1_200),
            )
            for name in "abcdefgh"
        ]
        all_jobs = bundler(jobs)
        units = all_jobs.units(1.0)
        assert sorted("".join(names(units))) == sorted("abcdefgh")
        for unit in units:
            sizes.add(len(unit.jobs))
            assert unit.ready_ms == max(it.waiting.need.ready_ms for it in unit.jobs)
            assert unit.company_ms >= 0
            assert unit.delay_ms >= -1e-6
            assert sum(unit.done_ms) == pytest.approx(_least_ms(unit))
            assert names(all_jobs.apart(unit)) == sorted(it.waiting.job for it in unit.jobs)
    assert sizes == {1, 2, 3}


def _least_ms(unit: Unit) -> float:
    """Return the least sum of drop-off times, by trying every order."""
    travel = Metres()
    sums = []
    for turn in permutations(unit.jobs):
        here, at_s, total = (GATE.lat, GATE.lon), unit.back_ms / 1000, 0.0
        for it in turn:
            there = it.waiting.need.lat, it.waiting.need.lon
            at_s += travel.seconds(*here, *there, NOW_MS)
            here, total = there, total + at_s
        sums.append(total)
    return min(sums) * 1000


def test_bundle_has_a_drop_off_time_for_each_job() -> None:
    (plan,) = plans([far("b", 1_000), far("a", 900)], [roomy("d", 100)], waves=1)
    assert [it.waiting.job for it in plan.jobs] == ["a", "b"]
    (_, first_ms), (_, second_ms) = plan.bundle
    assert plan.now
    (asked,) = plan.ranking()
    assert first_ms == pytest.approx(asked.eta_pickup_ms + (WALK_S + 900) * 1000, abs=2_000)
    assert second_ms == pytest.approx(first_ms + 100_000, abs=2_000)
    assert asked.eta_dropoff_ms == pytest.approx(second_ms, abs=1)
    terms = dict(asked.terms)
    assert terms["company"] >= 0
    assert asked.cost_s == pytest.approx(sum(terms.values()))


def test_enough_drivers_give_no_bundles() -> None:
    jobs = [far("a", 900), far("b", 900, 900)]
    (both,) = plans(jobs, [roomy("d", 100)], waves=1)
    assert len(both.jobs) == 2
    found = plans(jobs, [roomy("d", 100), roomy("e", 110)])
    assert sorted(len(plan.jobs) for plan in found) == [1, 1]


@pytest.mark.parametrize(
    ("known", "of_b"),
    [
        ({"vehicle": Vehicle()}, {}),
        ({"vehicle": replace(ROOMY, max_weight_g=1_500)}, {}),
        ({"vehicle": replace(ROOMY, max_volume_l=7.0)}, {}),
        ({}, {"requires": ("cool_box",)}),
        ({}, {"asked": (Asked("d", 1, "declined", NOW_MS),)}),
    ],
    ids=["one at a time", "weight", "volume", "equipment", "asked before"],
)
def test_driver_barred_from_the_bundle_gets_a_single_job(
    known: dict[str, Any], of_b: dict[str, Any]
) -> None:
    jobs = [far("a", 900), far("b", 1_000, **of_b)]
    found = plans(jobs, [roomy("d", 100, **known)], waves=1)
    assert [len(plan.jobs) for plan in found] == [1]


def test_bundle_without_a_driver_is_split() -> None:
    jobs = [far("a", 900), far("b", 1_000)]
    found = plans(jobs, [driver("d", 100)], waves=3)
    assert sorted(it.waiting.job for plan in found for it in plan.jobs) == ["a", "b"]


def test_bundling_serves_more_jobs_before_a_block_ends() -> None:
    jobs = [far(name, 1_000 + 10 * number) for number, name in enumerate("abc")]
    ends = roomy("d", 100, until_ms=NOW_MS + (1_500 + 2 * WALK_S) * 1000)
    served = [
        sum(len(plan.jobs) for plan in plans(jobs, [ends], bundle_jobs=most)) for most in (1, 3)
    ]
    assert served == [1, 3]
