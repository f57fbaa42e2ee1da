"""No leaks: after many ended jobs, sets are empty and keys have a TTL."""

import itertools

from mallard_engine.storage import schema
from mallard_protocol.lifecycle import TERMINAL, JobState, Outcome, Step
from tests.engine.storage.worlds import MALL, MARKET, NODE, OFFER_MS, World

CYCLES = 3
DRIVERS = 4
WEEK_MS = 7 * 86_400_000

# Keys that stay without a TTL once all is done, and why.
LASTING = {
    "counts",  # one number a state; S13 adds them up over the market's life
    "events",  # a stream, trimmed by age
    f"push:{NODE}",  # a stream, trimmed by length, deleted with its node's lease
    "dwell",  # a sketch of 73 bytes a store
    "nodes",  # the leases of the nodes that live
    schema.KEY,  # the versions that may share Redis
    "leases",  # when they began
    "lineage",  # which server it was last, and when it last lost writes
}


async def complete_job(world: World, number: int, driver: str) -> None:
    """Bring a job to a terminal state; `number` selects which one and how."""
    store = world.store
    ends = itertools.cycle(sorted(TERMINAL))
    end = next(itertools.islice(ends, number, None))
    if number % 5 == 0:
        ref = await world.submit(state=JobState.SCHEDULED, release_ms=world.now)
        await store.deadlines.queue(ref)
    else:
        ref = await world.submit()
    if end is JobState.EXPIRED:
        await store.deadlines.expire(ref, "nobody_in_reach", 0)
        return
    offer = await world.offer(ref, driver)
    if number % 2:
        await store.offers.decline(MARKET, driver, offer, "")
        await world.pass_ms(30_000)
        await store.deadlines.driver_due(MARKET, driver)
        await world.fix(driver)
        await store.jobs.assign(ref, driver, "operator")
    else:
        await store.offers.accept(MARKET, driver, offer)
    if end is JobState.CANCELLED:
        await store.jobs.cancel(ref, "toys", "")
        return
    attempt = (await world.job(ref)).attempt
    if end is JobState.FAILED:
        await world.problem(ref, "missing", driver)
        held = (await world.job(ref)).hold
        assert held is not None
        await world.pass_ms(held.until_ms - world.now)
        await store.deadlines.queue(ref)
        await world.fix(driver)
        return
    if number % 3:
        await world.step(ref, Step.AT_MALL, attempt, driver)
        await world.pass_ms(20_000)
    await world.step(ref, Step.PICKED_UP, attempt, driver)
    if end is JobState.LOST:
        await store.jobs.close(ref, end, "operator", "")
        return
    if end is JobState.RETURNED:
        await world.step(ref, Step.RETURNING, attempt, driver)
    await world.step(ref, Step(end.value), attempt, driver)


async def lapse_and_give_up(world: World, driver: str) -> None:
    """Give one job every other outcome of an offer and of an assignment, then cancel it."""
    store = world.store
    ref, offer = await world.offered(driver)
    await world.pass_ms(3_000)
    await store.deadlines.lapse(await world.entry(ref))
    await store.drivers.seen(MARKET, driver)
    await store.jobs.problem(
        MARKET, driver, kind="not_ready", mall=MALL, job="", store="lego", until_ms=None, text=""
    )
    await world.pass_ms(58_000)
    await world.fix(driver)
    await world.pass_ms(2_000)
    offer = await world.offer(ref, driver)
    await store.offers.withdraw(ref, offer, "operator")
    offer = await world.offer(ref, driver)
    await store.offers.ack(MARKET, driver, offer)
    await world.pass_ms(OFFER_MS)
    await store.deadlines.lapse(await world.entry(ref))
    await store.jobs.assign(ref, driver, "operator")
    attempt = (await world.job(ref)).attempt
    await world.step(ref, Step.GIVE_UP, attempt, driver)
    await store.jobs.assign(ref, driver, "operator")
    await store.jobs.release(ref, attempt + 2, Outcome.SILENT, "engine", "")
    await store.jobs.cancel(ref, "toys", "")
    await world.pass_ms(30_000)
    await store.deadlines.driver_due(MARKET, driver)
    await world.fix(driver)


async def test_only_lasting_keys_are_left_after_many_jobs(world: World) -> None:
    drivers = [await world.driver(f"d{number}") for number in range(DRIVERS)]
    for number in range(CYCLES * len(TERMINAL) * 2):
        for driver in drivers:
            await world.fix(driver)
        await complete_job(world, number, drivers[number % DRIVERS])
        await world.pass_ms(1_000)
    await lapse_and_give_up(world, drivers[0])
    for driver in drivers:
        await world.fix(driver)
        await world.store.deadlines.driver_due(MARKET, driver)
    assert await world.breaches() == ()

    keys = world.keys
    assert await world.waiting() == []
    assert await world.idle() == set(drivers)
    assert {member.partition("/")[0] for member in await world.due()} == {"driver"}
    for driver in drivers:
        await world.store.drivers.disconnect(MARKET, NODE, [(driver, 1)])
    assert await world.idle() == set()
    await world.drop_what_has_a_ttl()
    # A name in the index of external ids goes up to an hour after its job.
    for ms in (WEEK_MS, 3_600_000):
        await world.pass_ms(ms)
        while await world.store.deadlines.forget(MARKET):
            pass
        while (await world.store.deadlines.pack(MARKET)).is_more:
            pass
    for driver in drivers:
        await world.store.deadlines.driver_due(MARKET, driver)

    left = {key.decode().removeprefix(keys.key("")) for key in await world.redis.keys("*")}
    assert left == LASTING
    assert await world.redis.zrange(keys.key("nodes"), 0, -1) == [NODE.encode()]
    counts = await world.store.jobs.counts(MARKET)
    assert counts["submitted"] == sum(counts[end] for end in TERMINAL)


async def test_event_stream_is_trimmed_by_age(world: World) -> None:
    async def come_and_go() -> None:
        await world.store.jobs.cancel(await world.submit(), "toys", "")

    for _ in range(60):  # a stream is trimmed by whole nodes, of 100 entries
        await come_and_go()
    before = len(await world.events())
    await world.pass_ms(86_400_001)
    await come_and_go()
    assert len(await world.events()) < before
