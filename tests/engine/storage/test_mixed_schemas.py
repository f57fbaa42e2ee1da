"""What engines of schema 1 (commit 004825d) have left, and what those of schema 5 still write."""

import msgpack

from mallard_engine.core.model import Vehicle
from mallard_engine.storage.keys import place_of
from tests.engine.storage.worlds import LAT, LON, MALL, MARKET, World


async def found(world: World, *named: str) -> list[str]:
    """The jobs that a round would read."""
    read = await world.store.offers.candidates(
        MARKET, MALL, LAT, LON, radius_m=500, max_radius_m=500, drivers=1, jobs=10, named=named
    )
    return [job.job for job in read.waiting]


def old_wait(world: World) -> str:
    return world.keys.key(f"wait:{MALL}")


async def test_entry_of_schema_5_in_the_old_queue_goes_with_its_job(world: World) -> None:
    ref = await world.submit(priority=2)
    assert await world.redis.zcard(old_wait(world)) == 0
    created_ms = (await world.job(ref)).created_ms
    await world.redis.zadd(old_wait(world), {ref.job: created_ms - 2e12})
    packed = await world.redis.hget(world.keys.key("waiting"), ref.job)
    assert len(msgpack.unpackb(packed, raw=True)) == 5
    timeline = await world.redis.hget(world.keys.job(ref.job), "timeline")
    assert all(len(entry) == 4 for entry in msgpack.unpackb(timeline))
    await world.store.jobs.cancel(ref, "shop", "")
    assert await world.redis.zcard(old_wait(world)) == 0


async def test_hold_is_a_number_for_the_old_engine(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned()
    await world.store.jobs.problem(
        MARKET, "ann", kind="store_closed", mall=MALL, job=ref.job, store="lego",
        until_ms=None, text="",
    )  # fmt: skip
    values = await world.redis.hvals(world.keys.key("holds"))
    assert all(value.isdigit() for value in values)


async def test_job_queued_by_the_old_engine_is_adopted(world: World) -> None:
    ref = await world.submit()
    queue = world.keys.wait(MALL)
    await world.redis.delete(queue)  # the old engine does not write it
    assert await found(world) == []
    assert await found(world, ref.job) == [ref.job]
    await world.store.deadlines.retry_later(ref, 0, world.now + 1_000)
    assert await found(world) == [ref.job]
    assert await world.redis.zcard(queue) == 1


async def test_queue_entry_left_by_the_old_engine_is_removed(world: World) -> None:
    ref = await world.submit()
    other = await world.submit()
    waiting, queue = world.keys.key("waiting"), world.keys.wait(MALL)
    packed = await world.redis.hget(waiting, ref.job)
    await world.redis.hdel(waiting, ref.job)  # taken, but its queue entry remains
    assert await found(world) == [other.job]
    assert await world.redis.zcard(queue) == 1
    # Restored, as every test ends with an audit.
    await world.redis.hset(waiting, ref.job, packed)
    await world.store.deadlines.retry_later(ref, 0, world.now + 1_000)


async def test_pass_removes_an_orphaned_queue_entry(world: World) -> None:
    await world.submit()
    left = place_of("toys", 0, world.now, "job_phoenix.gone", "")
    await world.redis.zadd(world.keys.wait(MALL), {left: 0})
    fitting = await world.store.offers.waiting_that_fit(MARKET, MALL, [Vehicle()], "-", "+")
    assert len(fitting.jobs) == 1
    assert await world.redis.zcard(world.keys.wait(MALL)) == 1


async def test_steps_without_occurred_times_use_recorded_times(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned()
    await world.redis.hdel(world.keys.job(ref.job), "occurred")
    await world.pass_ms(1_000)
    await world.store.jobs.cancel(ref, "shop", "")
    timeline = (await world.job(ref)).timeline
    assert [entry.occurred_ms for entry in timeline] == [entry.at_ms for entry in timeline]
