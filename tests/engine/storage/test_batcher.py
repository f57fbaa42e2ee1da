"""Items that arrive within a short time share one call."""

import asyncio
from collections.abc import Sequence

import pytest

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.calls.batcher import Batcher


class Doubling:
    """Doubles numbers. `calls`: what each call was given. `down`: Redis is unavailable."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.down = False

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        if self.down:
            raise StoreUnavailable("down")
        return [2 * number for number in numbers]


async def test_items_of_a_moment_share_a_call_and_get_their_own_results() -> None:
    call = Doubling()
    batcher = Batcher(call, 0.005, 10)
    assert await asyncio.gather(*map(batcher.add, range(3))) == [0, 2, 4]
    assert await batcher.add(7) == 14
    assert call.calls == [[0, 1, 2], [7]]


async def test_call_with_the_most_items_does_not_wait() -> None:
    call = Doubling()
    batcher = Batcher(call, 3_600, 2)
    assert await asyncio.gather(*map(batcher.add, range(4))) == [0, 2, 4, 6]
    assert call.calls == [[0, 1], [2, 3]]


async def test_failure_reaches_each_item_as_an_error_of_its_own() -> None:
    call = Doubling()
    call.down = True
    batcher = Batcher(call, 0.005, 10)
    failed = await asyncio.gather(*map(batcher.add, range(2)), return_exceptions=True)
    assert [str(error) for error in failed] == ["down", "down"]
    assert failed[0] is not failed[1]
    call.down = False
    assert await batcher.add(1) == 2


async def test_cancelled_item_delays_no_other() -> None:
    call = Doubling()
    batcher = Batcher(call, 0.005, 10)
    gone, stays = batcher.add(0), batcher.add(1)
    gone.cancel()
    assert await stays == 2
    with pytest.raises(asyncio.CancelledError):
        await gone
