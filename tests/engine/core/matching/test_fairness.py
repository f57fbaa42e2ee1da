"""The earnings term: bounded, smoothed, balanced around the mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.matching.fairness import Fairness, gini, gini_of_work
from mallard_engine.core.model import Driver
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_protocol.lifecycle import Wish
from tests.engine.core.makers import HOUR_MS, NOW_MS, driver, matcher, near, need

WEIGHT_S = 120.0


def at_work(name: str, hours: float, done: int, earned: int = 0) -> Driver:
    block_ms = NOW_MS - round(hours * HOUR_MS)
    return driver(name, block_ms=block_ms, done=done, earned_minor=earned)


def seconds(*drivers: Driver) -> list[float]:
    fairness = Fairness(drivers, NOW_MS, WEIGHT_S)
    return [fairness.term(each).seconds for each in drivers]


workers = st.builds(
    at_work, st.just("d"), st.floats(0, 12), st.integers(0, 50), st.integers(0, 50_000)
)


@given(st.lists(workers, max_size=8))
def test_term_is_bounded_by_its_weight(drivers: list[Driver]) -> None:
    assert all(-WEIGHT_S <= each <= WEIGHT_S for each in seconds(*drivers))


@given(
    st.lists(workers, min_size=1, max_size=8), st.floats(0, 12), st.integers(0, 50), st.booleans()
)
def test_more_work_in_the_same_time_never_costs_less(
    others: list[Driver], hours: float, done: int, paid: bool
) -> None:
    fairness = Fairness(others, NOW_MS, WEIGHT_S)
    less = at_work("less", hours, done, 100 * done * paid)
    more = at_work("more", hours, done + 1, 100 * (done + 1) * paid)
    assert fairness.term(less).seconds <= fairness.term(more).seconds


def test_equal_drivers_have_no_term() -> None:
    assert seconds(at_work("a", 2, 6), at_work("b", 4, 12)) == pytest.approx([0, 0])


def test_pay_counts_if_known_else_jobs() -> None:
    few_but_good, many_but_small = at_work("a", 2, 2, 9_000), at_work("b", 2, 6, 3_000)
    assert seconds(few_but_good, many_but_small)[0] > 0
    assert seconds(at_work("a", 2, 2), at_work("b", 2, 6))[0] < 0


def test_short_block_has_a_small_term() -> None:
    others = [at_work("a", 3, 9), at_work("b", 3, 9)]
    fresh, long = at_work("c", 0.1, 0), at_work("d", 3, 0)
    *_, fresh_s, long_s = seconds(*others, fresh, long)
    assert long_s < 3 * fresh_s < 0


def test_driver_without_record_has_no_term() -> None:
    assert seconds(driver("new"), at_work("a", 2, 6))[0] == 0
    assert seconds(driver("new")) == [0]


def test_term_exists_only_if_the_market_weighs_it() -> None:
    rich, poor = near(at_work("rich", 3, 12), 1_000), near(at_work("poor", 3, 1), 1_100)
    weighed = MarketPolicy(weights=CostWeights(earnings_s=300))
    ranking = matcher(rich, poor, policy=weighed).rank(need())
    assert [who.driver for who in ranking] == ["poor", "rich"]
    assert dict(ranking[1].terms)["earnings"] > 0
    assert ranking[0].cost_s == pytest.approx(sum(term.seconds for term in ranking[0].terms))
    plain = matcher(rich, poor).rank(need())
    assert [who.driver for who in plain] == ["rich", "poor"]
    assert "earnings" not in dict(plain[0].terms)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_gini_spans_equality_to_one_having_all(values: list[int]) -> None:
    assert -1e-9 <= gini(values) <= 1 - 1 / len(values) + 1e-9
    assert gini([7] * len(values)) == pytest.approx(0)


def test_gini_counts_drivers_some_time_into_a_block() -> None:
    idle = driver("idle", wish=Wish.OFFLINE, block_ms=NOW_MS - HOUR_MS, done=50)
    fresh = at_work("fresh", 0.1, 5)
    pair = [at_work("a", 2, 4, 1_000), at_work("b", 4, 8, 6_000), idle, fresh]
    jobs, pay = gini_of_work(pair, NOW_MS)
    assert jobs == pytest.approx(0)
    assert pay == pytest.approx(0.25)
