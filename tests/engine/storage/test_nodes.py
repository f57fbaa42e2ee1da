"""What a node announces of itself, and how it reads the wish that it drains."""

from dataclasses import replace

from mallard_engine.ports import NodeReport
from tests.engine.storage.worlds import NODE, World

_KEY = "mallard:nodes"


async def _seen(world: World) -> int | None:
    seen = await world.redis.hget(_KEY, f"{NODE}/seen")
    return None if seen is None else int(seen)


def _report(world: World) -> NodeReport:
    return NodeReport(NODE, "", "1", world.now, {}, is_leaving=False)


async def test_what_has_not_changed_is_written_every_other_time(world: World) -> None:
    report, seen = _report(world), []
    for _ in range(4):
        world.clock.now_ms += 1_000
        await world.store.nodes.announce(report)
        seen.append(world.now - (await _seen(world) or 0))
    assert seen == [0, 1_000, 0, 1_000]


async def test_what_has_changed_is_written_at_once(world: World) -> None:
    report = _report(world)
    for drivers in range(3):
        world.clock.now_ms += 1_000
        await world.store.nodes.announce(replace(report, drivers={"phoenix": drivers}))
        assert await _seen(world) == world.now
    world.clock.now_ms += 1_000
    await world.store.nodes.announce(replace(report, drivers={"phoenix": 2}), has_stopped=True)
    (known,) = await world.store.nodes.all()
    assert known.has_stopped


async def test_wish_to_drain_is_read_each_time(world: World) -> None:
    report = _report(world)
    assert await world.store.nodes.announce(report) is None
    asked = await world.store.nodes.ask_drain(NODE, "boss")
    for _ in range(2):
        assert await world.store.nodes.announce(report) == asked


async def _scripts(world: World) -> int:
    stats = await world.redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


async def test_report_is_repeated_without_a_script(world: World) -> None:
    report = _report(world)
    await world.store.nodes.announce(report)
    asked = await world.store.nodes.ask_drain(NODE, "boss")
    before = await _scripts(world)
    for _ in range(4):
        world.clock.now_ms += 1_000
        assert await world.store.nodes.announce(report) == asked
    assert await _scripts(world) == before


async def test_report_that_redis_has_lost_is_written_again(world: World) -> None:
    report = _report(world)
    await world.store.nodes.announce(report)
    await world.redis.delete(_KEY)
    for _ in range(2):
        await world.store.nodes.announce(report)
    (known,) = await world.store.nodes.all()
    assert known.report == report


async def test_report_is_repeated_on_a_full_redis(world: World) -> None:
    report = _report(world)
    await world.store.nodes.announce(report)
    await world.redis.config_set("maxmemory", 1)
    try:
        for _ in range(2):
            world.clock.now_ms += 1_000
            await world.store.nodes.announce(report)
    finally:
        await world.redis.config_set("maxmemory", 0)
    assert await _seen(world) == world.now
