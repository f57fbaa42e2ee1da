"""The timers of a socket."""

import pytest

from mallard_engine.gateway.socket.timers import SocketTimeouts, SocketTimers
from mallard_engine.gateway.socket.transport.rate_limit import FrameRate
from mallard_protocol.codes import Close
from mallard_protocol.messages import AuthExpiring, Ping

TIMEOUTS = SocketTimeouts(ping_ms=1000, hello_within_s=5, expiry_notice_s=60)


def after_hello(now_s: float = 100.0) -> SocketTimers:
    timers = SocketTimers(TIMEOUTS, now_s)
    timers.hello_received(now_s, spread=1.0)
    timers.authorized(now_s, now_s + 3600, 99)
    return timers


def test_missing_hello_closes_first() -> None:
    timers = SocketTimers(SocketTimeouts(), 100.0)
    assert timers.next_s() == 105.0
    assert list(timers.due(104.9)) == []
    assert list(timers.due(105.0)) == [Close.NO_HELLO]


def test_any_frame_answers_a_ping() -> None:
    timers = after_hello()
    assert timers.next_s() == 101.0
    assert list(timers.due(101.0)) == [Ping()]
    assert timers.next_s() == 102.0
    timers.last_frame_s = 101.9
    assert list(timers.due(102.0)) == [Ping()]
    assert list(timers.due(103.0)) == [Ping()]
    assert timers.next_s() == 103.9
    assert list(timers.due(103.9)) == [Close.IDLE]


def test_sockets_opened_together_are_not_pinged_together() -> None:
    timers = SocketTimers(TIMEOUTS, 100.0)
    timers.hello_received(100.0, spread=0.0)
    assert timers.next_s() == 100.5


def test_token_expiry_is_announced_once_then_closes() -> None:
    timers = after_hello()
    timers.authorized(100.0, 240.0, 240_000)
    timers.last_frame_s = 180.0
    assert AuthExpiring(240_000) in list(timers.due(180.0))
    timers.last_frame_s = 190.0
    assert list(timers.due(190.0)) == [Ping()]
    assert list(timers.due(240.0)) == [Close.TOKEN_EXPIRED]
    timers.authorized(200.0, 400.0, 400_000)
    timers.last_frame_s = 340.0
    assert AuthExpiring(400_000) in list(timers.due(340.0))


def notices(timers: SocketTimers, from_s: float, to_s: float) -> list[float]:
    """When the expiry is announced to the app, checked every quarter of a second."""
    heard = []
    for quarter in range(int(from_s * 4), int(to_s * 4) + 1):
        timers.last_frame_s = quarter / 4
        heard += [quarter / 4 for due in timers.due(quarter / 4) if isinstance(due, AuthExpiring)]
    return heard


@pytest.mark.finding("C16")
def test_same_token_is_not_announced_again() -> None:
    timers = after_hello()
    timers.authorized(100.0, 240.0, 240_000)
    assert notices(timers, 180.0, 180.0) == [180.0]
    for _ in range(5):
        timers.authorized(180.0, 240.0, 240_000)
        assert notices(timers, 180.25, 239.0) == []


@pytest.mark.finding("C16")
def test_short_tokens_are_announced_halfway() -> None:
    timers = after_hello()
    timers.authorized(100.0, 130.0, 130_000)
    assert notices(timers, 100.0, 129.0) == [115.0]
    timers.authorized(115.0, 145.0, 145_000)
    assert notices(timers, 115.0, 144.0) == [130.0]
    timers.authorized(144.0, 145.5, 145_500)
    assert notices(timers, 144.0, 145.25) == []


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
    """Return which of the frames that are handled at once exceeds the limit; None: none does."""
    counted = [rate.count(now_s, size) for _ in range(frames)]
    return counted.index(True) if True in counted else None


def test_frames_that_the_node_held_up_count_as_if_in_time() -> None:
    rate = FrameRate()
    assert not any(rate.count(50.0 + number / 20, 10) for number in range(100))
    rate.hold(55.0)
    # 20 a second for 20 s and a burst of 200 are what an app may send meanwhile.
    assert exceeds(rate, 75.0, 700) in range(595, 601)


def test_bytes_that_the_node_held_up_count_as_if_in_time() -> None:
    rate = FrameRate()
    rate.hold(50.0)
    assert exceeds(rate, 60.0, 60, size=16_384) == 40 + 16


def test_held_up_frames_end_with_the_input() -> None:
    rate = FrameRate()
    rate.hold(50.0)
    rate.handled(70.0, is_all=True)
    assert exceeds(rate, 70.0, 300) == 200


def test_held_up_frames_that_the_kernel_has_count_soon_after() -> None:
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


def test_time_of_held_up_frames_is_bounded() -> None:
    rate = FrameRate()
    rate.hold(50.0)
    assert exceeds(rate, 10_000.0, 2_000) == 30 * 20 + 200
