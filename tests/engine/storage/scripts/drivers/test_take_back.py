"""A node takes its drivers back: after an expired lease, an outage or lost writes."""

from dataclasses import replace

import pytest

from mallard_engine.core.model import Device, Vehicle
from mallard_engine.ports import DriverFix, Effects, OwnDriver, TakenBack
from mallard_engine.storage.calls.leases import LEASE_MS
from mallard_protocol.lifecycle import Wish
from tests.engine.storage.worlds import LAT, LON, MALL, MARKET, NODE, RESUME_MS, STALE_MS, World

pytestmark = pytest.mark.finding("B3")


def own(driver: str = "ann", epoch: int = 1, wish: Wish = Wish.AVAILABLE) -> OwnDriver:
    return OwnDriver(driver, epoch, wish)


async def take_back(
    world: World, *drivers: OwnDriver, rewound: bool = False
) -> tuple[list[str], Effects]:
    taken, effects = await world.store.drivers.take_back(MARKET, NODE, drivers, rewound=rewound)
    return [each.verdict for each in taken], effects


async def reap_node(world: World, *drivers: str) -> None:
    """Let the node's lease expire and another node reap its drivers."""
    await world.store.leases.beat(MARKET, "n2")
    world.clock.now_ms += LEASE_MS
    world.nodes = {"n2"}
    await world.beat()
    while (await world.store.leases.reap(MARKET, NODE, 100))[0]:
        pass
    assert not await world.idle() & set(drivers)
    world.nodes = {NODE, "n2"}
    await world.beat()


async def test_take_back_restores_the_index(world: World) -> None:
    for name in ("ann", "bob"):
        await world.driver(name)
    await world.submit()
    await reap_node(world, "ann", "bob")
    verdicts, effects = await take_back(world, own("ann"), own("bob"))
    assert verdicts == ["back", "back"]
    assert await world.idle() == {"ann", "bob"}
    assert [freed.driver for freed in effects.freed] == ["ann", "bob"]
    ann = await world.record()
    assert (ann.connected, ann.node, ann.epoch) == (True, NODE, 1)
    # A close of that socket by the node takes effect again.
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    assert await world.idle() == {"bob"}


@pytest.mark.finding("B1")
async def test_kept_driver_is_restored_to_the_index(world: World) -> None:
    ref, _ = await world.assigned(await world.driver())
    await world.redis.zadd(world.keys.key("nodes"), {NODE: world.now})
    await world.store.jobs.cancel(ref, "toys", "")  # while the lease was expired
    assert await world.idle() == set()
    await world.beat()
    assert (await take_back(world, own()))[0] == ["kept"]
    assert await world.idle() == {"ann"}


async def test_newer_hello_on_another_node_wins(world: World) -> None:
    await world.driver()
    world.nodes.add("n2")
    await world.beat()
    await world.connect("ann", node="n2")
    assert (await take_back(world, own()))[0] == ["lost"]
    ann = await world.record()
    assert (ann.node, ann.epoch) == ("n2", 2)
    await world.store.drivers.disconnect(MARKET, "n2", [("ann", 2)])
    assert (await take_back(world, own()))[0] == ["lost"]


async def test_repeated_take_back_has_no_effect(world: World) -> None:
    await world.driver()
    await reap_node(world, "ann")
    assert (await take_back(world, own()))[0] == ["back"]
    before = await world.record()
    assert (await take_back(world, own()))[0] == ["kept"]
    assert await world.record() == before


async def test_wish_is_offline_after_the_resume_time(world: World) -> None:
    await world.driver()
    await reap_node(world, "ann")
    await world.pass_ms(RESUME_MS + 1)
    (taken,), _ = await world.store.drivers.take_back(MARKET, NODE, [own()], rewound=False)
    assert (taken.verdict, taken.driver.wish) == ("back", Wish.OFFLINE)


async def test_last_position_is_stored_with_its_age(world: World) -> None:
    await world.driver()
    await world.pass_ms(STALE_MS + 1)
    fix = DriverFix("ann", world.now - 4_000, LAT + 0.001, LON)
    late = replace(own(), fix=fix, age_ms=3_000)
    assert (await take_back(world, late))[0] == ["kept"]
    assert await world.idle() == {"ann"}
    position = (await world.record()).position
    assert position
    assert (position.received_ms, position.at_ms) == (world.now - 3_000, world.now - 4_000)
    # An older one changes nothing.
    old = replace(own(), fix=fix._replace(at_ms=fix.at_ms - 1, lat=LAT), age_ms=0)
    await take_back(world, old)
    assert (await world.record()).position == position


async def test_more_than_256_drivers_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="at most 256"):
        await take_back(world, *(own(f"d{n}") for n in range(257)))


# -- after lost writes


@pytest.mark.finding("B4")
async def test_lost_driver_is_restored_from_the_node(world: World) -> None:
    vehicle = Vehicle(kind="van", max_jobs=3)
    fix = DriverFix("ann", world.now - 2_000, LAT, LON)
    device = Device("fcm", "wake-me")
    claimed = OwnDriver("ann", 7, Wish.AVAILABLE, world.now + 60_000, vehicle, fix, 1_000, device)
    assert (await take_back(world, claimed, rewound=True))[0] == ["back"]
    ann = await world.record()
    assert (ann.epoch, ann.node, ann.connected, ann.seq) == (7, NODE, True, 0)
    assert (ann.wish, ann.until_ms, ann.vehicle) == (Wish.AVAILABLE, world.now + 60_000, vehicle)
    assert ann.device == device
    assert await world.idle() == {"ann"}


@pytest.mark.finding("B4")
async def test_nodes_wish_wins_after_lost_writes(world: World) -> None:
    await world.driver()
    paused = own(wish=Wish.PAUSED)
    assert (await take_back(world, paused))[0] == ["kept"]
    assert (await world.record()).wish is Wish.AVAILABLE
    assert (await take_back(world, paused, rewound=True))[0] == ["kept"]
    assert (await world.record()).wish is Wish.PAUSED
    over = replace(own(), until_ms=world.now)
    await take_back(world, over, rewound=True)
    assert (await world.record()).wish is Wish.OFFLINE


@pytest.mark.finding("B4")
async def test_older_socket_gets_replaced(world: World) -> None:
    """The older socket's hello survived, the newer one's was lost."""
    world.nodes.add("n2")
    await world.beat()
    await world.connect("ann", node="n2")
    verdicts, effects = await take_back(world, own(epoch=2), rewound=True)
    assert verdicts == ["back"]
    assert [(push.kind, push.epoch) for push in effects.pushes] == [("replaced", 2)]
    assert (await world.record()).node == NODE


@pytest.mark.finding("B4")
async def test_registered_socket_wins_if_two_share_an_epoch(world: World) -> None:
    """After lost writes a new hello got the epoch of a socket whose hello was lost."""
    world.nodes.add("n2")
    await world.beat()
    await world.connect("ann", node="n2")
    assert (await take_back(world, own(epoch=1), rewound=True))[0] == ["lost"]
    assert (await world.record()).node == "n2"


async def test_store_lists_the_sockets_of_a_node(world: World) -> None:
    for name in ("ann", "bob"):
        await world.driver(name)
    await world.connect("bob")
    world.nodes.add("n2")
    await world.beat()
    await world.connect("eve", node="n2")
    assert await world.store.drivers.held(MARKET, NODE) == {"ann": 1, "bob": 2}
    assert await world.store.drivers.held(MARKET, "n3") == {}


async def test_holder_keeps_its_jobs(world: World) -> None:
    ref, _ = await world.assigned(await world.driver())
    await reap_node(world, "ann")
    taken: TakenBack
    (taken,), _ = await world.store.drivers.take_back(MARKET, NODE, [own()], rewound=False)
    assert [(held.job, held.mall) for held in taken.driver.jobs] == [(ref.job, MALL)]
    assert await world.idle() == set()


async def test_device_of_an_older_socket_is_ignored(world: World) -> None:
    await world.driver()
    epoch = (await world.store.drivers.snapshot(MARKET, "ann")).driver.epoch
    for at, token, kept in ((epoch, "new", "new"), (epoch - 1, "late", "new")):
        await world.store.drivers.set_device(MARKET, "ann", at, Device("fcm", token))
        driver = (await world.store.drivers.snapshot(MARKET, "ann")).driver
        assert driver.device == Device("fcm", kept)
    await world.store.drivers.set_device(MARKET, "nobody", 1, Device("fcm", "x"))
