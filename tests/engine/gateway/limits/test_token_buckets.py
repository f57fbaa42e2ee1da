"""Token buckets and turns between services, without a clock of their own."""

import asyncio

import pytest

from mallard_engine.gateway.limits.token_buckets import Buckets, FairTurns, Rate

pytestmark = pytest.mark.finding("A9")


def test_a_burst_passes_and_then_the_rate() -> None:
    buckets = Buckets(Rate(10, 5))
    assert [buckets.take("a", 0.0).left for _ in range(5)] == [4, 3, 2, 1, 0]
    assert buckets.take("a", 0.0).wait_s == pytest.approx(0.1)
    assert not buckets.take("a", 0.1).wait_s
    assert buckets.take("a", 0.1).wait_s
    assert not buckets.take("b", 0.1).wait_s


def test_what_is_dearer_takes_more() -> None:
    buckets = Buckets(Rate(1, 8))
    assert [bool(buckets.take("a", 0.0, 4.0).wait_s) for _ in range(3)] == [False, False, True]


def test_an_idle_bucket_fills_no_higher_than_its_burst() -> None:
    buckets = Buckets(Rate(10, 5))
    buckets.take("a", 0.0)
    assert buckets.take("a", 1_000.0).left == 4


def test_endless_keys_are_bounded() -> None:
    buckets = Buckets(Rate(1, 1), max_keys=100)
    for n in range(10_000):
        buckets.take(n, 0.0)
    assert len(buckets) == 100


async def test_a_neighbour_is_let_in_before_a_thousand_others() -> None:
    turns = FairTurns(most_of_one=2, most=3)
    order: list[str] = []

    async def work(service: str) -> None:
        await turns.enter(service)
        order.append(service)
        await asyncio.sleep(0)
        turns.leave(service)

    crowd = [asyncio.create_task(work("crowd")) for _ in range(1_000)]
    await asyncio.sleep(0)
    await asyncio.gather(*(work("neighbour") for _ in range(3)), *crowd)
    assert order.index("neighbour") < 10
    assert max(n for n, name in enumerate(order) if name == "neighbour") < 20
    assert len(turns) == 0


async def test_who_goes_away_while_waiting_blocks_nobody() -> None:
    turns = FairTurns(most_of_one=1, most=1)
    await turns.enter("a")
    gone = asyncio.create_task(turns.enter("b"))
    waits = asyncio.create_task(turns.enter("c"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    turns.leave("a")
    await waits
    turns.leave("c")
    assert len(turns) == 0
