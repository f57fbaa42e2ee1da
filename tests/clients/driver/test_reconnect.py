"""Waits and advice, without a socket."""

import random

import pytest

from mallard_client.backoff import FullJitter, may_reconnect
from mallard_client.driver.reconnect import STABLE_AFTER_MS, Ending, ReconnectPolicy
from mallard_protocol.codes import CLOSE_ADVICE


class _Highest(random.Random):
    """Always draws the upper limit."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class _Lowest(random.Random):
    """Always draws the lower limit."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def test_limit_doubles_up_to_its_bound_and_starts_over() -> None:
    jitter = FullJitter(_Highest())
    assert [jitter.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    jitter.reset()
    assert jitter.next_s() == 0.5


@pytest.mark.parametrize("code", list(CLOSE_ADVICE))
def test_each_close_code_follows_its_advice(code: int) -> None:
    assert may_reconnect(code) is CLOSE_ADVICE[code].retry  # type: ignore[index]


def test_lasting_session_resets_the_backoff() -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    for _ in range(3):
        policy.after(Ending("refused"), 0)
    short = Ending("lost", 1006, lasted_ms=STABLE_AFTER_MS - 1)
    assert policy.after(short, 0).wait_s == 4
    lasting = Ending("lost", 1006, lasted_ms=STABLE_AFTER_MS)
    assert policy.after(lasting, 0).wait_s == 0.5


def test_drain_wait_counts_from_its_message_and_only_once() -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    policy.drained(3_000, now_ms=10_000)
    assert policy.after(Ending("bye", 4001), 12_000).wait_s == 1
    policy.drained(3_000, now_ms=10_000)
    assert policy.after(Ending("bye", 4001), 20_000).wait_s == 0
    assert policy.after(Ending("lost", 1006), 20_000).wait_s == 0.5


@pytest.mark.finding("C14")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 426])
def test_refused_handshake_is_tried_again_slowly(status: int) -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    refused = Ending("refused", http_status=status)
    assert [policy.after(refused, 0).wait_s for _ in range(6)] == [4, 8, 16, 32, 60, 60]


@pytest.mark.finding("C14")
def test_slow_waits_are_never_short() -> None:
    policy = ReconnectPolicy(_Lowest(), token_renewable=True)
    assert policy.after(Ending("refused", http_status=404), 0).wait_s == 2


@pytest.mark.finding("C14")
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_busy_engine_is_tried_again_soon(status: int) -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    busy = Ending("refused", http_status=status)
    assert [policy.after(busy, 0).wait_s for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.finding("C14")
def test_retry_after_is_honoured_up_to_a_bound() -> None:
    policy = ReconnectPolicy(_Lowest(), token_renewable=True)
    asked = policy.after(Ending("refused", http_status=503, retry_after_s=7), 0)
    assert (asked.wait_s, asked.firm) == (7, True)
    assert policy.after(Ending("refused", http_status=503, retry_after_s=86_400), 0).wait_s == 60


@pytest.mark.finding("C11")
@pytest.mark.finding("C17")
@pytest.mark.parametrize(
    "ending",
    [
        Ending("no route"),
        Ending("lost", 1006),
        Ending("a portal", http_status=302),
        Ending("a portal", http_status=200),
    ],
)
def test_unreachable_engine_is_retried_within_an_offers_lifetime(ending: Ending) -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    waits = [policy.after(ending, 0).wait_s for _ in range(12)]
    assert waits[:4] == [0.5, 1, 2, 4]
    assert max(waits) == 10


@pytest.mark.finding("C17")
def test_waits_are_short_while_an_offer_is_live() -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    waits = [policy.after(Ending("lost", 1006), 0, offered=True).wait_s for _ in range(9)]
    assert max(waits) == 2


@pytest.mark.finding("C17")
def test_hint_starts_the_waits_over() -> None:
    policy = ReconnectPolicy(_Highest(), token_renewable=True)
    for _ in range(6):
        policy.after(Ending("no route"), 0)
    policy.start_over()
    assert policy.after(Ending("no route"), 0).wait_s == 0.5
