"""The audit: a consistent Redis has no breach, and each planted breach is reported."""

import asyncio

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef, StoreUnavailable
from mallard_engine.storage.audit.audit import Breach, audit
from mallard_engine.storage.keys import place_of
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.breaches.planted import PLANTED
from tests.engine.storage.breaches.writing import Plant, set_job
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=lambda p: getattr(p, "__name__", p))
async def test_planted_breach_is_reported(planted: World, rule: str, plant: Plant) -> None:
    await plant(planted)
    found = await planted.breaches()
    assert rule in {breach.rule for breach in found}, found
    await planted.pass_ms(6_000)


async def test_breach_has_rule_market_kind_and_id(planted: World) -> None:
    ref = await planted.submit()
    await planted.redis.zrem(planted.keys.key("due"), f"retry/{MALL}/{ref.job}")
    assert await planted.breaches() == (
        Breach("S14", MARKET, "job", ref.job, "it is queued and has no due entry"),
    )


async def test_empty_or_busy_store_has_no_breach(world: World) -> None:
    assert await world.breaches() == ()
    for number, state in enumerate(JobState):
        await world.driver(f"d{number}")
        await world.in_state(state, f"d{number}")
    assert await world.breaches() == ()


async def test_custody_on_top_of_another_job_is_no_breach(world: World) -> None:
    await world.driver("ann")
    first, attempt = await world.assigned("ann")
    await world.store.jobs.release(first, attempt, Outcome.SILENT, "engine", "")
    await world.assigned("ann")
    await world.step(first, Step.PICKED_UP, attempt)
    assert len((await world.record()).jobs) == 2
    assert await world.breaches() == ()


async def test_nothing_is_late_without_a_live_node(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.driver("bob")
    world.clock.now_ms += 10 * HOUR_MS
    assert await world.breaches() == ()


async def test_breach_healed_by_the_second_check_is_not_reported(planted: World) -> None:
    """A breach that is gone at the second check was a change in progress."""
    ref = await planted.submit()
    member = f"retry/{MALL}/{ref.job}"
    due = planted.keys.key("due")
    await planted.redis.zrem(due, member)

    async def heal(_: float) -> None:
        await planted.redis.zadd(due, {member: planted.now + 1_000})

    found = await audit(planted.url, {MARKET: planted.policy}, now_ms=planted.clock, sleep=heal)
    assert found.breaches == ()


async def test_audit_is_bounded_and_counts_what_it_skipped(world: World) -> None:
    for _ in range(5):
        await world.submit()
    found = await audit(world.url, {MARKET: world.policy}, limit=3, settle_s=0, now_ms=world.clock)
    assert found.breaches == ()
    assert (found.looked_at["job"], found.left_out["job"]) == (3, 2)
    assert (found.looked_at["due"], found.left_out["due"]) == (3, 2)
    whole = await audit(world.url, {MARKET: world.policy}, settle_s=0, now_ms=world.clock)
    assert (whole.looked_at["job"], whole.left_out) == (5, {})


@pytest.mark.slow
@pytest.mark.finding("B13")
async def test_every_job_of_a_large_store_is_checked(planted: World) -> None:
    """5,000 jobs, copied from one with its index entries; one of them is inconsistent."""
    await copies(planted, await planted.submit(), 5_000)
    wrong = f"job_{MARKET}.copy{2_345:08}"
    await set_job(planted, JobRef(wrong, MALL), driver="ann")
    found = await audit(planted.url, {MARKET: planted.policy}, settle_s=0, now_ms=planted.clock)
    assert [(breach.rule, breach.id) for breach in found.breaches] == [("S1", wrong)]
    assert (found.looked_at["job"], found.left_out) == (5_000, {})


@pytest.mark.finding("B13")
async def test_wrong_count_of_many_jobs_is_reported(planted: World) -> None:
    await copies(planted, await planted.submit(), 600)
    await planted.redis.hincrby(planted.keys.key("counts"), "queued", 1)
    found = await audit(planted.url, {MARKET: planted.policy}, settle_s=0, now_ms=planted.clock)
    whats = [breach.what for breach in found.breaches if breach.rule == "S13"]
    assert "600 jobs are queued, but 601 are counted" in whats


async def copies(world: World, ref: JobRef, number: int) -> None:
    """Copy the job until there are `number`, each with its own index entries."""
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
            pipeline.zadd(keys.key("risks"), {job: 0})
            pipeline.zadd(keys.key("by_service"), {f"{fields[b'service'].decode()}/{job}": 0})
            name = keys.idempotency(fields[b"service"].decode(), own["key"])
            pipeline.set(name, f"hash {job}", ex=3600)
            pipeline.hset(
                keys.key("externals"), f"{fields[b'service'].decode()}/{own['external_id']}", job
            )
            pipeline.zadd(keys.key("due"), {f"retry/{MALL}/{job}": world.now + HOUR_MS})
            order = (int(fields[b"priority"]), int(fields[b"created_ms"]))
            service, demand = fields[b"service"].decode(), fields[b"demand"].decode()
            pipeline.zadd(keys.wait(MALL), {place_of(service, *order, job, demand): 0})
            pipeline.hset(keys.key("waiting"), job, waiting)
        pipeline.hincrby(keys.key("counts"), "submitted", number - 1)
        pipeline.hincrby(keys.key("counts"), "queued", number - 1)
        await pipeline.execute()


@pytest.mark.finding("B13")
async def test_counts_are_right_while_jobs_change(world: World) -> None:
    """More jobs than one page are submitted and cancelled while the audit counts them."""
    refs = [await world.submit() for _ in range(300)]
    stop = asyncio.Event()

    async def meanwhile() -> None:
        for ref in refs:
            await world.store.jobs.cancel(ref, "toys", "")
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
async def test_lost_events_are_reported(planted: World, how: str) -> None:
    first = await planted.submit()
    planted.clock.now_ms += 60_000
    await planted.store.jobs.cancel(await planted.submit(), "toys", "")
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
async def test_idempotency_key_of_another_job_is_reported(planted: World) -> None:
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
async def test_full_store_can_be_audited(world: World) -> None:
    await world.driver("ann")
    await world.assigned("ann")
    await world.redis.config_set("maxmemory", 1)
    try:
        found = await audit(world.url, {MARKET: world.policy}, settle_s=0, now_ms=world.clock)
    finally:
        await world.redis.config_set("maxmemory", 0)
    assert (found.breaches, found.looked_at["job"]) == ((), 1)


async def test_key_of_another_type_is_reported(planted: World) -> None:
    ref = await planted.submit()
    await planted.redis.delete(planted.keys.job(ref.job))
    await planted.redis.set(planted.keys.job(ref.job), "no hash")
    rules = {(breach.rule, breach.kind) for breach in await planted.breaches()}
    assert ("record", "job") in rules


async def test_audit_writes_nothing(world: World) -> None:
    await world.driver("ann")
    await world.assigned("ann")
    before = await world.dump()
    await world.breaches()
    assert await world.dump() == before


async def test_unreachable_store_raises() -> None:
    with pytest.raises(StoreUnavailable):
        await audit("redis://127.0.0.1:1/0", {MARKET: MarketPolicy()})


async def test_role_without_an_end_is_reported(planted: World) -> None:
    """A role that its holder renews ends by itself once the holder is dead."""
    await planted.store.leases.hold_role(MARKET, "archive", "a", 60_000)
    assert await planted.breaches() == ()
    await planted.redis.persist(planted.keys.role("archive"))
    (breach,) = await planted.breaches()
    assert (breach.rule, breach.kind, breach.id) == ("leak", "key", "role:archive")
    await planted.redis.delete(planted.keys.role("archive"))


async def test_ended_jobs_are_counted_as_far_as_they_are_there(planted: World) -> None:
    for _ in range(2):
        await planted.in_state(JobState.CANCELLED)
    counts = planted.keys.key("counts")
    await planted.redis.hincrby(counts, "cancelled", -1)
    await planted.redis.hincrby(counts, "expired", 1)
    # All that was submitted is there, so each count must be right.
    whats = {it.what for it in await planted.breaches()}
    assert whats == {
        "2 jobs are cancelled, but 1 are counted",
        "0 jobs are expired, but 1 are counted",
    }
    await planted.redis.hincrby(counts, "submitted", 5)
    await planted.redis.hincrby(counts, "delivered", 5)
    # Some are gone: no count is less than what is there.
    assert {it.what for it in await planted.breaches()} == {
        "2 jobs are cancelled, but 1 are counted"
    }
