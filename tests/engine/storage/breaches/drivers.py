"""Breaches of drivers: free drivers, nodes, the register."""

from mallard_engine.core.vehicles import DriverProfile, StatedVehicle
from tests.engine.storage.breaches.writing import Plant, change
from tests.engine.storage.worlds import MARKET, NODE, World


async def suspended_driver_in_idle(world: World) -> None:
    await world.driver("ann")
    await change(world, "drivers", "ann", suspended=True)


async def driver_with_an_offer_in_idle(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.redis.geoadd(world.keys.key("idle"), (-111.9, 33.3, "ann"))


async def stale_driver_in_idle(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(60_001 + 2_001)  # a position of 60,000 ms still counts


async def driver_of_a_dead_node_in_idle(world: World) -> None:
    await world.store.leases.beat(MARKET, "n2")
    await world.driver("ann", node="n2")
    await world.pass_ms(1_500 + 2_001)


async def unknown_driver_in_idle(world: World) -> None:
    await world.redis.geoadd(world.keys.key("idle"), (-111.9, 33.3, "eve"))


async def driver_missing_from_its_node(world: World) -> None:
    await world.driver("ann")
    await world.redis.srem(world.keys.held(NODE), "ann")


async def drivers_of_a_node_without_a_lease(world: World) -> None:
    await world.redis.sadd(world.keys.held("n9"), "ann")


async def free_driver_outside_the_index(world: World) -> None:
    await world.driver("ann")
    await world.redis.zrem(world.keys.key("idle"), "ann")


async def driver_whose_cool_down_nothing_ends(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.redis.zadd(world.keys.key("due"), {"driver/ann": world.now + 3_600_000})


async def registered(world: World) -> None:
    await world.driver("ann")
    vehicle = StatedVehicle(kind="car", max_jobs=4, equipment=("lift",))
    profile = DriverProfile(vehicle=vehicle, qualifications=("alcohol",))
    await world.store.register.put(MARKET, "ann", profile, suspended=False, actor="boss")


async def vehicle_above_its_registration(world: World) -> None:
    await registered(world)
    vehicle = {"kind": "car", "max_jobs": 5, "max_weight_g": 1, "max_volume_l": 1}
    await change(world, "drivers", "ann", vehicle=vehicle | {"equipment": ["alcohol"]})


async def equipment_that_is_not_registered(world: World) -> None:
    await registered(world)
    vehicle = {"kind": "car", "max_jobs": 4, "max_weight_g": 1, "max_volume_l": 1}
    await change(world, "drivers", "ann", vehicle=vehicle | {"equipment": ["crane"]})


async def qualifications_that_are_not_registered(world: World) -> None:
    await registered(world)
    await change(world, "drivers", "ann", qualifications=["alcohol", "hazmat"])


async def unreadable_entry_of_the_register(world: World) -> None:
    await world.redis.hset(world.keys.key("registry"), "bob", b"\xc1")


async def alias_without_a_ttl(world: World) -> None:
    await world.redis.set(world.keys.alias("toys", "ann"), "driver-x")


PLANTED: list[tuple[str, Plant]] = [
    ("S2", vehicle_above_its_registration),
    ("S2", equipment_that_is_not_registered),
    ("S2", qualifications_that_are_not_registered),
    ("S10", suspended_driver_in_idle),
    ("S10", driver_with_an_offer_in_idle),
    ("S10", stale_driver_in_idle),
    ("S10", driver_of_a_dead_node_in_idle),
    ("S10", unknown_driver_in_idle),
    ("S10", driver_missing_from_its_node),
    ("S10", drivers_of_a_node_without_a_lease),
    ("L1", free_driver_outside_the_index),
    ("L1", driver_whose_cool_down_nothing_ends),
    ("leak", alias_without_a_ttl),
    ("record", unreadable_entry_of_the_register),
]
