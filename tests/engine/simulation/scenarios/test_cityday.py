"""City-days: clocks unwrapped, couriers thinned and scattered, and a small day carried out."""

from dataclasses import replace
from pathlib import Path

import pytest

from mallard_engine.core.matching.fairness import gini
from mallard_engine.core.policy import Round
from mallard_engine.input_files import InputError
from mallard_engine.simulation.reports.day_statistics import served_by_nobody, statistics_of
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import MIDNIGHT_MS, Day, Shift
from mallard_engine.simulation.scenarios import cityday

pytestmark = pytest.mark.slow

ORDERS = (
    "order_id,pick_up_lat,pick_up_lng,drop_off_lat,drop_off_lng,placement_time,preparation_time,"
    "ready_time,expected_drop_off_time\n"
)
COURIERS = "courier_id,vehicle,on_lat,on_lng,on_time,off_time\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        f"{n},4.80{n % 7},-75.70{n % 5},4.81{n % 9},-75.69{n % 4},"
        f"{8 + n // 10:02}:{n % 10 * 5:02}:00,"
        f"08:00:00,{8 + n // 10:02}:{n % 10 * 5 + 9:02}:00,{9 + n // 10:02}:{n % 10 * 5:02}:00\n"
        for n in range(30)
    ]
    late = "99,4.801,-75.701,4.811,-75.691,23:50:00,23:55:00,00:05:00,00:30:00\n"
    (tmp_path / "orders.csv").write_text(ORDERS + "".join(rows) + late)
    couriers = [f"{n},motorcycle,4.80{n},-75.70{n},07:30:00,23:59:00\n" for n in range(1, 9)]
    odd = "20,bicycle,3.45,-76.53,07:00:00,23:00:00\n21,bicycle,4.8,-75.7,09:00:00,09:00:00\n"
    (tmp_path / "couriers.csv").write_text(COURIERS + "".join(couriers) + odd)
    return tmp_path


def test_clocks_are_unwrapped_and_invalid_shifts_reported(folder: Path) -> None:
    day = cityday.read_day(folder)
    late = day.orders[-1]
    assert late.placed_s < late.ready_s < late.expected_s
    assert late.ready_s == cityday.DAY_S + 300
    assert (len(day.couriers), day.dropped, day.far) == (9, 1, 1)


def test_fleet_is_thinned_and_scattered(folder: Path) -> None:
    day = cityday.read_day(folder)
    policy = cityday.default_policy()
    whole = cityday.scenario_of(day, policy, seed=3)
    assert len(whole.shifts) == 9
    assert len(cityday.scenario_of(day, policy, fleet=0.25).shifts) == 3
    assert all(4.5 < shift.lat < 5 for shift in whole.shifts)
    assert all(0.4 <= shift.acceptance <= 1 for shift in whole.shifts)
    assert whole.shifts == cityday.scenario_of(day, policy, seed=3).shifts


@pytest.mark.parametrize("how", ["instant", "batch"])
def test_small_day_is_carried_out(folder: Path, redis_url: str, how: Round) -> None:
    policy = replace(cityday.default_policy(), round=how)
    day = simulate(cityday.scenario_of(cityday.read_day(folder), policy, seed=1), redis_url)
    statistics = statistics_of(day)
    assert statistics.delivered >= 29
    assert statistics.offers_per_order >= 1
    assert statistics.wait_mean is not None
    assert statistics.wait_mean >= 0
    assert 0 <= statistics.on_time_percent <= statistics.possible_percent <= 100


def test_rest_of_a_day_keeps_its_orders_and_drivers(folder: Path) -> None:
    whole = cityday.scenario_of(cityday.read_day(folder), cityday.default_policy(), seed=1)
    rest = cityday.from_hour(whole, 10)
    from_ms = MIDNIGHT_MS + 10 * 3_600_000
    assert rest.start_ms == from_ms
    assert rest.orders == tuple(order for order in whole.orders if order.placed_ms >= from_ms)
    assert 0 < len(rest.orders) < len(whole.orders)
    assert all(shift.on_ms >= from_ms for shift in rest.shifts)
    assert {shift.driver for shift in rest.shifts} == {
        shift.driver for shift in whole.shifts if shift.off_ms > from_ms
    }
    with pytest.raises(InputError, match="from 30:00 on"):
        cityday.from_hour(whole, 30)


def test_unservable_orders_are_counted(folder: Path) -> None:
    scenario = cityday.scenario_of(cityday.read_day(folder), cityday.default_policy())

    def unserved(*shifts: Shift) -> int:
        return served_by_nobody(Day(replace(scenario, shifts=shifts), (), (), {}, 0.0, 0))

    assert unserved(*scenario.shifts) == 1  # ready at 00:05, and all go home at 23:59
    longer = replace(scenario.shifts[0], off_ms=scenario.orders[-1].ready_ms + 1)
    assert unserved(longer) == 0
    assert unserved(replace(longer, off_ms=scenario.orders[0].ready_ms)) == len(scenario.orders)


def test_unreadable_file_is_named(folder: Path) -> None:
    (folder / "couriers.csv").write_text(COURIERS + "1,car,4.8,-75.7,later,10:00:00\n")
    with pytest.raises(InputError, match=r"couriers\.csv, line 2"):
        cityday.read_day(folder)
    with pytest.raises(InputError, match="no such folder"):
        cityday.read_day(folder / "nowhere")


def test_gini_of_equal_and_unequal_shares() -> None:
    assert gini([1, 1, 1, 1]) == 0
    assert gini([0, 0, 0, 4]) == 0.75
    assert gini([0, 0]) == 0
