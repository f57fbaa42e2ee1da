"""Each term of the cost: its weight, bounds and sign."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.matching.cost import driver_terms, slack_term
from mallard_engine.core.model import Driver
from mallard_engine.core.policy import CostWeights
from tests.engine.core.makers import HOUR_MS, NOW_MS, driver

WEIGHTS = CostWeights(idle=0.1, idle_limit_s=600, recent_decline_s=45, slack=0.5, slack_s=900)


def seconds(who: Driver) -> dict[str, float]:
    return {term.name: term.seconds for term in driver_terms(who, NOW_MS, WEIGHTS)}


@pytest.mark.parametrize(
    ("idle_s", "expected_s"),
    [(0, 0), (1, -0.1), (100, -10), (600, -60), (601, -60), (100_000, -60)],
)
def test_idle_time_is_subtracted_up_to_a_limit(idle_s: int, expected_s: float) -> None:
    who = driver("d", free_since_ms=NOW_MS - idle_s * 1000)
    assert seconds(who)["idle"] == pytest.approx(expected_s)


def test_driver_free_in_the_future_has_no_idle_time() -> None:
    assert seconds(driver("d", free_since_ms=NOW_MS + 5_000))["idle"] == 0


@pytest.mark.parametrize(
    ("declines", "ago_ms", "expected_s"),
    [
        (0, 0, 0),
        (1, 0, 45),
        (2, 0, 90),
        (1, HOUR_MS, 22.5),
        (4, 2 * HOUR_MS, 45),
        (1, -HOUR_MS, 45),
    ],
)
def test_decline_costs_half_after_an_hour(declines: float, ago_ms: int, expected_s: float) -> None:
    who = driver("d", declines=declines, declines_ms=NOW_MS - ago_ms)
    assert seconds(who)["declines"] == pytest.approx(expected_s)


def test_driver_without_declines_has_no_decline_cost() -> None:
    assert seconds(driver("d", declines=0, declines_ms=0))["declines"] == 0


@pytest.mark.parametrize(
    ("slack_s", "expected_s"), [(10_000, 0), (900, 0), (898, 1), (0, 450), (-100, 500)]
)
def test_short_slack_costs_and_lateness_costs_more(slack_s: int, expected_s: float) -> None:
    term = slack_term(NOW_MS + slack_s * 1000, NOW_MS, WEIGHTS)
    assert term.name == "slack"
    assert term.seconds == pytest.approx(expected_s)


@given(
    free_since_ms=st.integers(0, 2 * NOW_MS),
    declines=st.floats(0, 1e6),
    declines_ms=st.integers(0, 2 * NOW_MS),
    deadline_ms=st.integers(0, 2 * NOW_MS),
)
def test_terms_are_bounded(
    free_since_ms: int, declines: float, declines_ms: int, deadline_ms: int
) -> None:
    who = driver("d", free_since_ms=free_since_ms, declines=declines, declines_ms=declines_ms)
    terms = seconds(who)
    assert -60 <= terms["idle"] <= 0
    assert 0 <= terms["declines"] <= 45 * declines
    assert math.isfinite(slack_term(deadline_ms, NOW_MS, WEIGHTS).seconds)
