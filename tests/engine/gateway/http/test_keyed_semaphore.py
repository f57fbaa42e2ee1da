import asyncio
from contextlib import AsyncExitStack

import pytest

from mallard_engine.gateway.http.keyed_semaphore import KeyedSemaphore, QueueFull
from tests.support import GUARD_S, eventually


class Holder:
    """A task that holds a key until `release` is called."""

    def __init__(self, semaphore: KeyedSemaphore, key: str) -> None:
        self._done = asyncio.Event()
        self.holds = False
        self.task = asyncio.create_task(self._hold(semaphore, key))

    async def _hold(self, semaphore: KeyedSemaphore, key: str) -> None:
        async with semaphore.acquire(key, "service"):
            self.holds = True
            await self._done.wait()

    async def release(self) -> None:
        self._done.set()
        await self.task


async def test_limit_of_one_key_holds_and_waiters_run_in_order() -> None:
    semaphore = KeyedSemaphore(2, max_waiting=100)
    within: list[int] = []
    passed: list[int] = []

    async def order(number: int) -> None:
        async with semaphore.acquire("mall", "service"):
            within.append(number)
            assert len(within) <= 2
            await asyncio.sleep(0)
            within.remove(number)
        passed.append(number)

    await asyncio.gather(*map(order, range(20)))
    assert passed == sorted(passed)
    assert len(semaphore) == 0


@pytest.mark.finding("A9")
async def test_order_of_another_service_does_not_wait_for_a_crowd() -> None:
    semaphore = KeyedSemaphore(2, max_waiting=2_000)
    served: list[str] = []

    async def order(service: str) -> None:
        async with semaphore.acquire("mall", service):
            served.append(service)
            await asyncio.sleep(0)

    crowd = [asyncio.create_task(order("crowd")) for _ in range(1_000)]
    await asyncio.sleep(0)  # all of them wait or run
    await order("neighbour")
    assert len(served) < 20
    await asyncio.gather(*crowd)
    assert len(semaphore) == 0


async def test_another_key_does_not_wait() -> None:
    semaphore = KeyedSemaphore(1, max_waiting=100)
    first, waiting = Holder(semaphore, "busy"), Holder(semaphore, "busy")
    await eventually(lambda: first.holds)
    async with asyncio.timeout(GUARD_S), semaphore.acquire("quiet", "service"):
        assert not waiting.holds
    await first.release()
    await waiting.release()
    assert len(semaphore) == 0


@pytest.mark.parametrize("has_acquired", [False, True])
async def test_cancelled_waiter_passes_its_turn_on(has_acquired: bool) -> None:
    semaphore = KeyedSemaphore(1, max_waiting=100)
    async with AsyncExitStack() as held:
        await held.enter_async_context(semaphore.acquire("mall", "service"))
        first, second = Holder(semaphore, "mall"), Holder(semaphore, "mall")
        await eventually(lambda: len(semaphore) == 3)
        if has_acquired:
            await held.aclose()
            first.task.cancel()
        else:
            first.task.cancel()
            await asyncio.wait({first.task})
    async with asyncio.timeout(GUARD_S):
        await second.release()
    assert len(semaphore) == 0


async def test_failed_task_releases_its_key() -> None:
    semaphore = KeyedSemaphore(1, max_waiting=100)
    with pytest.raises(ZeroDivisionError):
        async with semaphore.acquire("mall", "service"):
            raise ZeroDivisionError
    assert len(semaphore) == 0


@pytest.mark.finding("B2")
async def test_full_queue_refuses_the_next_task_at_once() -> None:
    semaphore = KeyedSemaphore(1, max_waiting=2)
    async with semaphore.acquire("mall", "service"):
        waiting = [Holder(semaphore, "mall") for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            async with semaphore.acquire("mall", "service"):
                pass
        async with semaphore.acquire("another", "service"):
            pass
        assert len(semaphore) == 3
    for each in waiting:
        await each.release()
    assert len(semaphore) == 0
