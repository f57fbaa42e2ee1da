"""Breaches of offers and of their rounds."""

import msgspec

from tests.engine.storage.breaches.writing import Plant, change
from tests.engine.storage.worlds import MARKET, World


async def driver_with_an_ended_offer(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await change(world, "drivers", "ann", offer=offer)


async def live_offer_missing_from_its_driver(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await change(world, "drivers", "ann", offer=None)


async def second_live_offer_of_a_job(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    _, offer = await world.offered("ann")
    packed = await world.redis.hget(world.keys.key("offers"), offer)
    second = msgspec.msgpack.decode(packed) | {"offer": "second", "driver": "bob"}
    await world.redis.hset(world.keys.key("offers"), "second", msgspec.msgpack.encode(second))
    await change(world, "drivers", "bob", offer="second")


async def offered_job_without_its_offer(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.redis.hdel(world.keys.key("offers"), offer)


async def overdue_offer(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.pass_ms(3_000 + 5_001)


async def round_without_a_ttl(world: World) -> None:
    await world.redis.set(world.keys.round("job_phoenix.1"), "x")


async def ended_offer_that_is_never_forgotten(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.redis.zrem(world.keys.key("forget"), f"offer/{offer}")


PLANTED: list[tuple[str, Plant]] = [
    ("S2", driver_with_an_ended_offer),
    ("S2", live_offer_missing_from_its_driver),
    ("S3", second_live_offer_of_a_job),
    ("S3", offered_job_without_its_offer),
    ("S6", overdue_offer),
    ("leak", round_without_a_ttl),
    ("leak", ended_offer_that_is_never_forgotten),
]
