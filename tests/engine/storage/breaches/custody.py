"""Breaches of custody: holders, transfers, proofs."""

import msgspec

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import Step
from mallard_protocol.messages import Proof
from tests.engine.storage.breaches.writing import Plant, change, held, set_job
from tests.engine.storage.transfers import CODE, begin_transfer
from tests.engine.storage.worlds import MALL, World


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


async def accepted_job_moved_to_another_driver(world: World) -> None:
    ref = await held(world)
    await set_job(world, ref, driver="bob")


PLANTED: list[tuple[str, Plant]] = [
    ("S1", driver_without_its_job),
    ("S1", job_without_its_driver),
    ("S1", held_job_without_a_driver),
    ("S1", queued_job_with_a_driver),
    ("S1", parcel_with_two_holders),
    ("S7", parcel_with_the_first_drivers_attempt),
    ("S1", transfer_to_its_first_driver),
    ("S1", transfer_on_board),
    ("S2", driver_holds_two),
    ("S5", accepted_job_moved_to_another_driver),
    ("proof", unused_image_of_a_job),
    ("proof", image_that_its_job_does_not_have),
    ("leak", image_that_is_never_forgotten),
]
