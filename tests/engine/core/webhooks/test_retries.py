"""When a failed delivery is repeated, and when it is given up."""

import pytest

from mallard_engine.core.webhooks.retries import GIVE_UP_MS, next_attempt_ms

HOUR_MS = 3_600_000
BEGAN_MS = 1_000_000


@pytest.mark.parametrize(
    ("attempt", "after_s"),
    [
        *((1, 5), (2, 60), (3, 300), (4, 1_800), (5, 7_200), (6, 21_600)),
        *((7, 43_200), (8, 43_200), (20, 43_200)),
    ],
)
def test_waits_grow_with_attempts_and_spread_by_a_fifth(attempt: int, after_s: int) -> None:
    def after(chance: float) -> int | None:
        at_ms = next_attempt_ms(attempt, BEGAN_MS, BEGAN_MS, chance)
        return None if at_ms is None else at_ms - BEGAN_MS

    assert after(0.5) == after_s * 1_000
    assert after(0.0) == after_s * 800
    assert (after(0.999_999) or 0) == pytest.approx(after_s * 1_200, rel=1e-3)


def test_delivery_is_given_up_after_three_days() -> None:
    late_ms = BEGAN_MS + GIVE_UP_MS - 12 * HOUR_MS
    assert next_attempt_ms(9, BEGAN_MS, late_ms, 0.5) == BEGAN_MS + GIVE_UP_MS
    assert next_attempt_ms(9, BEGAN_MS, late_ms + 1, 0.5) is None
    assert next_attempt_ms(9, BEGAN_MS, late_ms, 0.6) is None


def test_every_delivery_ends_within_three_days() -> None:
    for chance in (0.0, 0.5, 0.99):
        now_ms, attempt = BEGAN_MS, 1
        while (at_ms := next_attempt_ms(attempt, BEGAN_MS, now_ms, chance)) is not None:
            assert now_ms < at_ms <= BEGAN_MS + GIVE_UP_MS
            now_ms, attempt = at_ms, attempt + 1
        assert 10 <= attempt <= 16
