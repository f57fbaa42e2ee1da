"""The fast path of fixes: which ones take it, and that an outdated cache has no effect."""

from collections.abc import Sequence

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverFix
from mallard_engine.storage.position_cache import FastPath, PositionCache
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.worlds import LAT, LON, MARKET, STALE_MS, World

SECOND_DEG = 0.0003  # about 33 m to the north: half the maximum speed for a second


def fix(world: World, ago_ms: int = 0, lat: float = LAT, driver: str = "ann") -> DriverFix:
    return DriverFix(driver, world.now - ago_ms, lat, LON)


async def record(
    world: World, *fixes: DriverFix, by: RedisStorage | None = None
) -> tuple[str, ...]:
    return (await (by or world.store).drivers.record_positions(MARKET, fixes)).verdicts


def split(world: World, *fixes: DriverFix) -> tuple[FastPath, Sequence[int]]:
    return world.store.drivers._caches[MARKET].split(fixes, world.now)


async def cached_driver(world: World) -> None:
    """A driver whose stored position is in the node's cache."""
    await world.driver("ann")
    await world.pass_ms(1_000)
    assert await record(world, fix(world)) == ("ok",)
    await world.pass_ms(1_000)


async def test_fast_path_starts_with_the_second_fix(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(1_000)
    assert split(world, fix(world))[1] == [0]
    await record(world, fix(world))
    await world.pass_ms(1_000)
    fast, checked = split(world, fix(world, lat=LAT + SECOND_DEG))
    assert (fast.indices, checked) == ([0], [])
    assert await record(world, fix(world, lat=LAT + SECOND_DEG)) == ("ok",)
    ann = await world.record()
    assert ann.position is not None
    assert (ann.position.lat, ann.position.at_ms) == (LAT + SECOND_DEG, world.now)
    assert ann.position.received_ms == world.now


async def test_several_fixes_of_a_driver_take_the_slow_path(world: World) -> None:
    await cached_driver(world)
    fixes = [fix(world, 500, LAT + 1e-5), fix(world, 100, LAT + 2e-5)]
    fast, rest = split(world, *fixes)
    assert (fast.indices, rest) == ([], [0, 1])
    assert await record(world, *fixes) == ("ok", "ok")
    ann = await world.record()
    assert ann.position is not None
    assert ann.position.lat == LAT + 2e-5


@pytest.mark.finding("C3")
async def test_repeated_last_fix_takes_the_fast_path(world: World) -> None:
    await cached_driver(world)
    repeated = fix(world, ago_ms=1_000)
    for _ in range(3):
        await world.pass_ms(STALE_MS // 4)
        assert split(world, repeated)[0].indices == [0]
        assert await record(world, repeated) == ("ok",)
        ann = await world.record()
        assert ann.position is not None
        assert ann.position.received_ms == world.now
    assert await world.pushes() == []


@pytest.mark.parametrize(
    ("ago_ms", "lat", "inside"),
    [
        (1_000, LAT + 1e-5, True),  # as old as the last, at another place
        (1_001, LAT, True),  # older than the last
        (-4_500, LAT, True),  # close to the limit for future times
        (0, LAT + 0.001, True),  # faster than the maximum speed
        (0, LAT, False),
    ],
)
async def test_doubtful_fix_takes_the_slow_path(
    world: World, ago_ms: int, lat: float, inside: bool
) -> None:
    await cached_driver(world)
    doubtful = fix(world, ago_ms, lat)._replace(fault="" if inside else "outside")
    assert split(world, doubtful)[1] == [0]
    # Other fixes of the driver follow it, to keep their order.
    assert split(world, fix(world, 500), doubtful)[1] == [0, 1]


async def test_ageing_position_takes_the_slow_path(world: World) -> None:
    await cached_driver(world)
    await world.pass_ms(STALE_MS // 2)
    assert split(world, fix(world))[1] == [0]
    await world.pass_ms(STALE_MS)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == set()
    assert await record(world, fix(world)) == ("ok",)
    assert await world.idle() == {"ann"}


async def test_outdated_cache_has_no_effect(world: World, other_store: RedisStorage) -> None:
    await cached_driver(world)
    # Another node stores a later fix; this node's cache is now outdated.
    assert await record(world, fix(world, lat=LAT + 2e-4), by=other_store) == ("ok",)
    late = fix(world, ago_ms=500, lat=LAT + 1e-4)
    assert split(world, late)[0].indices == [0]
    assert await record(world, late) == ("old",)
    ann = await world.record()
    assert ann.position is not None
    assert ann.position.lat == LAT + 2e-4
    # The refusal updated the cache.
    await world.pass_ms(1_000)
    assert split(world, fix(world))[0].indices == [0]
    assert await record(world, fix(world)) == ("ok",)


async def test_outdated_entry_does_not_affect_other_drivers(
    world: World, other_store: RedisStorage
) -> None:
    await cached_driver(world)
    await world.driver("bob")
    await world.pass_ms(1_000)
    await record(world, fix(world, driver="bob"))
    await world.pass_ms(1_000)
    await record(world, fix(world, lat=LAT + 2e-4), by=other_store)
    fixes = [fix(world, 300, LAT + 1e-4), fix(world, 0, LAT + 1e-4, "bob")]
    assert split(world, *fixes)[0].indices == [0, 1]
    assert await record(world, *fixes) == ("old", "ok")
    bob = await world.record("bob")
    assert bob.position is not None
    assert bob.position.lat == LAT + 1e-4


async def test_disconnected_driver_leaves_the_cache(world: World) -> None:
    await cached_driver(world)
    cache = world.store.drivers._caches[MARKET]
    assert len(cache) == 1
    await world.store.drivers.disconnect(MARKET, "n1", [("ann", 1)])
    assert len(cache) == 0


def test_cache_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mallard_engine.storage.position_cache._MOST", 10)
    cache = PositionCache(MarketPolicy())
    blob = bytes.fromhex("9a") + b"\x00" * 10
    for number in range(50):
        cache.learn(f"d{number}", blob)
        assert len(cache) <= 11
