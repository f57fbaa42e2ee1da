import asyncio

import pytest

from mallard_engine.gateway.limits.fair_semaphore import FairSemaphore

pytestmark = pytest.mark.finding("A9")


async def test_other_service_runs_before_a_thousand_waiting_requests() -> None:
    semaphore = FairSemaphore(limit_of_one=2, limit=3)
    order: list[str] = []

    async def work(service: str) -> None:
        await semaphore.acquire(service)
        order.append(service)
        await asyncio.sleep(0)
        semaphore.release(service)

    crowd = [asyncio.create_task(work("crowd")) for _ in range(1_000)]
    await asyncio.sleep(0)
    await asyncio.gather(*(work("neighbour") for _ in range(3)), *crowd)
    assert order.index("neighbour") < 10
    assert max(n for n, name in enumerate(order) if name == "neighbour") < 20
    assert len(semaphore) == 0


async def test_cancelled_waiter_does_not_block_others() -> None:
    semaphore = FairSemaphore(limit_of_one=1, limit=1)
    await semaphore.acquire("a")
    cancelled = asyncio.create_task(semaphore.acquire("b"))
    waiting = asyncio.create_task(semaphore.acquire("c"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    semaphore.release("a")
    await waiting
    semaphore.release("c")
    assert len(semaphore) == 0
