import asyncio

import pytest

from mallard_engine.gateway.http.keyed_semaphore import QueueFull, Turnstile
from tests.support import eventually


async def test_no_more_than_so_many_of_one_mall_are_within() -> None:
    turnstile = Turnstile(2, max_waiting=100)
    within: list[int] = []
    passed: list[int] = []

    async def order(number: int) -> None:
        async with turnstile.at("mall"):
            within.append(number)
            assert len(within) <= 2
            await asyncio.sleep(0)
            within.remove(number)
        passed.append(number)

    await asyncio.gather(*map(order, range(20)))
    assert passed == sorted(passed)
    assert len(turnstile) == 0


async def test_another_mall_does_not_wait() -> None:
    turnstile = Turnstile(1, max_waiting=100)
    await turnstile.enter("busy")
    waiting = asyncio.create_task(turnstile.enter("busy"))
    async with asyncio.timeout(1), turnstile.at("quiet"):
        assert not waiting.done()
    turnstile.leave("busy")
    await waiting
    turnstile.leave("busy")
    assert len(turnstile) == 0


@pytest.mark.parametrize("has_its_turn", [False, True])
async def test_who_gives_up_leaves_its_turn_to_the_next(has_its_turn: bool) -> None:
    turnstile = Turnstile(1, max_waiting=100)
    await turnstile.enter("mall")
    first = asyncio.create_task(turnstile.enter("mall"))
    second = asyncio.create_task(turnstile.enter("mall"))
    await eventually(lambda: len(turnstile) == 3)
    if has_its_turn:
        turnstile.leave("mall")
        first.cancel()
    else:
        first.cancel()
        await asyncio.wait({first})
        turnstile.leave("mall")
    async with asyncio.timeout(1):
        await second
    turnstile.leave("mall")
    assert len(turnstile) == 0


async def test_an_order_that_fails_leaves_too() -> None:
    turnstile = Turnstile(1, max_waiting=100)
    with pytest.raises(ZeroDivisionError):
        async with turnstile.at("mall"):
            raise ZeroDivisionError
    assert len(turnstile) == 0


@pytest.mark.finding("B2")
async def test_a_full_queue_refuses_the_next_one_at_once() -> None:
    turnstile = Turnstile(1, max_waiting=2)
    async with turnstile.at("mall"):
        waiting = [asyncio.ensure_future(turnstile.enter("mall")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await turnstile.enter("mall")
        async with turnstile.at("another"):
            pass
        assert len(turnstile) == 3
    for each in waiting:
        await each
        turnstile.leave("mall")
    assert len(turnstile) == 0
