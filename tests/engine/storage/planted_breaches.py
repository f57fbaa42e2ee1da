"""Breaches to plant in a consistent store, each with the rule that it breaks."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mallard_engine.core.vehicles import DriverProfile, StatedVehicle
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, Outcome, Step
from mallard_protocol.messages import Proof
from tests.engine.storage.transfers import CODE, begin_transfer
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


async def held_job_without_a_driver(world: World) -> None:
    await set_job(world, await held(world), driver="")


async def queued_job_with_a_driver(world: World) -> None:
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


async def _transferred(world: World) -> JobRef:
    """A transfer from ann to bob, with the parcel handed over."""
    await world.driver("ann")
    await world.picked_up("ann")
    await world.driver("bob")
    transfer = await begin_transfer(world, "ann", driver="bob")
    await world.store.transfers.take_over(
        transfer, "bob", 1, at_ms=None, proof=Proof("code", CODE), jobs=None
    )
    return transfer


async def unused_image_of_a_job(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up("ann")
    photo = await world.photo()
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.DELIVERED, at_ms=None, proof=photo, reason=""
    )
    await world.redis.zadd(world.keys.key("unused_proofs"), {f"ann/{photo.value}": 0})


async def image_that_its_job_does_not_have(world: World) -> None:
    image, ref = await world.image(), await world.submit()
    await world.redis.zrem(world.keys.key("unused_proofs"), f"ann/{image}")
    await set_job(world, ref, proofs=msgspec.msgpack.encode([]))
    await change(world, "proofs", image, job=ref.job)


async def image_that_is_never_forgotten(world: World) -> None:
    image = await world.image()
    await world.redis.zrem(world.keys.key("forget"), f"proof/ann/{image}")


async def parcel_with_two_holders(world: World) -> None:
    await _transferred(world)
    (held,) = (await world.record("bob")).jobs
    kept = {"job": held.job, "attempt": held.attempt, "mall": held.mall}
    await change(world, "drivers", "ann", jobs=[kept])


async def parcel_with_the_first_drivers_attempt(world: World) -> None:
    transfer = await _transferred(world)
    (job,) = (await world.job(transfer)).carries
    await set_job(world, JobRef(job, MALL), attempt=1)


async def transfer_to_its_first_driver(world: World) -> None:
    await set_job(world, await _transferred(world), driver="ann")


async def transfer_on_board(world: World) -> None:
    await world.driver("ann")
    await world.picked_up("ann")
    await set_job(world, await begin_transfer(world, "ann"), state="picked_up")


async def driver_with_an_ended_offer(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await change(world, "drivers", "ann", offer=offer)


async def live_offer_missing_from_its_driver(world: World) -> None:
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


async def deleted_open_job(world: World) -> None:
    await world.redis.delete(world.keys.job((await world.submit()).job))


async def open_job_with_a_ttl(world: World) -> None:
    await world.redis.expire(world.keys.job((await world.submit()).job), 600)


async def job_in_an_unknown_state(world: World) -> None:
    await set_job(world, await world.submit(), state="lingering")


async def accepted_job_moved_to_another_driver(world: World) -> None:
    ref = await held(world)
    await set_job(world, ref, driver="bob")


async def overdue_offer(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    await world.pass_ms(3_000 + 5_001)


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


async def driver_of_a_dead_node_in_idle(world: World) -> None:
    await world.store.leases.beat(MARKET, "n2")
    await world.driver("ann", node="n2")
    await world.pass_ms(1_500 + 2_001)


async def unknown_driver_in_idle(world: World) -> None:
    await world.redis.geoadd(world.keys.key("idle"), (-111.9, 33.3, "eve"))


async def driver_missing_from_its_node(world: World) -> None:
    await world.driver("ann")
    await world.redis.srem(world.keys.held(NODE), "ann")


async def drivers_of_a_node_without_a_lease(world: World) -> None:
    await world.redis.sadd(world.keys.held("n9"), "ann")


async def free_driver_outside_the_index(world: World) -> None:
    await world.driver("ann")
    await world.redis.zrem(world.keys.key("idle"), "ann")


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


async def round_without_a_ttl(world: World) -> None:
    await world.redis.set(world.keys.round("job_phoenix.1"), "x")


async def ended_offer_that_is_never_forgotten(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered("ann")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.redis.zrem(world.keys.key("forget"), f"offer/{offer}")


async def registered(world: World) -> None:
    await world.driver("ann")
    vehicle = StatedVehicle(kind="car", max_jobs=4, equipment=("lift",))
    profile = DriverProfile(vehicle=vehicle, qualifications=("alcohol",))
    await world.store.register.put(MARKET, "ann", profile, suspended=False, actor="boss")


async def vehicle_above_its_registration(world: World) -> None:
    await registered(world)
    vehicle = {"kind": "car", "max_jobs": 5, "max_weight_g": 1, "max_volume_l": 1}
    await change(world, "drivers", "ann", vehicle=vehicle | {"equipment": ["alcohol"]})


async def equipment_that_is_not_registered(world: World) -> None:
    await registered(world)
    vehicle = {"kind": "car", "max_jobs": 4, "max_weight_g": 1, "max_volume_l": 1}
    await change(world, "drivers", "ann", vehicle=vehicle | {"equipment": ["crane"]})


async def qualifications_that_are_not_registered(world: World) -> None:
    await registered(world)
    await change(world, "drivers", "ann", qualifications=["alcohol", "hazmat"])


async def unreadable_entry_of_the_register(world: World) -> None:
    await world.redis.hset(world.keys.key("registry"), "bob", b"\xc1")


async def alias_without_a_ttl(world: World) -> None:
    await world.redis.set(world.keys.alias("toys", "ann"), "driver-x")


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


async def set_shop(world: World, ref: JobRef, **fields: Any) -> None:
    shop = {"store": "lego", "state": "collected", "collected": 2, "holds": 0} | fields
    await set_job(world, ref, shops=msgspec.msgpack.encode([shop]))


async def more_collected_than_ordered(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.picked_up("ann")
    await set_shop(world, ref, collected=3)


async def parcels_of_an_unknown_shop(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.picked_up("ann")
    await set_shop(world, ref, store="nobody", collected=1)


async def collected_before_the_pickup(world: World) -> None:
    await set_shop(world, await held(world))


async def offered_at_a_paused_shop(world: World) -> None:
    await world.driver("ann")
    await world.offered("ann")
    pause = msgspec.msgpack.encode((world.now - 1_000, "boss", ""))
    await world.redis.hset(world.keys.key("pauses"), f"{MALL}/lego", pause)


async def offered_without_an_answer(world: World) -> None:
    await set_shop(world, await world.submit(), state="missing", collected=0)


async def _held_job(world: World) -> JobRef:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann")
    await world.collect(ref, attempt, 0)
    return ref


async def held_job_released_at_another_time(world: World) -> None:
    ref = await _held_job(world)
    await set_job(world, ref, release_ms=world.now + 1)


async def queued_job_that_is_held(world: World) -> None:
    hold = {"why": "missing", "store": "lego", "until_ms": world.now}
    await set_job(world, await world.submit(), held=msgspec.msgpack.encode(hold))


async def failed_without_a_reason(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", order={"on_missing": "fail"})
    await world.collect(ref, attempt, 0)
    await set_job(world, ref, reason="bad luck")


PLANTED: list[tuple[str, Plant]] = [
    ("shop", more_collected_than_ordered),
    ("shop", parcels_of_an_unknown_shop),
    ("shop", collected_before_the_pickup),
    ("shop", offered_without_an_answer),
    ("pause", offered_at_a_paused_shop),
    ("shop", held_job_released_at_another_time),
    ("shop", queued_job_that_is_held),
    ("shop", failed_without_a_reason),
    ("S1", driver_without_its_job),
    ("S1", job_without_its_driver),
    ("S1", held_job_without_a_driver),
    ("S1", queued_job_with_a_driver),
    ("S1", parcel_with_two_holders),
    ("S7", parcel_with_the_first_drivers_attempt),
    ("S1", transfer_to_its_first_driver),
    ("S1", transfer_on_board),
    ("S2", driver_holds_two),
    ("S2", driver_with_an_ended_offer),
    ("S2", live_offer_missing_from_its_driver),
    ("S2", vehicle_above_its_registration),
    ("S2", equipment_that_is_not_registered),
    ("S2", qualifications_that_are_not_registered),
    ("S3", second_live_offer_of_a_job),
    ("S3", offered_job_without_its_offer),
    ("S4", deleted_open_job),
    ("S4", open_job_with_a_ttl),
    ("S4", job_in_an_unknown_state),
    ("S5", accepted_job_moved_to_another_driver),
    ("S6", overdue_offer),
    ("S7", attempt_that_decreased),
    ("S7", queue_entry_with_an_old_attempt),
    ("S8", idempotency_key_of_another_service),
    ("S8", external_id_of_another_job),
    ("S8", external_id_of_a_cancelled_job),
    ("S9", reopened_job),
    ("S9", event_after_the_terminal_state),
    ("S10", suspended_driver_in_idle),
    ("S10", driver_with_an_offer_in_idle),
    ("S10", stale_driver_in_idle),
    ("S10", driver_of_a_dead_node_in_idle),
    ("S10", unknown_driver_in_idle),
    ("S10", driver_missing_from_its_node),
    ("S10", drivers_of_a_node_without_a_lease),
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
    ("L1", free_driver_outside_the_index),
    ("L2", job_past_its_expiry),
    ("L3", overdue_due_entry),
    ("queue", queued_job_outside_the_queue),
    ("queue", ended_job_in_the_queue),
    ("index", job_outside_the_index_by_age),
    ("leak", ended_job_without_a_ttl),
    ("leak", unknown_key),
    ("leak", round_without_a_ttl),
    ("leak", alias_without_a_ttl),
    ("leak", ended_offer_that_is_never_forgotten),
    ("leak", entry_of_a_shop_that_is_never_forgotten),
    ("proof", unused_image_of_a_job),
    ("proof", image_that_its_job_does_not_have),
    ("leak", image_that_is_never_forgotten),
    ("record", unreadable_record),
    ("record", record_with_another_drop_off),
    ("record", unreadable_entry_of_the_register),
]
