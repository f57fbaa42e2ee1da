"""Limits that fit the slack of a job."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.matching.patience import (
    barred_by,
    barred_until_ms,
    first_bar_end_ms,
    fitted_ms,
)
from mallard_engine.core.model import Asked
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import NOT_ASKED_AGAIN, NOT_ASKED_FOR_A_WHILE, Outcome
from tests.engine.core.makers import HOUR_MS, NOW_MS, POLICY, turn

MINUTE_MS = 60_000
slack_ms = st.integers(-24 * HOUR_MS, 48 * HOUR_MS)
seconds = st.floats(0, 86_400)
policies = st.builds(
    MarketPolicy,
    slack_share=st.floats(0, 1),
    declined_s=seconds,
    lapsed_s=seconds,
    asked_again_min_s=seconds,
)


def bar_ms(outcome: str, left_ms: int, policy: MarketPolicy = POLICY) -> float:
    """How long this outcome bars a driver from a job with this much time left."""
    return barred_until_ms(Asked("d", 1, outcome, NOW_MS), NOW_MS + left_ms, policy) - NOW_MS


@pytest.mark.parametrize(
    ("outcome", "left_ms", "expected_ms"),
    [
        ("declined", 24 * HOUR_MS, 30 * MINUTE_MS),
        ("declined", HOUR_MS, 6 * MINUTE_MS),
        ("declined", MINUTE_MS, 30_000),
        ("expired", 24 * HOUR_MS, 5 * MINUTE_MS),
        ("expired", 20 * MINUTE_MS, 2 * MINUTE_MS),
        ("expired", 0, 30_000),
        ("unacknowledged", 24 * HOUR_MS, 60_000),
        ("unacknowledged", MINUTE_MS, 30_000),
        ("withdrawn", 24 * HOUR_MS, -NOW_MS),
        ("accepted", 24 * HOUR_MS, -NOW_MS),
    ],
)
def test_default_bar_follows_the_outcome_and_the_slack(
    outcome: str, left_ms: int, expected_ms: int
) -> None:
    assert bar_ms(outcome, left_ms) == expected_ms


@pytest.mark.parametrize("outcome", sorted(NOT_ASKED_AGAIN))
def test_job_taken_off_its_driver_bars_that_driver_for_ever(outcome: Outcome) -> None:
    assert bar_ms(outcome, -HOUR_MS) == math.inf
    assert first_bar_end_ms((turn("d", outcome),), NOW_MS, NOW_MS, POLICY) is None


@given(policies, slack_ms, slack_ms, st.sampled_from(sorted(NOT_ASKED_FOR_A_WHILE)))
def test_bars_rise_with_the_slack_within_their_bounds(
    policy: MarketPolicy, some_ms: int, other_ms: int, outcome: str
) -> None:
    less_ms, more_ms = sorted((some_ms, other_ms))
    assert bar_ms(outcome, less_ms, policy) <= bar_ms(outcome, more_ms, policy)
    most_s = {
        "declined": policy.declined_s,
        "expired": policy.lapsed_s,
        "unacknowledged": policy.unreachable_s,
    }[outcome]
    least_ms = math.ceil(min(policy.asked_again_min_s, most_s) * 1000)
    assert least_ms <= bar_ms(outcome, less_ms, policy) <= math.ceil(most_s * 1000)


@given(slack_ms, slack_ms, seconds, seconds)
def test_every_limit_rises_with_the_slack(
    some_ms: int, other_ms: int, least_s: float, most_s: float
) -> None:
    less_ms, more_ms = sorted((some_ms, other_ms))
    assert fitted_ms(less_ms, least_s, most_s, POLICY) <= fitted_ms(
        more_ms, least_s, most_s, POLICY
    )


def test_bar_ends_at_its_exact_millisecond() -> None:
    asked = (turn("a", "expired"), turn("b", "declined"), turn("c", "gave_up"))
    expires_ms = NOW_MS + 24 * HOUR_MS
    end_ms = first_bar_end_ms(asked, expires_ms, NOW_MS, POLICY)
    assert end_ms == NOW_MS - 1_000 + 5 * MINUTE_MS
    assert barred_by(asked, expires_ms, end_ms - 1, POLICY) == {"a", "b", "c"}
    assert barred_by(asked, expires_ms, end_ms, POLICY) == {"b", "c"}
    assert first_bar_end_ms(asked, expires_ms, end_ms, POLICY) == end_ms + 25 * MINUTE_MS


def test_another_share_of_the_slack_changes_the_bars() -> None:
    assert bar_ms("declined", HOUR_MS, replace(POLICY, slack_share=0.5)) == 30 * MINUTE_MS
    assert bar_ms("declined", HOUR_MS, replace(POLICY, slack_share=0.0)) == 30_000
