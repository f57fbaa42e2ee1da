"""The timers of a socket."""

import pytest

from mallard_engine.gateway.socket.timers import SocketTimeouts, SocketTimers
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
