import random
from itertools import pairwise

import pytest

from load_tests.shapes import SHAPES, Timetable

RATE = 50.0
SECONDS = 100.0


def timetable(name: str, flash_jobs: int = 500) -> Timetable:
    return Timetable(SHAPES[name], SECONDS, RATE, flash_jobs)


@pytest.mark.parametrize("name", SHAPES)
def test_orders_arrive_in_time_order_within_the_run(name: str) -> None:
    arrivals = list(timetable(name).arrivals(random.Random(1)))
    assert all(one.due_s <= other.due_s for one, other in pairwise(arrivals))
    assert arrivals[0].due_s >= 0
    assert arrivals[-1].due_s < SECONDS


@pytest.mark.parametrize("name", SHAPES)
def test_as_many_arrive_as_the_rate_says(name: str) -> None:
    table = timetable(name, flash_jobs=0)
    expected = sum(table.rate(second + 0.5) for second in range(int(SECONDS)))
    arrivals = sum(1 for _ in table.arrivals(random.Random(2)))
    # Four standard deviations of a Poisson count.
    assert arrivals == pytest.approx(expected, abs=4 * expected**0.5)


def test_rushes_rise_to_the_peak_and_fall() -> None:
    for name in ("lunch-rush", "evening-rush"):
        table = timetable(name)
        assert table.rate(0) < table.rate(SECONDS * 0.1) < table.rate(SECONDS * 0.5) == RATE
        assert table.rate(SECONDS) < table.rate(SECONDS * 0.9) < RATE


def test_nothing_is_ordered_before_or_after() -> None:
    assert timetable("steady").rate(-0.1) == 0
    assert timetable("steady").rate(SECONDS + 0.1) == 0


def test_flash_sale_is_all_its_jobs_within_a_second() -> None:
    arrivals = timetable("flash-sale").arrivals(random.Random(1))
    sale = [arrival.due_s for arrival in arrivals if arrival.flash]
    assert len(sale) == 500
    assert SECONDS / 2 <= min(sale) <= max(sale) < SECONDS / 2 + 1


def test_workers_share_the_orders() -> None:
    alone = list(timetable("flash-sale").arrivals(random.Random(1)))
    shares = [
        list(timetable("flash-sale").arrivals(random.Random(seed), worker, 3))
        for worker, seed in enumerate((1, 2, 3))
    ]
    shared = sorted(a.due_s for share in shares for a in share if a.flash)
    assert shared == [a.due_s for a in alone if a.flash]
    usual = [sum(not a.flash for a in share) for share in shares]
    assert sum(usual) == pytest.approx(RATE * SECONDS, abs=4 * (RATE * SECONDS) ** 0.5)
    assert min(usual) > RATE * SECONDS / 4


def test_same_seed_gives_the_same_orders() -> None:
    table = timetable("evening-rush")
    assert list(table.arrivals(random.Random(7))) == list(table.arrivals(random.Random(7)))


def test_zero_rate_orders_nothing() -> None:
    table = Timetable(SHAPES["flash-sale"], SECONDS, 0.0, 3)
    assert [arrival.flash for arrival in table.arrivals(random.Random(1))] == [True] * 3


def test_faults_are_scheduled() -> None:
    assert timetable("mass-reconnect").reconnect_s == (50.0,)
    assert len(timetable("rolling-restart").restart_s) == 2
    assert SHAPES["half-decline"].decline_share == 0.5
