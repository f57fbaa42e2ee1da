"""Token buckets, with the time passed in."""

import pytest

from mallard_engine.gateway.limits.token_buckets import Buckets, Rate

pytestmark = pytest.mark.finding("A9")


def test_burst_passes_and_then_the_rate_holds() -> None:
    buckets = Buckets(Rate(10, 5))
    assert [buckets.take("a", 0.0).left for _ in range(5)] == [4, 3, 2, 1, 0]
    assert buckets.take("a", 0.0).wait_s == pytest.approx(0.1)
    assert not buckets.take("a", 0.1).wait_s
    assert buckets.take("a", 0.1).wait_s
    assert not buckets.take("b", 0.1).wait_s


def test_dearer_request_takes_more() -> None:
    buckets = Buckets(Rate(1, 8))
    assert [bool(buckets.take("a", 0.0, 4.0).wait_s) for _ in range(3)] == [False, False, True]


def test_idle_bucket_fills_up_to_its_burst() -> None:
    buckets = Buckets(Rate(10, 5))
    buckets.take("a", 0.0)
    assert buckets.take("a", 1_000.0).left == 4


def test_number_of_keys_is_bounded() -> None:
    buckets = Buckets(Rate(1, 1), max_keys=100)
    for n in range(10_000):
        buckets.take(n, 0.0)
    assert len(buckets) == 100


def test_debt_delays_later_requests() -> None:
    buckets = Buckets(Rate(1, 2))
    buckets.owe("a", 0.0, 5.0)
    assert buckets.look("a", 0.0) == (4.0, 0, 5.0)
    assert buckets.take("a", 3.9).wait_s == pytest.approx(0.1)
    assert not buckets.take("a", 4.0).wait_s
