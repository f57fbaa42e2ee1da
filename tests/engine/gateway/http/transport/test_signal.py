"""The small event of requests and connections."""

import asyncio
import sys

import pytest

from mallard_engine.gateway.http.transport.signal import Signal
from tests.support import GUARD_S


async def test_set_wakes_all_who_wait() -> None:
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    signal.set()
    await asyncio.wait_for(asyncio.gather(*waiting), GUARD_S)


async def test_wait_returns_at_once_until_the_signal_is_cleared() -> None:
    signal = Signal(is_set=True)
    await asyncio.wait_for(signal.wait(), GUARD_S)
    signal.clear()
    assert not signal.is_set()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(signal.wait(), 0.01)
    signal.set()
    await asyncio.wait_for(signal.wait(), GUARD_S)


async def test_set_and_clear_at_once_wakes_who_waited() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    await asyncio.wait_for(waiting, GUARD_S)


async def test_cancelled_waiter_is_forgotten_and_others_still_wake() -> None:
    signal = Signal()
    gone, stays = (asyncio.create_task(signal.wait()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    assert gone.cancelled()
    assert len(signal._waiting) == 1
    signal.set()
    await asyncio.wait_for(stays, GUARD_S)


async def test_waiter_cancelled_after_set_stays_cancelled() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert signal._waiting == ()


def test_signal_is_small() -> None:
    assert sys.getsizeof(Signal()) <= 64
