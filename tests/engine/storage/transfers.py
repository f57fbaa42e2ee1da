"""Transfers as the dispatcher makes them, for the tests of the storage."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mallard_engine.core.places.meeting import meeting_id
from mallard_engine.ports import JobRef, TransferPlan
from mallard_protocol.lifecycle import ON_BOARD
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
