"""The dwell sketch against exact quantiles, and the estimates of a mall."""

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
def test_quantile_is_within_the_stated_error(stays: list[int], q: float) -> None:
    exact = sorted(stays)[max(ceil(q * len(stays)), 1) - 1]
    estimate = sketch_of(*stays).quantile_ms(q)
    assert abs(estimate - exact) <= exact * ERROR * (1 + 1e-9)


@given(st.integers(0, LEAST_MS), st.integers(int(MOST_MS), 10**10))
def test_error_outside_the_buckets_is_as_stated(short: int, long: int) -> None:
    assert abs(sketch_of(short).quantile_ms(0.5) - short) <= LEAST_MS / 2
    assert sketch_of(long).quantile_ms(0.5) <= MOST_MS
    assert bucket_of(long) == BUCKETS - 1


@given(st.lists(st.integers(0, int(MOST_MS)), max_size=5 * FULL))
def test_halving_moves_no_rank_by_a_whole_stay(stays: list[int]) -> None:
    """Compare with counts that are halved exactly."""
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
def test_estimate_adapts_within_a_hundred_stays(before: int) -> None:
    sketch = sketch_of(*[60_000] * before, *[600_000] * (FULL // 2 + 2))
    assert sketch.quantile_ms(0.5) == pytest.approx(600_000, rel=ERROR)


@given(st.lists(st.integers(0, 10**8), max_size=2 * FULL))
def test_sketch_round_trips_as_bytes(stays: list[int]) -> None:
    sketch = sketch_of(*stays)
    assert len(sketch.pack()) == BUCKETS + 1
    assert DwellSketch.parse(sketch.pack()) == sketch


@pytest.mark.parametrize("packed", [b"", b"\x01", b"\x07" * (BUCKETS + 1), b"\x00" * 999])
def test_malformed_bytes_are_an_empty_sketch(packed: bytes) -> None:
    assert DwellSketch.parse(packed) == DwellSketch()


def test_quantile_of_an_empty_sketch_raises() -> None:
    with pytest.raises(ValueError, match="no stay"):
        DwellSketch().quantile_ms(0.5)


# -- a mall


LEGO, OTHER = MALL.stores["lego"], next(s for s in MALL.stores.values() if s.id != "lego")


def test_too_few_stays_give_no_estimate() -> None:
    assert estimate_dwell(MALL, {}, 20) == ({}, None, None)
    assert estimate_dwell(MALL, {"lego": sketch_of(*[300_000] * 19)}, 20) == ({}, None, None)
    assert estimate_dwell(MALL, {"no-more": sketch_of(*[300_000] * 50)}, 20) == ({}, None, None)


def test_walk_is_subtracted() -> None:
    found = estimate_dwell(MALL, {"lego": sketch_of(*[600_000] * 20)}, 20)
    assert found.service_s["lego"] + LEGO.walk_s == pytest.approx(600, rel=ERROR)
    assert (found.median_s, found.p90_s) == pytest.approx((600, 600), rel=ERROR)


def test_service_time_is_never_negative() -> None:
    at = replace(LEGO, walk_s=500)
    mall = replace(MALL, stores={**MALL.stores, "lego": at})
    assert estimate_dwell(mall, {"lego": sketch_of(*[30_000] * 20)}, 20).service_s["lego"] == 0


def test_store_with_few_stays_gets_the_malls_median() -> None:
    stays = {
        "lego": sketch_of(*[(LEGO.walk_s + 300) * 1000] * 30),
        OTHER.id: sketch_of(*[(OTHER.walk_s + 900) * 1000] * 5),
    }
    found = estimate_dwell(MALL, stays, 20)
    off = ERROR * (900 + max(LEGO.walk_s, OTHER.walk_s))
    assert set(found.service_s) == set(MALL.stores)
    assert all(at_s == pytest.approx(300, abs=off) for at_s in found.service_s.values())


def test_malls_median_does_not_replace_a_configured_time() -> None:
    configured = replace(OTHER, handover_s=45)
    mall = replace(MALL, stores={**MALL.stores, OTHER.id: configured})
    found = estimate_dwell(mall, {"lego": sketch_of(*[(LEGO.walk_s + 300) * 1000] * 30)}, 20)
    assert set(found.service_s) == set(MALL.stores) - {OTHER.id}


@given(st.dictionaries(st.sampled_from(sorted(MALL.stores)), st.lists(spans, max_size=FULL)))
def test_mall_quantiles_cover_all_its_stays(stays: dict[str, list[int]]) -> None:
    found = estimate_dwell(MALL, {store: sketch_of(*of) for store, of in stays.items()}, 20)
    assert all(0 <= at_s <= MOST_MS / 1000 for at_s in found.service_s.values())
    if found.median_s is not None and found.p90_s is not None:
        everything = sorted(itertools.chain(*stays.values()))
        exact = everything[ceil(0.5 * len(everything)) - 1] / 1000
        assert found.median_s == pytest.approx(exact, rel=ERROR * (1 + 1e-9))
        assert found.median_s <= found.p90_s
