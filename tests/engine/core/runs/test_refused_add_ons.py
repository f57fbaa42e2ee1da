"""Add-ons that did not pay are not tried again while the run and the job stay as they are."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mallard_engine.core.model import HeldJob, Vehicle, Waiting
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.runs.pooling import Pool
from mallard_engine.core.runs.refused_add_ons import RefusedAddOns
from mallard_engine.core.runs.run import Pooled, RunDriver
from mallard_engine.core.runs.stops import RunStops
from tests.engine.core.makers import MALL, NOW_MS, TRAVEL, need, waiting

POLICY = MarketPolicy(max_run_jobs=4)
KM_DEG = 1_000 / 111_195


def job(name: str, north_km: float) -> Waiting:
    return waiting(name, need=need(lat=MALL.lat + north_km * KM_DEG, lon=MALL.lon))


def coming(*has: Waiting, name: str = "coming") -> RunDriver:
    carried = tuple(
        HeldJob(
            it.job, 1, MALL.id, lat=it.need.lat, lon=it.need.lon, deadline_ms=it.need.deadline_ms
        )
        for it in has
    )
    return RunDriver(name, Vehicle(max_jobs=8), 300.0, carried=carried)


class Plans:
    """Plans of one mall, one after the other; counts the orders of runs that they evaluate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused = RefusedAddOns()
        self.orders = 0
        ordered = RunStops.ordered

        def counted(*args: object) -> object:
            self.orders += 1
            return ordered(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(RunStops, "ordered", counted)

    def plan(self, jobs: list[Waiting], *drivers: RunDriver) -> Pooled:
        self.orders = 0
        return Pool(MALL, jobs, NOW_MS, POLICY, TRAVEL, refused=self.refused).runs(drivers)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    return Plans(monkeypatch)


def test_refused_add_on_is_not_tried_again(plans: Plans) -> None:
    near, short = job("near", 6.5), coming(job("has", 7))._replace(until_s=900.0)
    assert not plans.plan([near], short).runs
    assert plans.orders == 1
    assert not plans.plan([near], short).runs
    assert plans.orders == 0


def test_job_in_another_direction_costs_no_order(plans: Plans) -> None:
    assert not plans.plan([job("away", -6)], coming(job("has", 7), job("more", 5))).runs
    assert plans.orders == 0


KM = st.floats(-8, 8)
DOORS = st.lists(st.tuples(KM, KM, st.integers(20, 90)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(DOORS, st.lists(DOORS, min_size=1, max_size=4), st.sampled_from((0.0, 0.3, 0.5)))
def test_add_ons_are_those_of_all_jobs_tried(
    waits: list[tuple[float, float, int]],
    runs: list[list[tuple[float, float, int]]],
    potential: float,
) -> None:
    """What cannot gain is left out before the run is ordered, and nothing else."""
    policy = replace(POLICY, max_run_jobs=7, run=replace(POLICY.run, potential=potential))
    jobs = [_at(f"j{n}", *door) for n, door in enumerate(waits)]
    drivers = [
        coming(*[_at(f"{n}-{m}", *door) for m, door in enumerate(run)], name=f"d{n}")
        for n, run in enumerate(runs)
    ]
    found = Pool(MALL, jobs, NOW_MS, policy, TRAVEL).runs(drivers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunStops, "may_save_s", lambda *_: 0.0)
        assert Pool(MALL, jobs, NOW_MS, policy, TRAVEL).runs(drivers) == found


def _at(name: str, north_km: float, east_km: float, minutes: int) -> Waiting:
    lat, lon = MALL.lat + north_km * KM_DEG, MALL.lon + east_km * KM_DEG
    return waiting(name, need=need(lat=lat, lon=lon, deadline_ms=NOW_MS + minutes * 60_000))


def test_new_job_is_tried_beside_refused_ones(plans: Plans) -> None:
    plans.plan([job("away", -6)], coming(job("has", 7)))
    (run,) = plans.plan([job("away", -6), job("near", 6.5)], coming(job("has", 7))).runs
    assert [it.job for it in run.jobs] == ["near"]


def test_changed_job_is_tried_again(plans: Plans) -> None:
    away, near = job("x", -6), job("x", 6.5)
    assert not plans.plan([away], coming(job("has", 7))).runs
    assert plans.plan([near], coming(job("has", 7))).runs


def test_refusal_ends_with_the_run(plans: Plans) -> None:
    away = job("x", -6)
    assert not plans.plan([away], coming(job("has", 7))).runs
    assert plans.plan([away], coming(job("has", -7))).runs


def test_refusal_ends_with_a_longer_block(plans: Plans) -> None:
    near, short = job("near", 6.5), coming(job("has", 7))._replace(until_s=900.0)
    assert not plans.plan([near], short).runs
    assert plans.plan([near], short._replace(until_s=9_000.0)).runs


def test_driver_who_arrived_is_forgotten(plans: Plans) -> None:
    plans.plan([job("away", -6)], coming(job("has", 7)), coming(job("h", 7), name="other"))
    assert len(plans.refused) == 2
    plans.plan([job("away", -6)], coming(job("has", 7)))
    assert len(plans.refused) == 1


def test_add_on_that_was_offered_is_tried_again(plans: Plans) -> None:
    """The driver may have declined it, and another may be asked; the scripts know of that."""
    near = job("near", 6.5)
    for _ in range(2):
        assert plans.plan([near], coming(job("has", 7))).runs


def test_full_driver_costs_no_order(plans: Plans) -> None:
    full = coming(*[replace(job(f"h{n}", 7)) for n in range(4)])
    assert not plans.plan([job("near", 6.5)], full).runs
    assert plans.orders == 0
