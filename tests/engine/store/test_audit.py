"""The audit: a store that was well kept has no breach; each kind of breach, planted, is named."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.market_policy import MarketPolicy
from engine.ports import JobRef, StoreUnavailable
from engine.store.audit import Breach, audit
from engine.store.keys import place_of
from protocol.lifecycle import JobState, Outcome, Step
from tests.engine.store.worlds import HOUR_MS, MALL, MARKET, NODE, World

Plant = Callable[[World], Awaitable[None]]


async def set_job(world: World, ref: JobRef, **fields: Any) -> None:
    await world.redis.hset(world.keys.job(ref.job), mapping=fields)


async def change(world: World, name: str, field: str, **fields: Any) -> None:
    """Change a packed record of one of the market's hashes."""
    key = world.keys.key(name)
    record = msgspec.msgpack.decode(await world.redis.hget(key, field))
    await world.redis.hset(key, field, msgspec.msgpack.encode(record | fields))


async def held(world: World) -> JobRef:
    await world.driver("ann")
    return (await world.assigned("ann"))[0]


async def driver_without_its_job(world: World) -> None:
    await held(world)
    await change(world, "drivers", "ann", jobs=[])


async def job_without_its_driver(world: World) -> None:
    await set_job(world, await held(world), driver="bob")


async def held_job_of_nobody(world: World) -> None:
    await set_job(world, await held(world), driver="")


async def queued_job_of_somebody(world: World) -> None:
    await set_job(world, await world.submit(), driver="ann")


async def driver_holds_two(world: World) -> None:
    ref = await held(world)
    await world.driver("bob")
    other, attempt = await world.assigned("bob")
    await set_job(world, other, driver="ann")
    await change(world, "drivers", "bob", jobs=[])
    jobs = [(ref, 1), (other, attempt)]
    await change(
        world, "drivers", "ann", jobs=[{"job": r.job, "attempt": a, "mall": MALL} for r, a in jobs]
    )


async def driver_with_an_ended_offer(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.decline(MARKET, "ann", offer, "")
    await change(world, "drivers", "ann", offer=offer)


async def live_offer_that_its_driver_does_not_have(world: World) -> None:
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


async def job_that_vanished(world: World) -> None:
    await world.redis.delete(world.keys.job((await world.submit()).job))


async def open_job_that_will_vanish(world: World) -> None:
    await world.redis.expire(world.keys.job((await world.submit()).job), 600)


async def job_in_no_state(world: World) -> None:
    await set_job(world, await world.submit(), state="lingering")


async def accepted_job_that_was_taken_away(world: World) -> None:
    ref = await held(world)
    await set_job(world, ref, driver="bob")


async def offer_that_outlives_its_time(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.pass_ms(3_000 + 5_001)


async def attempt_that_fell(world: World) -> None:
    ref = await held(world)
    await world.store.release(ref, 1, Outcome.UNASSIGNED, "operator", "")
    await set_job(world, ref, attempt=0)


async def waiting_under_an_old_attempt(world: World) -> None:
    await set_job(world, await world.submit(), attempt=4)


async def key_without_its_job(world: World) -> None:
    ref = await world.submit()
    submission = world.keys.idempotency("books", "digest")
    await world.redis.set(submission, f"hash {ref.job}", ex=60)


async def external_id_of_another_job(world: World) -> None:
    ref, other = await world.submit(), await world.submit()
    external = (await world.job(ref)).external_id
    await world.redis.hset(world.keys.key("externals"), f"toys/{external}", other.job)


async def external_id_that_is_not_free_again(world: World) -> None:
    ref = await world.submit()
    external = (await world.job(ref)).external_id
    await world.store.cancel(ref, "toys", "")
    await world.redis.hset(world.keys.key("externals"), f"toys/{external}", ref.job)


async def job_that_rose_again(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    job = await world.job(ref)
    timeline = [(t.state, t.at_ms, t.actor, t.cause) for t in job.timeline]
    timeline.append(("queued", world.now, "eve", "declined"))
    await set_job(world, ref, state="queued", timeline=msgspec.msgpack.encode(timeline))


async def event_after_the_end(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    event = (await world.events("job"))[-1]
    again = event | {"from": "cancelled", "to": "queued", "job": ref.job}
    await world.redis.xadd(world.keys.key("events"), {"e": msgspec.msgpack.encode(again)})


async def suspended_driver_in_idle(world: World) -> None:
    await world.driver("ann")
    await change(world, "drivers", "ann", suspended=True)


async def driver_with_an_offer_in_idle(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.redis.geoadd(world.keys.key("idle"), (-111.9, 33.3, "ann"))


async def stale_driver_in_idle(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(60_000 + 2_001)


async def ghost_of_a_dead_node(world: World) -> None:
    await world.store.beat(MARKET, "n2")
    await world.driver("ann", node="n2")
    await world.pass_ms(1_500 + 2_001)


async def stranger_in_idle(world: World) -> None:
    await world.redis.geoadd(world.keys.key("idle"), (-111.9, 33.3, "eve"))


async def driver_that_its_node_forgot(world: World) -> None:
    await world.driver("ann")
    await world.redis.srem(world.keys.held(NODE), "ann")


async def drivers_of_a_node_without_a_lease(world: World) -> None:
    await world.redis.sadd(world.keys.held("n9"), "ann")


async def free_driver_that_nobody_finds(world: World) -> None:
    await world.driver("ann")
    await world.redis.zrem(world.keys.key("idle"), "ann")


async def count_that_is_off(world: World) -> None:
    await world.submit()
    await world.redis.hincrby(world.keys.key("counts"), "queued", 1)


async def job_counted_in_another_state(world: World) -> None:
    await world.submit()
    await world.redis.hincrby(world.keys.key("counts"), "queued", -1)
    await world.redis.hincrby(world.keys.key("counts"), "delivered", 1)


async def job_without_a_due_entry(world: World) -> None:
    ref = await world.submit()
    await world.redis.zrem(world.keys.key("due"), f"retry/{MALL}/{ref.job}")


async def due_entry_of_another_state(world: World) -> None:
    ref = await world.submit()
    await world.redis.zadd(world.keys.key("due"), {f"silent/{MALL}/{ref.job}": world.now})


async def due_entry_that_nobody_sees_to(world: World) -> None:
    await world.submit()
    await world.pass_ms(1_000 + 5_001)


async def job_that_did_not_expire(world: World) -> None:
    ref = await world.submit()
    await world.pass_ms(HOUR_MS + 5_001)
    await world.redis.zadd(world.keys.key("due"), {f"retry/{MALL}/{ref.job}": world.now})


async def queued_job_outside_the_queue(world: World) -> None:
    await world.submit()
    (place,) = await world.redis.zrange(world.keys.wait(MALL), 0, -1)
    await world.redis.zrem(world.keys.wait(MALL), place)


async def ended_job_in_the_queue(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    await world.redis.zadd(world.keys.wait("other"), {f"shop/1/{ref.job}/": 0})


async def job_in_no_list(world: World) -> None:
    ref = await world.submit()
    await world.redis.zrem(world.keys.key("by_age"), ref.job)


async def ended_job_without_a_ttl(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    await world.redis.persist(world.keys.job(ref.job))


async def key_that_nobody_knows(world: World) -> None:
    await world.redis.set(world.keys.key("lost-and-found"), "umbrella")


async def round_without_a_ttl(world: World) -> None:
    await world.redis.set(world.keys.round("job_phoenix.1"), "x")


async def ended_offer_that_stays(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.decline(MARKET, "ann", offer, "")
    await world.redis.zrem(world.keys.key("forget"), f"offer/{offer}")


async def record_that_cannot_be_read(world: World) -> None:
    await world.redis.hset(world.keys.key("drivers"), "ann", b"\xc1")


async def job_of_another_market(world: World) -> None:
    await set_job(world, await world.submit(), market="las-vegas")


PLANTED: list[tuple[str, Plant]] = [
    ("S1", driver_without_its_job),
    ("S1", job_without_its_driver),
    ("S1", held_job_of_nobody),
    ("S1", queued_job_of_somebody),
    ("S2", driver_holds_two),
    ("S2", driver_with_an_ended_offer),
    ("S2", live_offer_that_its_driver_does_not_have),
    ("S3", second_live_offer_of_a_job),
    ("S3", offered_job_without_its_offer),
    ("S4", job_that_vanished),
    ("S4", open_job_that_will_vanish),
    ("S4", job_in_no_state),
    ("S5", accepted_job_that_was_taken_away),
    ("S6", offer_that_outlives_its_time),
    ("S7", attempt_that_fell),
    ("S7", waiting_under_an_old_attempt),
    ("S8", key_without_its_job),
    ("S8", external_id_of_another_job),
    ("S8", external_id_that_is_not_free_again),
    ("S9", job_that_rose_again),
    ("S9", event_after_the_end),
    ("S10", suspended_driver_in_idle),
    ("S10", driver_with_an_offer_in_idle),
    ("S10", stale_driver_in_idle),
    ("S10", ghost_of_a_dead_node),
    ("S10", stranger_in_idle),
    ("S10", driver_that_its_node_forgot),
    ("S10", drivers_of_a_node_without_a_lease),
    ("S11", job_of_another_market),
    ("S13", count_that_is_off),
    ("S13", job_counted_in_another_state),
    ("S14", job_without_a_due_entry),
    ("S14", due_entry_of_another_state),
    ("L1", free_driver_that_nobody_finds),
    ("L2", job_that_did_not_expire),
    ("L3", due_entry_that_nobody_sees_to),
    ("queue", queued_job_outside_the_queue),
    ("queue", ended_job_in_the_queue),
    ("index", job_in_no_list),
    ("leak", ended_job_without_a_ttl),
    ("leak", key_that_nobody_knows),
    ("leak", round_without_a_ttl),
    ("leak", ended_offer_that_stays),
    ("record", record_that_cannot_be_read),
]


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=lambda p: getattr(p, "__name__", p))
async def test_a_planted_breach_is_named(planted: World, rule: str, plant: Plant) -> None:
    await plant(planted)
    found = await planted.breaches()
    assert rule in {breach.rule for breach in found}, found
    await planted.pass_ms(6_000)


async def test_a_breach_names_its_rule_and_its_thing(planted: World) -> None:
    ref = await planted.submit()
    await planted.redis.zrem(planted.keys.key("due"), f"retry/{MALL}/{ref.job}")
    assert await planted.breaches() == (
        Breach("S14", MARKET, "job", ref.job, "it is queued and has no due entry"),
    )


async def test_an_empty_store_and_a_busy_one_have_none(world: World) -> None:
    assert await world.breaches() == ()
    for number, state in enumerate(JobState):
        await world.driver(f"d{number}")
        await world.in_state(state, f"d{number}")
    assert await world.breaches() == ()


async def test_custody_on_top_of_another_job_is_no_breach(world: World) -> None:
    await world.driver("ann")
    first, attempt = await world.assigned("ann")
    await world.store.release(first, attempt, Outcome.SILENT, "engine", "")
    await world.assigned("ann")
    await world.step(first, Step.PICKED_UP, attempt)
    assert len((await world.record()).jobs) == 2
    assert await world.breaches() == ()


async def test_nothing_is_late_while_no_node_lives(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.driver("bob")
    world.clock.now_ms += 10 * HOUR_MS
    assert await world.breaches() == ()


async def test_what_was_under_way_is_not_named(planted: World) -> None:
    """A breach at the first look that has healed by the second was a change under way."""
    ref = await planted.submit()
    member = f"retry/{MALL}/{ref.job}"
    due = planted.keys.key("due")
    await planted.redis.zrem(due, member)

    async def heal(_: float) -> None:
        await planted.redis.zadd(due, {member: planted.now + 1_000})

    found = await audit(planted.url, {MARKET: planted.policy}, now_ms=planted.clock, sleep=heal)
    assert found.breaches == ()


async def test_it_is_bounded_and_tells_what_it_left_out(world: World) -> None:
    for _ in range(5):
        await world.submit()
    found = await audit(world.url, {MARKET: world.policy}, limit=3, settle_s=0, now_ms=world.clock)
    assert found.breaches == ()
    assert (found.looked_at["job"], found.left_out["job"]) == (3, 2)
    assert (found.looked_at["due"], found.left_out["due"]) == (3, 2)
    whole = await audit(world.url, {MARKET: world.policy}, settle_s=0, now_ms=world.clock)
    assert (whole.looked_at["job"], whole.left_out) == (5, {})


@pytest.mark.finding("B13")
async def test_all_of_a_large_store_is_looked_at(planted: World) -> None:
    """5,000 jobs, by copying one with what it leaves behind; one of them is not as it should be."""
    await copies(planted, await planted.submit(), 5_000)
    wrong = f"job_{MARKET}.copy{2_345:08}"
    await set_job(planted, JobRef(wrong, MALL), driver="ann")
    found = await audit(planted.url, {MARKET: planted.policy}, settle_s=0, now_ms=planted.clock)
    assert [(breach.rule, breach.id) for breach in found.breaches] == [("S1", wrong)]
    assert (found.looked_at["job"], found.left_out) == (5_000, {})


@pytest.mark.finding("B13")
async def test_a_wrong_count_of_many_jobs_is_named(planted: World) -> None:
    await copies(planted, await planted.submit(), 600)
    await planted.redis.hincrby(planted.keys.key("counts"), "queued", 1)
    found = await audit(planted.url, {MARKET: planted.policy}, settle_s=0, now_ms=planted.clock)
    whats = [breach.what for breach in found.breaches if breach.rule == "S13"]
    assert "600 jobs are queued, and 601 are counted" in whats


async def copies(world: World, ref: JobRef, number: int) -> None:
    """Make it this many jobs, each with its own entries."""
    keys, client = world.keys, world.redis
    fields = await client.hgetall(keys.job(ref.job))
    waiting = await client.hget(keys.key("waiting"), ref.job)
    external = fields[b"external_id"].decode()
    async with client.pipeline(transaction=False) as pipeline:
        for copy in range(number - 1):
            job = f"job_{MARKET}.copy{copy:08}"
            own = {"id": job, "external_id": f"{external}-{copy}", "key": f"{copy:064}"}
            pipeline.hset(keys.job(job), mapping={**fields, **own})
            pipeline.zadd(keys.key("by_age"), {job: 0})
            pipeline.zadd(keys.key("by_service"), {f"{fields[b'service'].decode()}/{job}": 0})
            name = keys.idempotency(fields[b"service"].decode(), own["key"])
            pipeline.set(name, f"hash {job}", ex=3600)
            pipeline.hset(
                keys.key("externals"), f"{fields[b'service'].decode()}/{own['external_id']}", job
            )
            pipeline.zadd(keys.key("due"), {f"retry/{MALL}/{job}": world.now + HOUR_MS})
            told = (int(fields[b"priority"]), int(fields[b"created_ms"]))
            service, demand = fields[b"service"].decode(), fields[b"demand"].decode()
            pipeline.zadd(keys.wait(MALL), {place_of(service, *told, job, demand): 0})
            pipeline.hset(keys.key("waiting"), job, waiting)
        pipeline.hincrby(keys.key("counts"), "submitted", number - 1)
        pipeline.hincrby(keys.key("counts"), "queued", number - 1)
        await pipeline.execute()


@pytest.mark.finding("B13")
async def test_jobs_are_counted_right_while_they_change(world: World) -> None:
    """More jobs than a page, submitted and cancelled while the audit counts them."""
    refs = [await world.submit() for _ in range(300)]
    stop = asyncio.Event()

    async def meanwhile() -> None:
        for ref in refs:
            await world.store.cancel(ref, "toys", "")
            await world.submit()
            if stop.is_set():
                return

    task = asyncio.create_task(meanwhile())
    for _ in range(5):
        found = await audit(world.url, {MARKET: world.policy}, settle_s=0, now_ms=world.clock)
        assert [breach for breach in found.breaches if breach.rule == "S13"] == []
    stop.set()
    await task


@pytest.mark.finding("B13")
@pytest.mark.parametrize("how", ["emptied", "trimmed", "cut short"])
async def test_an_event_stream_that_lost_events_is_named(planted: World, how: str) -> None:
    first = await planted.submit()
    planted.clock.now_ms += 60_000
    await planted.store.cancel(await planted.submit(), "toys", "")
    events = planted.keys.key("events")
    entries = await planted.redis.xrange(events)
    if how == "emptied":
        await planted.redis.xtrim(events, maxlen=0, approximate=False)
    elif how == "trimmed":
        await planted.redis.xdel(events, entries[0][0])
    else:
        await planted.redis.xdel(events, *(entry for entry, _ in entries[1:]))
    assert first is not None
    assert "events" in {breach.rule for breach in await planted.breaches(swept=False)}


@pytest.mark.finding("B13")
async def test_an_idempotency_key_of_another_job_is_named(planted: World) -> None:
    await planted.submit()
    other = await planted.submit()
    mine, _ = sorted(await planted.redis.keys(planted.keys.key("idempotency:*")))
    value = (await planted.redis.get(mine)).split()
    jobs = [job.decode() for job in await planted.redis.zrange(planted.keys.key("by_age"), 0, -1)]
    (wrong,) = [job for job in jobs if job != value[1].decode()]
    assert other.job in jobs
    await planted.redis.set(mine, value[0] + b" " + wrong.encode(), ex=3600)
    (breach,) = await planted.breaches()
    assert (breach.rule, breach.kind) == ("S8", "key")
    assert "another key" in breach.what


@pytest.mark.finding("B6")
async def test_a_full_store_can_be_audited(world: World) -> None:
    await world.driver("ann")
    await world.assigned("ann")
    await world.redis.config_set("maxmemory", 1)
    try:
        found = await audit(world.url, {MARKET: world.policy}, settle_s=0, now_ms=world.clock)
    finally:
        await world.redis.config_set("maxmemory", 0)
    assert (found.breaches, found.looked_at["job"]) == ((), 1)


async def test_a_key_of_another_type_is_named(planted: World) -> None:
    ref = await planted.submit()
    await planted.redis.delete(planted.keys.job(ref.job))
    await planted.redis.set(planted.keys.job(ref.job), "no hash")
    rules = {(breach.rule, breach.kind) for breach in await planted.breaches()}
    assert ("record", "job") in rules


async def test_it_writes_nothing(world: World) -> None:
    await world.driver("ann")
    await world.assigned("ann")
    before = await world.dump()
    await world.breaches()
    assert await world.dump() == before


async def test_a_store_that_is_not_there_is_told() -> None:
    with pytest.raises(StoreUnavailable):
        await audit("redis://127.0.0.1:1/0", {MARKET: MarketPolicy()})
