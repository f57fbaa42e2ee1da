"""Waits and advice, without a socket."""

import random

import pytest

from clients.backoff import FullJitter, may_reconnect
from clients.errors import Stopped
from clients.reconnect import STABLE_AFTER_MS, Ending, ReconnectPolicy
from protocol.codes import CLOSE_ADVICE


class _Highest(random.Random):
    """Always draws the upper limit."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def test_the_limit_doubles_up_to_its_bound_and_starts_over() -> None:
    jitter = FullJitter(_Highest())
    assert [jitter.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    jitter.reset()
    assert jitter.next_s() == 0.5


@pytest.mark.parametrize("code", list(CLOSE_ADVICE))
def test_every_code_is_followed_as_the_table_advises(code: int) -> None:
    assert may_reconnect(code) is CLOSE_ADVICE[code].retry  # type: ignore[index]


def test_a_session_that_lasted_starts_the_waits_over() -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    for _ in range(3):
        policy.after(Ending("refused"), 0)
    short = Ending("lost", 1006, lasted_ms=STABLE_AFTER_MS - 1)
    assert policy.after(short, 0).wait_s == 4
    lasting = Ending("lost", 1006, lasted_ms=STABLE_AFTER_MS)
    assert policy.after(lasting, 0).wait_s == 0.5


def test_a_drain_counts_from_when_it_was_told_and_only_once() -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    policy.drained(3_000, now_ms=10_000)
    assert policy.after(Ending("bye", 4001), 12_000).wait_s == 1
    policy.drained(3_000, now_ms=10_000)
    assert policy.after(Ending("bye", 4001), 20_000).wait_s == 0
    assert policy.after(Ending("lost", 1006), 20_000).wait_s == 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426])
def test_a_refused_handshake_stops(status: int) -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    with pytest.raises(Stopped) as stopped:
        policy.after(Ending("refused", http_status=status), 0)
    assert stopped.value.http_status == status


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_handshake_that_may_work_later_is_tried_again(status: int) -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    assert policy.after(Ending("refused", http_status=status), 0).wait_s == 0.5
