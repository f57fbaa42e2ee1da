"""The limits of the frames and bytes of a socket."""

import pytest

from mallard_engine.gateway.socket.transport.rate_limit import FrameRate


@pytest.mark.finding("A7b")
def test_bytes_have_their_own_bucket() -> None:
    burst = FrameRate()
    assert not any(burst.count(50.0, 16_384) for _ in range(16))
    assert burst.count(50.0, 1)

    steady = FrameRate()
    assert not any(steady.count(50.0 + number / 4, 16_384) for number in range(200))

    hasty = FrameRate()  # as many frames as allowed, of the maximum size
    counted = [hasty.count(50.0 + number / 19, 16_384) for number in range(60)]
    assert counted.index(True) < 25


def test_burst_is_allowed_and_sustained_excess_is_not() -> None:
    burst = FrameRate()
    assert not any(burst.count(50.0, 10) for _ in range(200))
    assert burst.count(50.0, 10)

    steady = FrameRate()
    assert not any(steady.count(50.0 + number / 20, 10) for number in range(2_000))

    hasty = FrameRate()
    counted = [hasty.count(50.0 + number / 25, 10) for number in range(1_100)]
    # Five per second more than the refill.
    assert 990 <= counted.index(True) <= 1_001


def test_pause_refills_the_buckets() -> None:
    rate = FrameRate()
    for _ in range(200):
        rate.count(50.0, 10)
    assert not any(rate.count(61.0, 10) for _ in range(200))


def test_warning_is_sent_once_per_window() -> None:
    rate = FrameRate()
    warnings = []
    for _ in range(190):
        rate.count(50.0, 10)
        warnings.append(rate.warns())
    assert warnings.count(True) == 1
    assert warnings.index(True) == 150


def exceeds(rate: FrameRate, now_s: float, frames: int, size: int = 10) -> int | None:
    """Return the number of the first of these frames, handled at once, that exceeds the limit."""
    counted = [rate.count(now_s, size) for _ in range(frames)]
    return counted.index(True) if True in counted else None


def test_frames_that_the_node_delayed_count_as_sent_in_time() -> None:
    rate = FrameRate()
    assert not any(rate.count(50.0 + number / 20, 10) for number in range(100))
    rate.hold(55.0)
    # 20 a second for 20 s and a burst of 200 are what an app may send meanwhile.
    assert exceeds(rate, 75.0, 700) in range(595, 601)


def test_bytes_that_the_node_delayed_count_as_sent_in_time() -> None:
    rate = FrameRate()
    rate.hold(50.0)
    assert exceeds(rate, 60.0, 60, size=16_384) == 40 + 16


def test_allowance_for_delayed_frames_ends_with_the_input() -> None:
    rate = FrameRate()
    rate.hold(50.0)
    rate.handled(70.0, is_all=True)
    assert exceeds(rate, 70.0, 300) == 200


def test_frames_delayed_in_the_kernel_count_for_a_second_more() -> None:
    soon = FrameRate()
    soon.hold(50.0)
    soon.handled(60.0, is_all=False)
    assert exceeds(soon, 60.5, 500) == 400

    late = FrameRate()
    late.hold(50.0)
    late.handled(60.0, is_all=False)
    assert exceeds(late, 61.5, 500) == 200


def test_only_time_in_which_the_node_held_input_counts() -> None:
    rate = FrameRate()
    for number in range(1_000):  # a request each 0.5 s that takes 1 ms
        rate.hold(50.0 + number / 2)
        rate.count(50.001 + number / 2, 10)
        rate.handled(50.001 + number / 2, is_all=False)
    assert exceeds(rate, 549.6, 300) in range(195, 205)


def test_allowance_for_delayed_frames_is_bounded() -> None:
    rate = FrameRate()
    rate.hold(50.0)
    assert exceeds(rate, 10_000.0, 2_000) == 30 * 20 + 200
