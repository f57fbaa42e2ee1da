"""Pushes go to the node that holds the driver's socket, unless that node made them itself."""

from collections.abc import AsyncIterator, Sequence

import msgpack
import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.ports import Push
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.worlds import MARKET, NODE, World

OTHER = "n2"


@pytest.fixture
async def own(world: World) -> AsyncIterator[RedisStorage]:
    """The storage of the node that holds the drivers."""
    store = RedisStorage(world.url, {MARKET: world.policy}, now_ms=world.clock, node=NODE)
    await store.connect()
    yield store
    await store.close()


async def lengths(world: World) -> dict[str, int]:
    """The number of entries of each stream of pushes that exists."""
    names = await world.redis.keys(world.keys.key("push*"))
    prefix = world.keys.key("")
    return {name.decode().removeprefix(prefix): await world.redis.xlen(name) for name in names}


async def test_node_writes_nothing_for_its_own_drivers(world: World, own: RedisStorage) -> None:
    delivered: list[tuple[str, Push]] = []

    class Sink:
        def deliver(self, market: str, pushes: Sequence[Push]) -> None:
            delivered.extend((market, push) for push in pushes)

    own.pushes.deliver_to(Sink(), print)
    await world.driver("ann")
    ref, _ = await world.offered()
    before = await lengths(world)
    await own.jobs.cancel(ref, "toys", "")
    assert await lengths(world) == before == {f"push:{NODE}": 1}
    ((market, push),) = delivered
    assert (market, push.driver, push.seq, push.kind) == (MARKET, "ann", 2, "offer_closed")


async def test_other_node_writes_to_the_stream_of_the_drivers_node(world: World) -> None:
    world.nodes.add(OTHER)
    await world.pass_ms(0)
    await world.driver("ann")
    await world.store.drivers.hello(MARKET, "bob", node=OTHER, vehicle=Vehicle(), fix=None)
    await world.offered("ann")
    assert await lengths(world) == {f"push:{NODE}": 1}
    ref = await world.submit()
    await world.store.jobs.assign(ref, "bob", "operator")
    assert await lengths(world) == {f"push:{NODE}": 1, f"push:{OTHER}": 1}


async def test_nothing_is_written_for_a_driver_without_a_socket(world: World) -> None:
    epoch = await world.connect("ann")
    ref = await world.submit()
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", epoch)])
    await world.store.jobs.assign(ref, "ann", "operator")
    assert (await world.record("ann")).seq == 1
    assert await lengths(world) == {}


async def test_push_goes_to_the_node_that_an_older_record_names(world: World) -> None:
    """Engines up to schema 3 wrote no `reads`."""
    await world.driver("ann")
    key = world.keys.key("drivers")
    record = msgpack.unpackb(await world.redis.hget(key, "ann"))
    assert record.pop("reads") == NODE
    await world.redis.hset(key, "ann", msgpack.packb(record))
    ref = await world.submit()
    await world.store.jobs.assign(ref, "ann", "operator")
    assert await lengths(world) == {f"push:{NODE}": 1}


async def test_replaced_socket_gets_its_push_on_its_own_node(
    world: World, own: RedisStorage
) -> None:
    world.nodes.add(OTHER)
    await world.pass_ms(0)
    await world.connect("ann")
    begin = {MARKET: await own.pushes.head(MARKET)}
    await world.store.drivers.hello(MARKET, "ann", node=OTHER, vehicle=Vehicle(), fix=None)
    (entry,) = await own.pushes.read(begin, 1)
    assert (entry.market, entry.push.kind, entry.push.epoch) == (MARKET, "replaced", 2)


@pytest.mark.parametrize("is_dead", [False, True])
async def test_stream_goes_with_the_lease_of_its_node(world: World, *, is_dead: bool) -> None:
    world.nodes.add(OTHER)
    await world.pass_ms(0)
    await world.store.drivers.hello(MARKET, "bob", node=OTHER, vehicle=Vehicle(), fix=None)
    ref = await world.submit()
    await world.store.jobs.assign(ref, "bob", "operator")
    assert await lengths(world) == {f"push:{OTHER}": 1}
    if is_dead:
        world.nodes.remove(OTHER)
        await world.pass_ms(2_000)
        assert (await world.store.leases.reap(MARKET, OTHER, 10))[0] == 1
        assert (await world.store.leases.reap(MARKET, OTHER, 10))[0] == 0
    else:
        await world.store.drivers.disconnect(MARKET, OTHER, [("bob", 1)])
        assert await world.store.leases.leave(MARKET, OTHER)
    assert await lengths(world) == {}


async def test_node_trims_what_it_has_delivered(world: World, own: RedisStorage) -> None:
    key = world.keys.pushes(NODE)
    packed = msgpack.packb({"kind": "state", "driver": "ann", "seq": 1, "state": "paused"})
    cursors = {MARKET: await own.pushes.head(MARKET)}
    for _ in range(3):
        for _ in range(600):
            await world.redis.xadd(key, {"p": packed, "c": b""})
        while entries := await own.pushes.read(cursors, 1):
            cursors |= {entry.market: entry.cursor for entry in entries}
    assert 0 < await world.redis.xlen(key) < 800
