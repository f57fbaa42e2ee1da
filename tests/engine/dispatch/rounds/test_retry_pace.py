"""Jobs that nobody can take cost a bounded number of calls, at however many malls they wait."""

import asyncio
import itertools
import time

import pytest

from mallard_engine.dispatch.rounds import retry_pace
from mallard_engine.dispatch.rounds.retry_pace import RETRIES_A_SECOND, RetryPace
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, PLACES
from tests.support import eventually

pytestmark = pytest.mark.finding("A7")

RETRY_S = 0.2
RETRY_MS = 5_000
A_SECOND = 40.0
NOW_MS = 1_764_000_000_123
AT_EACH_MALL = 16
MALLS = tuple(PLACES.market(MARKET).malls)[:5]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def periods_of(pace: RetryPace, mall: str = "a") -> int:
    """In how many periods each job of a mall is tried once: those until the same time again."""
    times = {pace.again_ms(mall, f"job{n}", NOW_MS, RETRY_MS) for n in range(1_000)}
    assert all(at_ms > NOW_MS for at_ms in times)
    return len(times)


def test_lone_job_is_tried_again_after_the_interval() -> None:
    pace = RetryPace(Clock())
    pace.note("a", 1)
    assert pace.again_ms("a", "job", NOW_MS, RETRY_MS) == NOW_MS + RETRY_MS


def test_few_jobs_of_a_mall_are_tried_together() -> None:
    pace = RetryPace(Clock())
    pace.note("a", int(RETRIES_A_SECOND * RETRY_MS / 1000))
    spread_ms = range(0, RETRY_MS, 100)
    times = {at: pace.again_ms("a", f"job{at}", NOW_MS + at, RETRY_MS) for at in spread_ms}
    assert len(set(times.values())) == 2
    waits_ms = [at_ms - NOW_MS - at for at, at_ms in times.items()]
    assert RETRY_MS // 2 <= min(waits_ms) <= max(waits_ms) <= RETRY_MS * 3 // 2


def test_pace_counts_the_jobs_of_all_malls() -> None:
    pace = RetryPace(Clock())
    assert periods_of(pace) == 1
    for mall in "abcd":
        pace.note(mall, 25)
    assert periods_of(pace) == 4
    pace.note("a", 0)
    assert periods_of(pace) == 3
    for mall in "bcd":
        pace.note(mall, 0)
    assert periods_of(pace) == 1


def test_jobs_of_a_mall_fall_due_together() -> None:
    pace = RetryPace(Clock())
    pace.note("a", 10_000)
    times = sorted({pace.again_ms("a", f"job{n}", NOW_MS, RETRY_MS) for n in range(10_000)})
    assert {later - sooner for sooner, later in itertools.pairwise(times)} == {RETRY_MS}
    other = pace.again_ms("b", "job1", NOW_MS, RETRY_MS)
    assert other not in times


def test_a_job_keeps_its_turn() -> None:
    pace = RetryPace(Clock())
    pace.note("a", 10_000)
    first_ms = pace.again_ms("a", "job", NOW_MS, RETRY_MS)
    assert pace.again_ms("a", "job", NOW_MS + RETRY_MS // 2, RETRY_MS) == first_ms
    assert pace.again_ms("a", "job", first_ms, RETRY_MS) == first_ms + 400 * RETRY_MS


def test_silent_malls_are_not_counted() -> None:
    clock = Clock()
    pace = RetryPace(clock)
    pace.note("gone", 250)
    clock.now_s = 200.0
    pace.note("here", 50)
    clock.now_s = 400.0
    pace.note("here", 50)
    assert periods_of(pace, "here") == 2


async def test_retries_do_not_grow_with_the_malls(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_pace, "RETRIES_A_SECOND", A_SECOND)
    node = await make_node(retry_s=RETRY_S)
    for mall in MALLS:
        for _ in range(AT_EACH_MALL):
            await node.submit(mall=mall, stores=(next(iter(PLACES.mall(mall).stores)),))
    jobs = len(MALLS) * AT_EACH_MALL
    await eventually(lambda: node.calls.count("retry_later") >= jobs)
    # The tries from before all jobs were known.
    await asyncio.sleep(5 * RETRY_S)
    began, began_s = node.calls.count("retry_later"), time.monotonic()
    await asyncio.sleep(20 * RETRY_S)
    calls = node.calls.count("retry_later") - began
    periods = (time.monotonic() - began_s) / RETRY_S
    assert 0 < calls <= 2 * A_SECOND * RETRY_S * periods
