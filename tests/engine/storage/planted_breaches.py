"""Breaches to plant in a store that was well kept, each with the rule that it breaks."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, Outcome
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, NODE, World

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
    await world.store.offers.decline(MARKET, "ann", offer, "")
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
    await world.store.jobs.release(ref, 1, Outcome.UNASSIGNED, "operator", "")
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
    await world.store.jobs.cancel(ref, "toys", "")
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
    await world.store.leases.beat(MARKET, "n2")
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
    await world.store.offers.decline(MARKET, "ann", offer, "")
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
