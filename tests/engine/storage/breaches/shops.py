"""Breaches of shops, of what they hold back, and of pauses."""

from typing import Any

import msgspec

from mallard_engine.ports import JobRef
from tests.engine.storage.breaches.writing import Plant, held, set_job
from tests.engine.storage.worlds import MALL, World


async def set_shop(world: World, ref: JobRef, **fields: Any) -> None:
    shop = {"store": "lego", "state": "collected", "collected": 2, "holds": 0} | fields
    await set_job(world, ref, shops=msgspec.msgpack.encode([shop]))


async def more_collected_than_ordered(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.picked_up("ann")
    await set_shop(world, ref, collected=3)


async def parcels_of_an_unknown_shop(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.picked_up("ann")
    await set_shop(world, ref, store="nobody", collected=1)


async def collected_before_the_pickup(world: World) -> None:
    await set_shop(world, await held(world))


async def offered_at_a_paused_shop(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    pause = msgspec.msgpack.encode((world.now - 1_000, "boss", ""))
    await world.redis.hset(world.keys.key("pauses"), f"{MALL}/lego", pause)


async def offered_without_an_answer(world: World) -> None:
    await set_shop(world, await world.submit(), state="missing", collected=0)


async def _held_job(world: World) -> JobRef:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann")
    await world.collect(ref, attempt, 0)
    return ref


async def held_job_released_at_another_time(world: World) -> None:
    ref = await _held_job(world)
    await set_job(world, ref, release_ms=world.now + 1)


async def queued_job_that_is_held(world: World) -> None:
    hold = {"why": "missing", "store": "lego", "until_ms": world.now}
    await set_job(world, await world.submit(), held=msgspec.msgpack.encode(hold))


async def failed_without_a_reason(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", order={"on_missing": "fail"})
    await world.collect(ref, attempt, 0)
    await set_job(world, ref, reason="bad luck")


PLANTED: list[tuple[str, Plant]] = [
    ("shop", more_collected_than_ordered),
    ("shop", parcels_of_an_unknown_shop),
    ("shop", collected_before_the_pickup),
    ("shop", offered_without_an_answer),
    ("pause", offered_at_a_paused_shop),
    ("shop", held_job_released_at_another_time),
    ("shop", queued_job_that_is_held),
    ("shop", failed_without_a_reason),
]
