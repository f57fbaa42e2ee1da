"""The operators' register, the claims of tokens and what a hello may narrow."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.vehicles import (
    OTHER_ROOM,
    USUAL_ROOM,
    DriverClaims,
    DriverProfile,
    RegisteredDriver,
    StatedVehicle,
    usual_vehicle,
)
from mallard_engine.ports import NoSuchDriver
from mallard_engine.storage.calls.script_runner import ScriptRunner
from tests.engine.storage.worlds import MARKET, NODE, World

WEEK_MS = 7 * 86_400_000
VAN = StatedVehicle(kind="van", max_jobs=20, equipment=("lift", "cool_box"))


async def put(
    world: World,
    profile: DriverProfile | None,
    driver: str = "ann",
    *,
    suspended: bool = False,
) -> RegisteredDriver:
    known, _ = await world.store.register.put(
        MARKET, driver, profile, suspended=suspended, actor="boss"
    )
    return known


async def hello(world: World, **states: Any) -> Vehicle:
    arguments = {"node": NODE, "vehicle": None, "fix": None} | states
    await world.store.drivers.hello(MARKET, "ann", **arguments)
    return (await world.record()).vehicle


# -- rooms


@pytest.mark.parametrize("kind", [*USUAL_ROOM, "hovercraft", None])
async def test_vehicle_without_limits_has_its_kinds_room(world: World, kind: str | None) -> None:
    vehicle = await hello(world, vehicle=StatedVehicle(kind=kind))
    room = USUAL_ROOM.get(kind or "car", OTHER_ROOM)
    assert vehicle == Vehicle(kind or "car", *room) == usual_vehicle(kind or "car")


async def test_hello_without_a_vehicle_is_a_usual_car(world: World) -> None:
    assert await hello(world) == usual_vehicle() == Vehicle("car", 12, 200_000, 500.0)


async def test_hello_alone_states_its_own_limits(world: World) -> None:
    said = StatedVehicle(max_jobs=30, equipment=("lift",))
    assert await hello(world, vehicle=said) == Vehicle("car", 30, 200_000, 500.0, ("lift",))


# -- precedence


@pytest.mark.parametrize("source", ["register", "token"])
@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (None, Vehicle("van", 20, 800_000, 4_000, ("lift", "cool_box"))),
        (StatedVehicle(max_jobs=3), Vehicle("van", 3, 800_000, 4_000, ("lift", "cool_box"))),
        (
            StatedVehicle(kind="van", max_jobs=50, max_weight_g=10**7, max_volume_l=10**5),
            Vehicle("van", 20, 800_000, 4_000, ("lift", "cool_box")),
        ),
        (StatedVehicle(kind="bike"), Vehicle("bike", 3, 20_000, 80, ("lift", "cool_box"))),
        (
            StatedVehicle(kind="bike", max_jobs=9),
            Vehicle("bike", 9, 20_000, 80, ("lift", "cool_box")),
        ),
        (StatedVehicle(equipment=("lift", "crane")), Vehicle("van", 20, 800_000, 4_000, ("lift",))),
        (StatedVehicle(equipment=()), Vehicle("van", 20, 800_000, 4_000)),
    ],
)
async def test_hello_narrows_and_never_widens(
    world: World, source: str, said: StatedVehicle | None, counts: Vehicle
) -> None:
    claims = None
    if source == "register":
        await put(world, DriverProfile(vehicle=VAN))
    else:
        claims = DriverClaims(vehicle=VAN)
    assert await hello(world, vehicle=said, claims=claims) == counts


async def test_larger_kind_in_a_hello_has_no_effect(world: World) -> None:
    await put(world, DriverProfile(vehicle=StatedVehicle(kind="car")))
    assert await hello(world, vehicle=StatedVehicle(kind="van")) == usual_vehicle("car")


async def test_kind_of_a_hello_does_not_narrow_its_own_kind(world: World) -> None:
    await put(world, DriverProfile(vehicle=StatedVehicle(kind="car", max_jobs=15)))
    assert (await hello(world, vehicle=StatedVehicle(kind="car"))).max_jobs == 15


async def test_register_takes_precedence_over_the_token(world: World) -> None:
    claims = DriverClaims(
        alias="T", vehicle=VAN, equipment=("lift",), qualifications=("alcohol", "id_check")
    )
    assert (await hello(world, claims=claims)).kind == "van"
    known = await put(
        world,
        DriverProfile(alias="R", vehicle=StatedVehicle(kind="foot"), qualifications=("alcohol",)),
    )
    assert known.alias == "R"
    assert known.driver.qualifications == ("alcohol",)
    assert known.driver.vehicle == Vehicle("foot", *USUAL_ROOM["foot"], ("alcohol",))
    erased = await put(world, None)
    assert (erased.profile, erased.alias) == (None, "T")
    assert erased.driver.vehicle.equipment == ("lift", "cool_box", "alcohol", "id_check")


async def test_equipment_claim_limits_that_of_a_hello(world: World) -> None:
    claims = DriverClaims(equipment=("lift",))
    said = StatedVehicle(equipment=("crane", "lift"))
    assert (await hello(world, vehicle=said, claims=claims)).equipment == ("lift",)


async def test_claims_of_the_last_token_count(world: World) -> None:
    await hello(world, claims=DriverClaims(alias="T", qualifications=("alcohol",)))
    await world.store.drivers.set_claims(MARKET, "ann", 1, DriverClaims(alias="U"))
    ann = await world.store.register.read(MARKET, "ann")
    assert (ann.alias, ann.driver.qualifications) == ("U", ())
    await world.store.drivers.set_claims(MARKET, "ann", 0, DriverClaims(alias="old"))
    assert (await world.store.register.read(MARKET, "ann")).alias == "U"
    await hello(world)
    assert (await world.store.register.read(MARKET, "ann")).alias is None


# -- the register


async def test_registered_driver_is_read_before_its_first_hello(world: World) -> None:
    with pytest.raises(NoSuchDriver):
        await world.store.register.read(MARKET, "ann")
    profile = DriverProfile(alias="Ann", vehicle=VAN, qualifications=())
    put_first = await put(world, profile)
    known = await world.store.register.read(MARKET, "ann")
    assert (known.profile, known.alias, known.driver.vehicle.max_jobs) == (profile, "Ann", 20)
    assert known.driver.shown == put_first.driver.shown == "offline"
    await put(world, None)
    with pytest.raises(NoSuchDriver):
        await world.store.register.read(MARKET, "ann")


async def test_put_replaces_the_whole_entry(world: World) -> None:
    await put(world, DriverProfile(alias="Ann", vehicle=VAN, qualifications=("alcohol",)))
    known = await put(world, DriverProfile(alias="Ann"))
    assert known.profile == DriverProfile(alias="Ann")
    assert known.driver.vehicle == usual_vehicle()


async def test_put_is_idempotent(world: World) -> None:
    await world.driver("ann")
    profile = DriverProfile(alias="Ann", vehicle=VAN)
    first = await put(world, profile, suspended=True)
    events = len(await world.events("driver"))
    assert await put(world, profile, suspended=True) == first
    assert await world.store.register.read(MARKET, "ann") == first
    assert len(await world.events("driver")) == events


async def test_register_limits_a_connected_driver_at_once(world: World) -> None:
    await world.driver("ann", vehicle=Vehicle(max_jobs=9))
    known = await put(world, DriverProfile(vehicle=StatedVehicle(max_jobs=1)))
    assert known.driver.vehicle.max_jobs == (await world.record()).vehicle.max_jobs == 1


async def test_status_of_the_register_is_the_suspension(world: World) -> None:
    await put(world, DriverProfile(alias="Ann"), suspended=True)
    await world.driver("ann")
    assert await world.idle() == set()
    await world.store.drivers.resume(MARKET, "ann")
    assert await world.idle() == {"ann"}
    assert not (await world.store.register.read(MARKET, "ann")).driver.suspended
    await world.store.drivers.suspend(MARKET, "ann", "complaint")
    assert (await world.store.register.read(MARKET, "ann")).driver.suspended
    await put(world, DriverProfile(alias="Ann"))
    assert await world.idle() == {"ann"}
    kinds = [it["what"] for it in await world.events("driver")]
    assert kinds[-3:] == ["resumed", "suspended", "resumed"]


async def test_registered_driver_is_suspended_before_its_hello(world: World) -> None:
    with pytest.raises(NoSuchDriver):
        await world.store.drivers.suspend(MARKET, "ann", "complaint")
    await put(world, DriverProfile(alias="Ann"))
    answered = await world.store.drivers.suspend(MARKET, "ann", "complaint")
    assert answered.driver.suspended
    await world.driver("ann")
    assert await world.idle() == set()


async def test_entry_survives_the_drivers_record(world: World) -> None:
    await world.driver("ann")
    profile = DriverProfile(alias="Ann", vehicle=VAN)
    await put(world, profile)
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(WEEK_MS + 1)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert not await world.redis.hexists(world.keys.key("drivers"), "ann")
    assert (await world.store.register.read(MARKET, "ann")).profile == profile
    assert (await hello(world)).kind == "van"


async def test_add_on_respects_a_registered_capacity(world: World) -> None:
    world.store.use({MARKET: replace(world.policy, max_run_jobs=4)})
    await world.driver("ann", vehicle=Vehicle(max_jobs=4))
    await world.assigned("ann")
    assert await world.coming() == {"chandler/ann"}
    await put(world, DriverProfile(vehicle=StatedVehicle(max_jobs=1)))
    assert await world.coming() == set()
    ref = await world.submit()
    offered = await world.store.offers.make(world.plan(ref, 0, "ann"))
    assert offered.verdict != "offered"


# -- aliases


async def aliases(world: World, service: str = "toys", name: str = "driver-x") -> str:
    found = await world.store.register.aliases(MARKET, service, {"ann": name})
    return found["ann"]


async def test_random_alias_is_kept_for_each_service(world: World) -> None:
    await world.driver("ann")
    assert await aliases(world) == "driver-x"
    assert await aliases(world, name="driver-y") == "driver-x"
    assert await aliases(world, "shoes", "driver-z") == "driver-z"
    ttl_ms = await world.redis.pttl(world.keys.alias("toys", "ann"))
    assert ttl_ms > WEEK_MS


async def test_registered_alias_comes_before_the_tokens(world: World) -> None:
    await hello(world, claims=DriverClaims(alias="Token Ann"))
    assert await aliases(world) == "Token Ann"
    await put(world, DriverProfile(alias="Ann"))
    assert await aliases(world) == "Ann"
    assert await aliases(world, "shoes") == "Ann"
    await put(world, None)
    assert await aliases(world) == "Token Ann"
    await hello(world)
    assert await aliases(world) == "driver-x"


async def test_services_that_ask_at_the_same_moment_share_a_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, run = list[str](), ScriptRunner.run

    async def counted(runner: ScriptRunner, name: str, *args: Any) -> Any:
        ran.append(name)
        return await run(runner, name, *args)

    monkeypatch.setattr(ScriptRunner, "run", counted)
    found = await asyncio.gather(
        *(aliases(world, service, f"of-{service}") for service in ("toys", "shoes", "toys"))
    )
    assert found == ["of-toys", "of-shoes", "of-toys"]
    assert ran == ["aliases"]


async def test_many_aliases_are_read_in_batches(world: World) -> None:
    names = {f"d{n}": f"driver-{n}" for n in range(600)}
    assert await world.store.register.aliases(MARKET, "toys", names) == names
