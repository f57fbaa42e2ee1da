"""The circuit breaker."""

from mallard_engine.travel.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_breaker_opens_after_failures_and_lets_one_try() -> None:
    clock = Clock()
    breaker = Breaker(3, 10.0, clock)
    assert [breaker.allows() and breaker.failed() for _ in range(3)] == [False, False, True]
    assert not breaker.allows()
    clock.now = 9.9
    assert not breaker.allows()
    clock.now = 10.0
    assert breaker.allows()
    assert not breaker.allows()  # one is trying
    assert not breaker.failed()  # open already: no news
    clock.now = 19.9
    assert not breaker.allows()
    clock.now = 20.0
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()


def test_failures_not_in_a_row_do_not_count() -> None:
    breaker = Breaker(2, 10.0, Clock())
    for _ in range(5):
        assert not breaker.failed()
        breaker.succeeded()
    assert breaker.allows()


def test_caller_without_a_report_does_not_block_for_ever() -> None:
    clock = Clock()
    breaker = Breaker(1, 10.0, clock)
    assert breaker.failed()
    clock.now = 10.0
    assert breaker.allows()
    clock.now = 20.0
    assert breaker.allows()
