import asyncio
from contextlib import AsyncExitStack

import pytest

from mallard_engine.gateway.limits import large_bodies
from mallard_engine.gateway.limits.large_bodies import BodySlot, GaveWay, LargeBodies, NoSlot
from tests.support import GUARD_S

pytestmark = pytest.mark.finding("A9")


class Body:
    """A body that a client sends until `rest` is set."""

    def __init__(self, bodies: LargeBodies, caller: str, *, waits: bool = True) -> None:
        self.rest = asyncio.Event()
        self.slot: BodySlot | None = None
        self.task = asyncio.create_task(self._read(bodies, caller, waits=waits))

    async def _read(self, bodies: LargeBodies, caller: str, *, waits: bool) -> None:
        async with bodies.hold(caller, waits=waits) as self.slot, self.slot.reading():
            await self.rest.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def begun(bodies: LargeBodies, callers: str) -> list[Body]:
    """One body for each letter."""
    made = [Body(bodies, caller) for caller in callers]
    await settle()
    return made


async def end(bodies: LargeBodies, *made: Body) -> None:
    for body in made:
        body.rest.set()
    await asyncio.gather(*[body.task for body in made], return_exceptions=True)
    assert len(bodies) == 0


async def test_caller_without_a_body_takes_the_oldest_of_who_has_most() -> None:
    bodies = LargeBodies(limit_of_one=4, limit=4)
    made = await begun(bodies, "baaa")
    late = await begun(bodies, "c")
    assert late[0].slot is not None
    assert [body.task.done() for body in made] == [False, True, False, False]
    with pytest.raises(GaveWay):
        made[1].task.result()
    await end(bodies, *made, *late)


async def test_caller_that_is_cancelled_as_a_slot_is_freed_takes_none() -> None:
    bodies = LargeBodies(limit_of_one=1, limit=1)
    (first,) = await begun(bodies, "a")
    (gone,) = await begun(bodies, "b")
    first.rest.set()
    gone.task.cancel()
    await end(bodies, first, gone)
    assert first.task.exception() is None


async def test_equal_callers_take_nothing_from_each_other() -> None:
    bodies = LargeBodies(limit_of_one=4, limit=2)
    made = await begun(bodies, "ab")
    late = await begun(bodies, "c")
    assert late[0].slot is None
    made[0].rest.set()
    await settle()
    assert late[0].slot is not None
    assert not made[1].task.done()
    await end(bodies, *made, *late)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_bodies, "_GRACE_S", 0.05)
    monkeypatch.setattr(large_bodies, "_LOOK_EVERY_S", 0.01)


async def test_slow_body_gives_way_to_a_caller_that_has_none(quick: None) -> None:
    bodies = LargeBodies(limit_of_one=4, limit=2, least_per_s=1_000)
    made = await begun(bodies, "ab")
    assert made[0].slot is not None
    made[0].slot.received(1_000_000)
    late = await begun(bodies, "c")
    assert late[0].slot is None
    async with asyncio.timeout(GUARD_S):
        with pytest.raises(GaveWay):
            await made[1].task
    await settle()
    assert late[0].slot is not None
    assert not made[0].task.done()
    await end(bodies, *made, *late)


async def test_body_that_arrives_fast_enough_does_not_give_way(quick: None) -> None:
    bodies = LargeBodies(limit_of_one=4, limit=2, least_per_s=1_000)
    made = await begun(bodies, "ab")
    for body in made:
        assert body.slot is not None
        body.slot.received(10_000)
    late = await begun(bodies, "c")
    await asyncio.sleep(0.2)
    assert late[0].slot is None
    assert not any(body.task.done() for body in made)
    await end(bodies, *made, *late)


async def test_slow_body_does_not_give_way_to_a_caller_that_has_one(quick: None) -> None:
    bodies = LargeBodies(limit_of_one=4, limit=2, least_per_s=1_000)
    made = await begun(bodies, "abb")
    await asyncio.sleep(0.2)
    assert made[2].slot is None
    assert not any(body.task.done() for body in made)
    await end(bodies, *made)


async def test_body_over_the_limit_of_its_caller_waits_for_its_own() -> None:
    bodies = LargeBodies(limit_of_one=2, limit=8)
    made = await begun(bodies, "aaab")
    assert [body.slot is not None for body in made] == [True, True, False, True]
    made[0].rest.set()
    await settle()
    assert made[2].slot is not None
    await end(bodies, *made)


async def test_caller_that_does_not_wait_is_refused_at_once() -> None:
    bodies = LargeBodies(limit_of_one=1, limit=8)
    made = await begun(bodies, "a")
    refused = Body(bodies, "a", waits=False)
    await settle()
    with pytest.raises(NoSlot):
        refused.task.result()
    await end(bodies, *made)


async def test_complete_body_does_not_give_way() -> None:
    bodies = LargeBodies(limit_of_one=4, limit=2)
    async with AsyncExitStack() as held:
        for _ in range(2):
            slot = await held.enter_async_context(bodies.hold("a"))
            async with slot.reading():
                pass
        with pytest.raises(NoSlot):
            await held.enter_async_context(bodies.hold("b", waits=False))
    assert len(bodies) == 0


async def test_cancelled_waiter_leaves_its_slot_to_the_next() -> None:
    bodies = LargeBodies(limit_of_one=1, limit=1)
    made = await begun(bodies, "abc")
    made[0].rest.set()
    await asyncio.sleep(0)
    made[1].task.cancel()
    await settle()
    assert made[2].slot is not None
    await end(bodies, *made)


async def test_time_limit_of_the_reader_is_no_giving_way() -> None:
    bodies = LargeBodies(limit_of_one=1, limit=1)
    async with bodies.hold("a") as slot:
        with pytest.raises(TimeoutError):
            async with slot.reading():
                raise TimeoutError
    assert len(bodies) == 0
