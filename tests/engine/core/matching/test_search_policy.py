"""The search: where it starts, how it widens, when a job ends and with which reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.matching.offer_rungs import (
    MOST_STAGGERED,
    Rung,
    read_rungs,
    rung_at,
    staggered_rungs,
)
from mallard_engine.core.matching.search_policy import (
    HOLD_MS,
    JOBS_AT_FIRST,
    LONGEST_HOLD_MS,
    Search,
    end_reason,
    first_look_ms,
    first_search,
    held_until_ms,
    wide_enough,
    widened,
)
from mallard_engine.core.model import RankedDriver
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.codes import JobReason
from tests.engine.core.makers import NOW_MS, matcher, near, need, turn, waiting

POLICY = MarketPolicy(
    initial_radius_m=1_500,
    max_radius_m=20_000,
    candidates=16,
    max_candidates=100,
    max_attempts=3,
    offer_timeout_ms=30_000,
    circuity=1.2,
    speed_mps=10,
)
ONE_DRIVER: tuple[RankedDriver, ...] = matcher(near("d")).rank(need())


def test_first_search_starts_at_the_initial_radius() -> None:
    assert first_search(None, POLICY) == Search(1_500, 16, JOBS_AT_FIRST)


@pytest.mark.parametrize(
    ("needed_m", "radius_m"), [(2_000, 3_000), (0, 100), (10, 100), (19_000, 20_000)]
)
def test_next_search_starts_beyond_the_radius_last_needed(needed_m: float, radius_m: float) -> None:
    assert first_search(needed_m, POLICY).radius_m == radius_m


def test_search_starts_within_the_driver_cap() -> None:
    assert first_search(None, MarketPolicy(candidates=64, max_candidates=8)).drivers == 8


@pytest.mark.parametrize(
    ("jobs", "drivers"), [(1, None), (8, None), (9, 18), (40, 80), (64, 100), (500, 100)]
)
def test_search_has_two_drivers_a_job_within_the_cap(jobs: int, drivers: int | None) -> None:
    wide = wide_enough(Search(1_500, 16), jobs, POLICY)
    assert (wide.drivers if wide else None) == drivers


def test_search_at_the_cap_is_wide_enough() -> None:
    assert wide_enough(Search(1_500, 100), 500, POLICY) is None


def test_fruitless_search_doubles_its_drivers() -> None:
    search = Search(1_500, 16, 64)
    assert widened(search, POLICY, more_drivers=True) == Search(1_500, 32, 64)
    assert widened(search, POLICY, more_drivers=False) is None


@given(drivers=st.integers(1, 1024), most=st.integers(1, 1024), more=st.booleans())
def test_widening_ends_within_the_cap(drivers: int, most: int, *, more: bool) -> None:
    policy = MarketPolicy(max_candidates=most)
    search: Search | None = Search(1_500, min(drivers, most))
    for _ in range(12):
        if search is None:
            return
        assert search.drivers <= most
        search = widened(search, policy, more_drivers=more)
    assert search is None


LATE_MS = need().expires_ms


@pytest.mark.parametrize("ms", [NOW_MS, LATE_MS - 1])
def test_job_continues_until_it_expires(ms: int) -> None:
    assert end_reason(waiting(asked=(turn("d", "declined"),)), ONE_DRIVER, ms, POLICY) is None


def test_job_ends_when_attempts_are_used_up() -> None:
    assert end_reason(waiting(attempt=2), ONE_DRIVER, NOW_MS, POLICY) is None
    spent = end_reason(waiting(attempt=3), ONE_DRIVER, NOW_MS, POLICY)
    assert spent is JobReason.TOO_MANY_ATTEMPTS


def test_end_reason_names_what_was_missing() -> None:
    held = waiting(held_until_ms=LATE_MS + 1)
    unready = waiting(need=need(ready_ms=LATE_MS + 1))
    asked = waiting(asked=(turn("d", "unacknowledged"),))
    assert end_reason(waiting(), (), LATE_MS, POLICY) is JobReason.NOBODY_IN_REACH
    assert end_reason(waiting(), ONE_DRIVER, LATE_MS, POLICY) is JobReason.NOBODY_FITS
    assert end_reason(asked, ONE_DRIVER, LATE_MS, POLICY) is JobReason.NOBODY_ACCEPTED
    assert end_reason(held, ONE_DRIVER, LATE_MS, POLICY) is JobReason.NOT_READY_IN_TIME
    assert end_reason(unready, ONE_DRIVER, LATE_MS, POLICY) is JobReason.NOT_READY_IN_TIME


def test_search_begins_so_that_a_driver_arrives_when_ready() -> None:
    # Three minutes of travel, after two offers of 30 s.
    lead_ms = 180_000 + 60_000
    ready_ms = NOW_MS + 3_600_000
    assert first_look_ms(ready_ms, NOW_MS, 180.0, POLICY) == ready_ms - lead_ms


@pytest.mark.parametrize("in_ms", [-1_000, 0, 1_000, 240_000])
def test_job_ready_soon_searches_at_once(in_ms: int) -> None:
    assert first_look_ms(NOW_MS + in_ms, NOW_MS, 180.0, POLICY) == NOW_MS


@pytest.mark.parametrize(
    ("kind", "until_ms", "held_ms"),
    [
        ("not_ready", None, NOW_MS + HOLD_MS),
        ("store_closed", None, NOW_MS + HOLD_MS),
        ("store_closed", NOW_MS + 5, NOW_MS + 5),
        ("not_ready", NOW_MS + 10 * LONGEST_HOLD_MS, NOW_MS + LONGEST_HOLD_MS),
        # What is missing waits for the shop, not for a time.
        ("missing", NOW_MS + 5, None),
        ("partial", NOW_MS + 5, None),
        ("not_ready", NOW_MS, None),
        ("does_not_fit", NOW_MS + 5, None),
        ("unsafe", NOW_MS + 5, None),
    ],
)
def test_report_holds_parcels_for_a_limited_time(
    kind: str, until_ms: int | None, held_ms: int | None
) -> None:
    assert held_until_ms(kind, until_ms, NOW_MS) == held_ms


class TestTheLadder:
    def test_each_round_has_its_rung_and_the_last_repeats(self) -> None:
        rungs = read_rungs(["sequential", "staggered 3/7.5", "broadcast"])
        of_each = [rung_at(rungs, attempt) for attempt in range(5)]
        assert [(rung.drivers, rung.gap_ms) for rung in of_each] == [
            (1, 0),
            (3, 7_500),
            *[(MOST_STAGGERED, 0)] * 3,
        ]

    def test_sequential_rungs_are_not_staggered(self) -> None:
        assert staggered_rungs(["sequential", "sequential"]) is None
        assert staggered_rungs(["sequential", "broadcast"]) == (Rung(), Rung(MOST_STAGGERED))

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("all", "not one of sequential, staggered K/S, broadcast"),
            ("staggered 3", "not one of sequential, staggered K/S, broadcast"),
            ("staggered 1/5", "from 2 to 64 drivers"),
            ("staggered 65/5", "from 2 to 64 drivers"),
            ("staggered 3/0", "from 0.1 to 600 seconds apart"),
            ("staggered 3/601", "from 0.1 to 600 seconds apart"),
        ],
    )
    def test_invalid_rung_is_explained(self, text: str, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            read_rungs([text])
        with pytest.raises(ValueError, match="no rung"):
            read_rungs([])
