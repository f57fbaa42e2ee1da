"""The acceptance estimate: bounded, monotone and smoothed."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.matching.acceptance import (
    BANDS,
    CELLS,
    LENGTH,
    PARTS,
    Acceptance,
    band_of,
    bands_of,
    cell_of,
    part_of_day,
    read_counts,
)
from mallard_engine.core.policy import CostWeights

PART = 2
WEIGHTS = CostWeights(acceptance=1.0, acceptance_prior=0.8, decline_after_s=5.0)


def history(
    cells: dict[int, tuple[int, int]], *, declined: int | None = None, lapsed: int = 0
) -> str:
    """The text of a history: accepted and refused by cell."""
    counts = [0] * LENGTH
    for cell, pair in cells.items():
        counts[2 * cell : 2 * cell + 2] = pair
    refused = sum(pair[1] for pair in cells.values())
    counts[2 * CELLS :] = [refused - lapsed if declined is None else declined, lapsed]
    return bytes(counts).decode("latin-1")


def chances(estimate: Acceptance, own: str) -> list[float]:
    return [estimate.chance(own, band) for band in range(BANDS)]


def costs_s(estimate: Acceptance, own: str) -> list[float]:
    return [estimate.cost_s(own, band) for band in range(BANDS)]


def acceptance(*histories: str, weights: CostWeights = WEIGHTS) -> Acceptance:
    return Acceptance(histories, PART, weights, offer_s=30.0)


here = cell_of(1, PART)
counts = st.integers(0, 60)
histories = st.lists(st.integers(0, 60), min_size=LENGTH, max_size=LENGTH).map(
    lambda counts: bytes(counts).decode("latin-1")
)


@given(own=histories, others=st.lists(histories, max_size=5))
def test_probability_is_within_0_and_1_and_cost_not_negative(own: str, others: list[str]) -> None:
    estimate = acceptance(*others)
    assert all(0 < chance < 1 for chance in chances(estimate, own))
    assert all(0 <= cost_s <= 30 for cost_s in costs_s(estimate, own))


@given(taken=counts, refused=counts, others=st.lists(histories, max_size=5))
def test_probability_is_monotone_in_outcomes(taken: int, refused: int, others: list[str]) -> None:
    estimate = acceptance(*others)
    as_it_is = chances(estimate, history({here: (taken, refused)}))
    more = chances(estimate, history({here: (taken + 1, refused)}))
    less = chances(estimate, history({here: (taken, refused + 1)}))
    assert all(a <= b <= c for a, b, c in zip(less, as_it_is, more, strict=True))


@given(others=st.lists(histories, max_size=5))
def test_driver_without_history_gets_the_market_mean(others: list[str]) -> None:
    estimate = acceptance(*others)
    assert chances(estimate, "") == chances(estimate, history({}))
    assert costs_s(estimate, "") == costs_s(estimate, history({}))


def test_prior_holds_without_any_history() -> None:
    assert chances(acceptance(), "") == pytest.approx([0.8] * BANDS)


@given(rate=st.integers(1, 9))
def test_long_history_outweighs_the_market(rate: int) -> None:
    own = history({here: (12 * rate, 120 - 12 * rate)})
    market = [history({here: (120 - 12 * rate, 12 * rate)})] * 3
    assert chances(acceptance(*market), own)[1] == pytest.approx(rate / 10, abs=0.12)


def test_short_history_changes_little() -> None:
    chance = chances(acceptance(), history({here: (0, 1)}))[1]
    assert 0.6 < chance < 0.8


def test_market_band_applies_to_driver_never_asked_there() -> None:
    far = cell_of(2, PART)
    market = [history({cell_of(0, PART): (100, 5), far: (10, 90)})] * 4
    near_chance, _, far_chance = chances(acceptance(*market), history({cell_of(0, PART): (20, 2)}))
    assert near_chance > 0.85
    assert far_chance < near_chance - 0.3


def test_other_part_of_day_counts_for_driver_not_for_cell() -> None:
    other = history({cell_of(1, PART - 1): (0, 30)})
    same = history({here: (0, 30)})
    estimate = acceptance()
    assert chances(estimate, same)[1] < chances(estimate, other)[1] < chances(estimate, "")[1]


def test_refusal_costs_the_time_until_the_next_offer() -> None:
    """A driver who lets offers expire costs the whole timeout, a driver who declines less."""
    weights = CostWeights(acceptance=2.0, acceptance_prior=0.5, decline_after_s=5.0)
    estimate = acceptance(weights=weights)
    declines = costs_s(estimate, history({here: (50, 50)}, lapsed=0))
    lapses = costs_s(estimate, history({here: (50, 50)}, lapsed=50))
    assert 2 * 0.5 * 5 < declines[1] < 2 * 0.5 * 12
    assert 2 * 0.5 * 25 < lapses[1] < 2 * 0.5 * 30


def test_history_of_another_length_counts_as_empty() -> None:
    assert chances(acceptance(), "\x01" * (LENGTH - 2)) == chances(acceptance(), "")


def test_every_cell_exists_once() -> None:
    cells = {cell_of(band, part) for band in range(BANDS) for part in range(PARTS)}
    assert cells == set(range(CELLS))


def test_counts_are_read_from_their_cells() -> None:
    read = read_counts(history({here: (3, 2), cell_of(0, 0): (7, 0)}, lapsed=1), PART)
    assert (read.accepted, read.refused) == ((0, 3, 0), (0, 2, 0))
    assert (read.all_accepted, read.all_refused, read.declined, read.lapsed) == (10, 2, 1, 1)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=20))
def test_vectorised_bands_equal_single_bands(ways_s: list[float]) -> None:
    assert bands_of(np.array(ways_s)).tolist() == [band_of(way_s) for way_s in ways_s]


@pytest.mark.parametrize("zone", ["America/Phoenix", "America/New_York", "Asia/Kathmandu"])
@given(at_ms=st.integers(0, 2_000_000_000_000))
def test_part_of_day_follows_the_malls_time_zone(zone: str, at_ms: int) -> None:
    hour = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).hour
    assert part_of_day(at_ms, zone) == hour // 6
