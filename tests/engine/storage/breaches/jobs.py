"""Breaches of jobs: states, attempts, keys, queues, deadlines, lists."""

import msgspec

from mallard_protocol.lifecycle import JobState, Outcome
from tests.engine.storage.breaches.writing import Plant, change, held, set_job
from tests.engine.storage.worlds import HOUR_MS, MALL, World


async def deleted_open_job(world: World) -> None:
    await world.redis.delete(world.keys.job((await world.submit()).job))


async def open_job_with_a_ttl(world: World) -> None:
    await world.redis.expire(world.keys.job((await world.submit()).job), 600)


async def job_in_an_unknown_state(world: World) -> None:
    await set_job(world, await world.submit(), state="lingering")


async def attempt_that_decreased(world: World) -> None:
    ref = await held(world)
    await world.store.jobs.release(ref, 1, Outcome.UNASSIGNED, "operator", "")
    await set_job(world, ref, attempt=0)


async def queue_entry_with_an_old_attempt(world: World) -> None:
    await set_job(world, await world.submit(), attempt=4)


async def idempotency_key_of_another_service(world: World) -> None:
    ref = await world.submit()
    submission = world.keys.idempotency("books", "digest")
    await world.redis.set(submission, f"hash {ref.job}", ex=60)


async def external_id_of_another_job(world: World) -> None:
    ref, other = await world.submit(), await world.submit()
    external = (await world.job(ref)).external_id
    await world.redis.hset(world.keys.key("externals"), f"toys/{external}", other.job)


async def external_id_of_a_cancelled_job(world: World) -> None:
    ref = await world.submit()
    external = (await world.job(ref)).external_id
    await world.store.jobs.cancel(ref, "toys", "")
    await world.redis.hset(world.keys.key("externals"), f"toys/{external}", ref.job)


async def reopened_job(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    job = await world.job(ref)
    timeline = [(t.state, t.at_ms, t.actor, t.cause) for t in job.timeline]
    timeline.append(("queued", world.now, "eve", "declined"))
    await set_job(world, ref, state="queued", timeline=msgspec.msgpack.encode(timeline))


async def event_after_the_terminal_state(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    event = (await world.events("job"))[-1]
    again = event | {"from": "cancelled", "to": "queued", "job": ref.job}
    await world.redis.xadd(world.keys.key("events"), {"e": msgspec.msgpack.encode(again)})


async def wrong_count(world: World) -> None:
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


async def overdue_due_entry(world: World) -> None:
    await world.submit()
    await world.pass_ms(1_000 + 5_001)


async def job_past_its_expiry(world: World) -> None:
    ref = await world.submit()
    await world.pass_ms(HOUR_MS + 5_001)
    await world.redis.zadd(world.keys.key("due"), {f"retry/{MALL}/{ref.job}": world.now})


async def open_job_whose_risk_is_forgotten(world: World) -> None:
    ref = await world.submit()
    await world.redis.zrem(world.keys.key("risks"), ref.job)


async def ended_job_whose_risk_is_looked_at(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    await world.redis.zadd(world.keys.key("risks"), {ref.job: 0})


async def queued_job_outside_the_queue(world: World) -> None:
    await world.submit()
    (place,) = await world.redis.zrange(world.keys.wait(MALL), 0, -1)
    await world.redis.zrem(world.keys.wait(MALL), place)


async def ended_job_in_the_queue(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    await world.redis.zadd(world.keys.wait("other"), {f"shop/1/{ref.job}/": 0})


async def job_outside_the_index_by_age(world: World) -> None:
    ref = await world.submit()
    await world.redis.zrem(world.keys.key("by_age"), ref.job)


async def ended_job_without_a_ttl(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    await world.redis.persist(world.keys.job(ref.job))


async def unknown_key(world: World) -> None:
    await world.redis.set(world.keys.key("lost-and-found"), "umbrella")


async def unreadable_record(world: World) -> None:
    await world.redis.hset(world.keys.key("drivers"), "ann", b"\xc1")


async def job_of_another_market(world: World) -> None:
    await set_job(world, await world.submit(), market="las-vegas")


async def job_listed_by_another_shop(world: World) -> None:
    ref = await world.submit()
    name = f"{MALL}/apple/{ref.job}"
    await world.redis.zadd(world.keys.key("by_shop"), {name: 0})
    await world.redis.zadd(world.keys.key("forget"), {f"shop/{name}": world.now + HOUR_MS})


async def entry_of_a_shop_that_is_never_forgotten(world: World) -> None:
    ref = await world.submit()
    await world.redis.zrem(world.keys.key("forget"), f"shop/{MALL}/lego/{ref.job}")


async def job_listed_for_the_customer_of_another_service(world: World) -> None:
    ref = await world.submit()
    name = f"cust/games/{ref.job}"
    await world.redis.zadd(world.keys.key("by_customer"), {name: 0})
    await world.redis.zadd(world.keys.key("forget"), {f"customer/{name}": world.now + HOUR_MS})


async def entry_of_a_customer_that_is_never_forgotten(world: World) -> None:
    ref = await world.submit(customer_ref="cust")
    await world.redis.zrem(world.keys.key("forget"), f"customer/cust/toys/{ref.job}")


async def erased_job_listed_for_its_customer(world: World) -> None:
    ref = await world.submit(customer_ref="cust")
    await set_job(world, ref, erased_ms=world.now)


async def record_with_another_drop_off(world: World) -> None:
    ref = await held(world)
    need = (await world.job(ref)).need
    job = {"job": ref.job, "attempt": 1, "mall": MALL, "lat": need.lat + 1, "lon": need.lon}
    await change(world, "drivers", "ann", jobs=[job | {"deadline_ms": need.deadline_ms}])


PLANTED: list[tuple[str, Plant]] = [
    ("S4", deleted_open_job),
    ("S4", open_job_with_a_ttl),
    ("S4", job_in_an_unknown_state),
    ("S7", attempt_that_decreased),
    ("S7", queue_entry_with_an_old_attempt),
    ("S8", idempotency_key_of_another_service),
    ("S8", external_id_of_another_job),
    ("S8", external_id_of_a_cancelled_job),
    ("S9", reopened_job),
    ("S9", event_after_the_terminal_state),
    ("S11", job_of_another_market),
    ("S11", job_listed_by_another_shop),
    ("S11", job_listed_for_the_customer_of_another_service),
    ("leak", entry_of_a_customer_that_is_never_forgotten),
    ("index", erased_job_listed_for_its_customer),
    ("S13", wrong_count),
    ("S13", job_counted_in_another_state),
    ("risk", open_job_whose_risk_is_forgotten),
    ("leak", ended_job_whose_risk_is_looked_at),
    ("S14", job_without_a_due_entry),
    ("S14", due_entry_of_another_state),
    ("L2", job_past_its_expiry),
    ("L3", overdue_due_entry),
    ("queue", queued_job_outside_the_queue),
    ("queue", ended_job_in_the_queue),
    ("index", job_outside_the_index_by_age),
    ("leak", ended_job_without_a_ttl),
    ("leak", unknown_key),
    ("leak", entry_of_a_shop_that_is_never_forgotten),
    ("record", unreadable_record),
    ("record", record_with_another_drop_off),
]
