"""Transfers as the dispatcher makes them, and what they carry, for tests of the storage."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.meeting import meeting_id
from mallard_engine.ports import DueEntry, DueKind, JobRef, PushKind, TransferPlan
from mallard_protocol.lifecycle import ON_BOARD, Step
from mallard_protocol.messages import Proof
from tests.engine.storage.worlds import LAT, LON, MARKET, World

CODE = "471100"
PLACE = meeting_id(MARKET, LAT, LON)


async def transfer_plan(
    world: World, first: str, jobs: Sequence[str] | None = None, **changes: Any
) -> TransferPlan:
    """A transfer of these jobs of a driver; None: of all on board."""
    snapshot = await world.store.drivers.snapshot(MARKET, first)
    on_board = [job for job in snapshot.jobs if job.state in ON_BOARD]
    carries = tuple(job for job in on_board if jobs is None or job.id in jobs)
    submission = world.submission(
        stores=("transfer",),
        weight_g=sum(job.need.weight_g for job in carries),
        volume_l=sum(job.need.volume_l for job in carries),
        priority=100,
    )
    plan = TransferPlan(
        job=submission.job,
        mall=PLACE,
        first=first,
        carries=carries,
        held=snapshot.jobs,
        need=replace(submission.need, jobs=max(len(carries), 1)),
        card=b"card",
        code=CODE,
        actor="operator",
    )
    return replace(plan, **changes)


async def begin_transfer(
    world: World, first: str, jobs: Sequence[str] | None = None, **changes: Any
) -> JobRef:
    """Begin such a transfer; return its job."""
    plan = await transfer_plan(world, first, jobs, **changes)
    assert await world.store.transfers.begin(MARKET, plan) is not None
    return JobRef(plan.job, PLACE)


ROOMY = Vehicle(max_jobs=12)


async def on_board(world: World, driver: str = "ann", count: int = 2) -> tuple[JobRef, ...]:
    """Jobs that a driver has on board, each at its first attempt."""
    await world.driver(driver, vehicle=ROOMY)
    refs = await world.assigned_run(driver, count)
    for ref in refs:
        await world.step(ref, Step.PICKED_UP, 1, driver)
    return refs


async def accepted_by(world: World, transfer: JobRef, driver: str = "bob") -> int:
    """Have a driver accept the transfer; return its attempt."""
    await world.driver(driver, vehicle=ROOMY)
    offer = await world.offer(transfer, driver)
    answered = await world.store.offers.accept(MARKET, driver, offer)
    return answered.jobs[0].attempt


async def take_over(
    world: World,
    transfer: JobRef,
    attempt: int = 1,
    *,
    driver: str = "bob",
    code: str | None = CODE,
    jobs: list[str] | None = None,
) -> list[str]:
    """Report the parcels on board as the second driver; return the jobs that it has got."""
    proof = None if code is None else Proof("code", code)
    answered = await world.store.transfers.take_over(
        transfer, driver, attempt, at_ms=world.now, proof=proof, jobs=jobs
    )
    return [job.id for job in answered.jobs]


async def settle(world: World, transfer: JobRef) -> None:
    """Run the due entry of the transfer, if it has one."""
    member = f"transfer/{transfer.mall}/{transfer.job}"
    if member in await world.due():
        entry = DueEntry(member, DueKind.TRANSFER, transfer.job, mall=transfer.mall)
        await world.store.transfers.settle(entry)


async def holders(world: World, ref: JobRef) -> list[tuple[str, int]]:
    """Every driver whose record has the job, with the attempt."""
    names = [name.decode() for name in await world.redis.hkeys(world.keys.key("drivers"))]
    records = [await world.record(name) for name in sorted(names)]
    return [
        (record.id, held.attempt)
        for record in records
        for held in record.jobs
        if held.job == ref.job
    ]


async def reasons(world: World, driver: str) -> list[str]:
    """The reasons of the job pushes to a driver."""
    return [push.reason for push in await world.pushes(driver) if push.kind is PushKind.JOB]


async def alerts(world: World) -> list[str]:
    return [event["what"] for event in await world.events("alert")]
