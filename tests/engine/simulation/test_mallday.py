"""A mall's day: real stores, blocks, and deadlines."""

import pytest

from engine.core.places import Places
from engine.demo.demand import Demand
from engine.simulation import mallday
from engine.simulation.day import simulate
from engine.simulation.figures import figures_of
from engine.simulation.scenario import Scenario

PLACES = Places.load(opening_hours=False)
MALL = "chandler-fashion-center"


def scenario(seed: int = 1, mall: str = MALL) -> Scenario:
    demand = Demand(PLACES, [])
    policy = mallday.default_policy()
    return mallday.scenario_of(PLACES, demand, policy, mall=mall, parcels=40, drivers=25, seed=seed)


def test_the_seed_makes_the_day() -> None:
    assert scenario().orders == scenario().orders
    assert scenario().shifts == scenario().shifts
    assert scenario(2).orders != scenario().orders


def test_what_a_day_is_made_of() -> None:
    day = scenario()
    for order in day.orders:
        assert set(order.stores) <= set(PLACES.mall(MALL).stores)
        assert order.placed_ms < order.ready_ms < order.best_by_ms < order.expires_ms
    for shift in day.shifts:
        assert 3 * 3_600_000 <= shift.off_ms - shift.on_ms <= 4 * 3_600_000


def test_a_small_day_is_carried_out(redis_url: str) -> None:
    figures = figures_of(simulate(scenario(), redis_url))
    assert figures.delivered >= 36
    assert figures.on_time_percent > 50
    assert figures.offers == {"accepted": figures.delivered}


def test_an_unknown_mall_is_told() -> None:
    with pytest.raises(KeyError):
        scenario(mall="nowhere")
