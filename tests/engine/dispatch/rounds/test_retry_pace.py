"""Jobs that nobody can take cost a bounded number of calls, at however many malls they wait."""

import asyncio
import time

import pytest

from mallard_engine.dispatch.rounds import retry_pace
from mallard_engine.dispatch.rounds.retry_pace import FULL_RATE_JOBS, RetryPace
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, PLACES
from tests.support import eventually

pytestmark = pytest.mark.finding("A7")

RETRY_S = 0.2
FULL_RATE = 8
AT_EACH_MALL = 16
MALLS = tuple(PLACES.market(MARKET).malls)[:5]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_pace_counts_the_jobs_of_all_malls() -> None:
    pace = RetryPace(Clock())
    assert pace.factor == 1.0
    for mall in "abcd":
        pace.note(mall, FULL_RATE_JOBS)
    assert pace.factor == 4.0
    pace.note("a", FULL_RATE_JOBS // 2)
    assert pace.factor == 3.5
    for mall in "abcd":
        pace.note(mall, 0)
    assert pace.factor == 1.0


def test_malls_of_which_nothing_is_heard_are_not_counted() -> None:
    clock = Clock()
    pace = RetryPace(clock)
    pace.note("gone", 10 * FULL_RATE_JOBS)
    clock.now_s = 200.0
    pace.note("here", 2 * FULL_RATE_JOBS)
    clock.now_s = 400.0
    pace.note("here", 2 * FULL_RATE_JOBS)
    assert pace.factor == 2.0


async def test_retries_do_not_grow_with_the_malls(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_pace, "FULL_RATE_JOBS", FULL_RATE)
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
    assert 0 < calls <= 2 * FULL_RATE * periods
