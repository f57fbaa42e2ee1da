"""The sketch of stays against exact quantiles, and what a mall's sketches say."""

import itertools
from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.pickup.dwell_estimate import (
    BUCKETS,
    ERROR,
    FULL,
    LEAST_MS,
    MOST_MS,
    DwellSketch,
    bucket_of,
    estimate_dwell,
)
from tests.engine.core.makers import MALL

spans = st.integers(LEAST_MS + 1, int(MOST_MS))
parts = st.floats(0.001, 1.0)


def sketch_of(*stays_ms: int) -> DwellSketch:
    sketch = DwellSketch()
    for ms in stays_ms:
        sketch = sketch.with_stay(ms)
    return sketch


@given(st.lists(spans, min_size=1, max_size=FULL), parts)
def test_a_quantile_is_the_exact_one_but_for_the_stated_error(stays: list[int], q: float) -> None:
    exact = sorted(stays)[max(ceil(q * len(stays)), 1) - 1]
    told = sketch_of(*stays).quantile_ms(q)
    assert abs(told - exact) <= exact * ERROR * (1 + 1e-9)


@given(st.integers(0, LEAST_MS), st.integers(int(MOST_MS), 10**10))
def test_outside_its_spans_it_is_off_as_stated(short: int, long: int) -> None:
    assert abs(sketch_of(short).quantile_ms(0.5) - short) <= LEAST_MS / 2
    assert sketch_of(long).quantile_ms(0.5) <= MOST_MS
    assert bucket_of(long) == BUCKETS - 1


@given(st.lists(st.integers(0, int(MOST_MS)), max_size=5 * FULL))
def test_forgetting_moves_no_rank_by_a_whole_stay(stays: list[int]) -> None:
    """Beside counts that are halved exactly."""
    sketch, exact = DwellSketch(), [Fraction(0)] * BUCKETS
    for ms in stays:
        if sketch.seen == FULL:
            exact = [count / 2 for count in exact]
        sketch = sketch.with_stay(ms)
        exact[bucket_of(ms)] += 1
        assert sketch.seen <= FULL
        assert min(sketch.counts) >= 0
    sums = zip(itertools.accumulate(sketch.counts), itertools.accumulate(exact), strict=True)
    assert all(0 <= real - kept < 1 for kept, real in sums)


@given(st.integers(1, 3 * FULL))
def test_what_has_changed_is_known_after_a_hundred_stays(before: int) -> None:
    sketch = sketch_of(*[60_000] * before, *[600_000] * (FULL // 2 + 2))
    assert sketch.quantile_ms(0.5) == pytest.approx(600_000, rel=ERROR)


@given(st.lists(st.integers(0, 10**8), max_size=2 * FULL))
def test_it_is_kept_as_bytes(stays: list[int]) -> None:
    sketch = sketch_of(*stays)
    assert len(sketch.pack()) == BUCKETS + 1
    assert DwellSketch.parse(sketch.pack()) == sketch


@pytest.mark.parametrize("packed", [b"", b"\x01", b"\x07" * (BUCKETS + 1), b"\x00" * 999])
def test_another_form_is_as_if_nothing_was_seen(packed: bytes) -> None:
    assert DwellSketch.parse(packed) == DwellSketch()


def test_of_no_stay_there_is_no_quantile() -> None:
    with pytest.raises(ValueError, match="no stay"):
        DwellSketch().quantile_ms(0.5)


# -- a mall


LEGO, OTHER = MALL.stores["lego"], next(s for s in MALL.stores.values() if s.id != "lego")


def test_too_few_say_nothing() -> None:
    assert estimate_dwell(MALL, {}, 20) == ({}, None, None)
    assert estimate_dwell(MALL, {"lego": sketch_of(*[300_000] * 19)}, 20) == ({}, None, None)
    assert estimate_dwell(MALL, {"no-more": sketch_of(*[300_000] * 50)}, 20) == ({}, None, None)


def test_the_walk_is_taken_off() -> None:
    found = estimate_dwell(MALL, {"lego": sketch_of(*[600_000] * 20)}, 20)
    assert found.service_s["lego"] + LEGO.walk_s == pytest.approx(600, rel=ERROR)
    assert (found.median_s, found.p90_s) == pytest.approx((600, 600), rel=ERROR)


def test_who_is_there_sooner_than_by_the_plan_of_the_mall_takes_no_less_than_nothing() -> None:
    at = replace(LEGO, walk_s=500)
    mall = replace(MALL, stores={**MALL.stores, "lego": at})
    assert estimate_dwell(mall, {"lego": sketch_of(*[30_000] * 20)}, 20).service_s["lego"] == 0


def test_the_mall_stands_in_for_a_store_that_few_have_been_at() -> None:
    stays = {
        "lego": sketch_of(*[(LEGO.walk_s + 300) * 1000] * 30),
        OTHER.id: sketch_of(*[(OTHER.walk_s + 900) * 1000] * 5),
    }
    found = estimate_dwell(MALL, stays, 20)
    off = ERROR * (900 + max(LEGO.walk_s, OTHER.walk_s))
    assert set(found.service_s) == set(MALL.stores)
    assert all(at_s == pytest.approx(300, abs=off) for at_s in found.service_s.values())


def test_it_does_not_stand_in_for_one_that_tells_its_own_figure() -> None:
    told = replace(OTHER, handover_s=45)
    mall = replace(MALL, stores={**MALL.stores, OTHER.id: told})
    found = estimate_dwell(mall, {"lego": sketch_of(*[(LEGO.walk_s + 300) * 1000] * 30)}, 20)
    assert set(found.service_s) == set(MALL.stores) - {OTHER.id}


@given(st.dictionaries(st.sampled_from(sorted(MALL.stores)), st.lists(spans, max_size=FULL)))
def test_what_a_mall_takes_is_what_all_its_stays_say(stays: dict[str, list[int]]) -> None:
    found = estimate_dwell(MALL, {store: sketch_of(*of) for store, of in stays.items()}, 20)
    assert all(0 <= at_s <= MOST_MS / 1000 for at_s in found.service_s.values())
    if found.median_s is not None and found.p90_s is not None:
        everything = sorted(itertools.chain(*stays.values()))
        exact = everything[ceil(0.5 * len(everything)) - 1] / 1000
        assert found.median_s == pytest.approx(exact, rel=ERROR * (1 + 1e-9))
        assert found.median_s <= found.p90_s
