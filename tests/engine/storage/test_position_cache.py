"""FastPath fixes: which are, and that a stale belief about what is stored has no effect."""

from collections.abc import Sequence

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverFix
from mallard_engine.storage.position_cache import FastPath, PositionCache
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.worlds import LAT, LON, MARKET, STALE_MS, World

SECOND_DEG = 0.0003  # some 33 m to the north: half of what the fastest make in a second


def fix(world: World, ago_ms: int = 0, lat: float = LAT, driver: str = "ann") -> DriverFix:
    return DriverFix(driver, world.now - ago_ms, lat, LON)


async def record(
    world: World, *fixes: DriverFix, by: RedisStorage | None = None
) -> tuple[str, ...]:
    return (await (by or world.store).drivers.record_positions(MARKET, fixes)).verdicts


def split(world: World, *fixes: DriverFix) -> tuple[FastPath, Sequence[int]]:
    return world.store.drivers._caches[MARKET].split(fixes, world.now)


async def known_driver(world: World) -> None:
    """A driver of whom the node knows what is stored."""
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


async def test_several_fixes_of_a_driver_are_judged_by_the_store(world: World) -> None:
    await known_driver(world)
    fixes = [fix(world, 500, LAT + 1e-5), fix(world, 100, LAT + 2e-5)]
    fast, rest = split(world, *fixes)
    assert (fast.indices, rest) == ([], [0, 1])
    assert await record(world, *fixes) == ("ok", "ok")
    ann = await world.record()
    assert ann.position is not None
    assert ann.position.lat == LAT + 2e-5


@pytest.mark.finding("C3")
async def test_the_last_fix_repeated_is_plain(world: World) -> None:
    await known_driver(world)
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
        (1_000, LAT + 1e-5, True),  # of the same moment as the last, at another place
        (1_001, LAT, True),  # older than the last
        (-4_500, LAT, True),  # almost as far ahead as may be
        (0, LAT + 0.001, True),  # faster than the fastest
        (0, LAT, False),
    ],
)
async def test_what_is_not_plain_is_judged(
    world: World, ago_ms: int, lat: float, inside: bool
) -> None:
    await known_driver(world)
    doubtful = fix(world, ago_ms, lat)._replace(fault="" if inside else "outside")
    assert split(world, doubtful)[1] == [0]
    # And so are the others of its driver, or their order would be lost.
    assert split(world, fix(world, 500), doubtful)[1] == [0, 1]


async def test_one_whose_position_grows_old_is_judged(world: World) -> None:
    await known_driver(world)
    await world.pass_ms(STALE_MS // 2)
    assert split(world, fix(world))[1] == [0]
    await world.pass_ms(STALE_MS)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == set()
    assert await record(world, fix(world)) == ("ok",)
    assert await world.idle() == {"ann"}


async def test_outdated_cache_has_no_effect(world: World, other_store: RedisStorage) -> None:
    await known_driver(world)
    # Another node gets a later fix; this one still goes by what it stored.
    assert await record(world, fix(world, lat=LAT + 2e-4), by=other_store) == ("ok",)
    late = fix(world, ago_ms=500, lat=LAT + 1e-4)
    assert split(world, late)[0].indices == [0]
    assert await record(world, late) == ("old",)
    ann = await world.record()
    assert ann.position is not None
    assert ann.position.lat == LAT + 2e-4
    # And now it knows.
    await world.pass_ms(1_000)
    assert split(world, fix(world))[0].indices == [0]
    assert await record(world, fix(world)) == ("ok",)


async def test_one_outdated_entry_among_many(world: World, other_store: RedisStorage) -> None:
    await known_driver(world)
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
    await known_driver(world)
    cache = world.store.drivers._caches[MARKET]
    assert len(cache) == 1
    await world.store.drivers.disconnect(MARKET, "n1", [("ann", 1)])
    assert len(cache) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mallard_engine.storage.position_cache._MOST", 10)
    cache = PositionCache(MarketPolicy())
    blob = bytes.fromhex("9a") + b"\x00" * 10
    for number in range(50):
        cache.learn(f"d{number}", blob)
        assert len(cache) <= 11
