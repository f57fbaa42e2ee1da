"""What falls due on a socket by time alone."""

from engine.gateway.rate import FrameRate
from engine.gateway.vigil import Pace, Vigil
from protocol.codes import Close
from protocol.messages import AuthExpiring, Ping

PACE = Pace(ping_ms=1000, hello_within_s=5, expiry_notice_s=60)


def greeted(now_s: float = 100.0) -> Vigil:
    vigil = Vigil(PACE, now_s)
    vigil.greeted(now_s, spread=1.0)
    vigil.authorized(now_s + 3600, 99)
    return vigil


def test_hello_is_due_first_of_all() -> None:
    vigil = Vigil(Pace(), 100.0)
    assert vigil.next_s() == 105.0
    assert list(vigil.due(104.9)) == []
    assert list(vigil.due(105.0)) == [Close.NO_HELLO]


def test_pings_go_out_and_any_frame_answers_them() -> None:
    vigil = greeted()
    assert vigil.next_s() == 101.0
    assert list(vigil.due(101.0)) == [Ping()]
    assert vigil.next_s() == 102.0
    vigil.heard_s = 101.9
    assert list(vigil.due(102.0)) == [Ping()]
    assert list(vigil.due(103.0)) == [Ping()]
    assert vigil.next_s() == 103.9
    assert list(vigil.due(103.9)) == [Close.IDLE]


def test_sockets_opened_together_are_not_pinged_together() -> None:
    vigil = Vigil(PACE, 100.0)
    vigil.greeted(100.0, spread=0.0)
    assert vigil.next_s() == 100.5


def test_a_token_is_told_of_once_and_then_ends_the_socket() -> None:
    vigil = greeted()
    vigil.authorized(200.0, 200_000)
    vigil.heard_s = 140.0
    assert AuthExpiring(200_000) in list(vigil.due(140.0))
    vigil.heard_s = 150.0
    assert list(vigil.due(150.0)) == [Ping()]
    assert list(vigil.due(200.0)) == [Close.TOKEN_EXPIRED]
    vigil.authorized(400.0, 400_000)
    vigil.heard_s = 340.0
    assert AuthExpiring(400_000) in list(vigil.due(340.0))


def test_a_burst_is_fine_and_a_sustained_excess_is_not() -> None:
    burst = FrameRate()
    assert not any(burst.count(50.0) for _ in range(200))
    assert burst.count(50.0)

    steady = FrameRate()
    assert not any(steady.count(50.0 + number / 20) for number in range(2_000))

    hasty = FrameRate()
    counted = [hasty.count(50.0 + number / 25) for number in range(400)]
    assert counted.index(True) == 200


def test_a_pause_is_forgiven() -> None:
    rate = FrameRate()
    for _ in range(200):
        rate.count(50.0)
    assert not any(rate.count(61.0) for _ in range(200))


def test_the_warning_comes_once_a_window() -> None:
    rate = FrameRate()
    warnings = []
    for _ in range(190):
        rate.count(50.0)
        warnings.append(rate.warns())
    assert warnings.count(True) == 1
    assert warnings.index(True) == 150
