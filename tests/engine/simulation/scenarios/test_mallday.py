"""A mall's day: real stores, blocks, and deadlines."""

from dataclasses import replace
from typing import Any

import pytest

from mallard_engine.core.places.markets import Places
from mallard_engine.simulation.reports.day_statistics import statistics_of
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Day, Scenario, Trip
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.workload.demand import Demand

pytestmark = pytest.mark.slow

PLACES = Places.load(opening_hours=False)
MALL = "chandler-fashion-center"


def scenario(seed: int = 1, mall: str = MALL, **changes: Any) -> Scenario:
    demand = Demand(PLACES, [])
    policy = replace(mallday.default_policy(), **changes)
    return mallday.scenario_of(PLACES, demand, policy, mall=mall, parcels=40, drivers=25, seed=seed)


def test_day_depends_on_its_seed() -> None:
    assert scenario().orders == scenario().orders
    assert scenario().shifts == scenario().shifts
    assert scenario(2).orders != scenario().orders


def test_day_has_orders_and_shifts_as_assumed() -> None:
    day = scenario()
    for order in day.orders:
        assert set(order.stores) <= set(PLACES.mall(MALL).stores)
        assert order.placed_ms < order.ready_ms < order.best_by_ms < order.expires_ms
    for shift in day.shifts:
        assert 3 * 3_600_000 <= shift.off_ms - shift.on_ms <= 4 * 3_600_000


def test_small_day_is_carried_out(redis_url: str) -> None:
    statistics = statistics_of(simulate(scenario(), redis_url))
    assert statistics.delivered >= 36
    assert statistics.on_time_percent > 50
    assert statistics.offers == {"accepted": statistics.delivered}


@pytest.mark.parametrize("round_", ["batch", "instant"])
def test_day_with_runs_delivers_in_runs(redis_url: str, round_: str) -> None:
    alone = statistics_of(simulate(scenario(round=round_, preset="express"), redis_url))
    changes: dict[str, Any] = {"max_run_jobs": 6, "hold_max_s": 5_400.0, "round": round_}
    changes["preset"] = "same_day"
    day = simulate(scenario(**changes), redis_url)
    statistics = statistics_of(day)
    assert statistics.delivered >= alone.delivered
    assert statistics.on_time_percent >= alone.on_time_percent
    assert statistics.orders_per_run is not None
    assert statistics.orders_per_run > 1.5
    assert statistics.km_per_order is not None
    assert alone.km_per_order is not None
    assert statistics.km_per_order < alone.km_per_order
    # Drop-offs of a run follow one another, after one visit to the mall.
    runs: dict[str, list[Trip]] = {}
    for trip in day.trips:
        runs.setdefault(trip.run, []).append(trip)
    for run in runs.values():
        assert len({trip.picked_up_ms for trip in run}) == 1
        assert len(run) <= 6
        assert sum(trip.way_in_m > 0 for trip in run) <= 1
    # Whatever was added on the way: what it adds to a visit is included to some minutes.
    assert all(trip.dropped_off_ms <= _block_end_ms(day, trip) + 300_000 for trip in day.trips)


def _block_end_ms(day: Day, trip: Trip) -> int:
    blocks = (it for it in day.scenario.shifts if it.driver == trip.driver)
    return max(block.off_ms for block in blocks if block.on_ms <= trip.accepted_ms)


def test_day_with_runs_depends_on_its_seed(redis_url: str) -> None:
    changes: dict[str, Any] = {"max_run_jobs": 6, "hold_max_s": 1_800.0, "preset": "same_day"}
    days = [simulate(scenario(**changes), redis_url) for _ in range(2)]
    assert days[0].events == days[1].events
    assert days[0].trips == days[1].trips


def test_unknown_mall_is_refused() -> None:
    with pytest.raises(KeyError):
        scenario(mall="nowhere")
