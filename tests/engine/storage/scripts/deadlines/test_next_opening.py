"""A job that cannot be collected before closing is scheduled for the next opening."""

from dataclasses import replace

import pytest

from mallard_engine.ports import Effects, JobRef
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import HOUR_MS, MARKET, World

pytestmark = pytest.mark.finding("D3")


async def move(world: World, ref: JobRef, *, in_ms: int = HOUR_MS) -> Effects | None:
    """Schedule the job, as it is now, for an opening in `in_ms`."""
    job = await world.job(ref)
    need = replace(job.need, ready_ms=world.now + in_ms)
    return await world.store.deadlines.next_opening(
        ref, job.attempt, was=job.need, need=need, release_ms=world.now + in_ms - 60_000
    )


async def test_queued_job_is_rescheduled_for_the_opening(world: World) -> None:
    ref = await world.submit(expires_ms=world.now + 3 * HOUR_MS)
    effects = await move(world, ref)
    assert effects is not None
    job = await world.job(ref)
    assert job.state is JobState.SCHEDULED
    assert job.need.ready_ms == world.now + HOUR_MS
    assert job.release_ms == world.now + HOUR_MS - 60_000
    assert job.expires_ms == world.now + 3 * HOUR_MS
    assert (job.timeline[-1].actor, job.timeline[-1].cause) == ("engine", "mall_closes")
    assert (await world.events("job"))[-1]["cause"] == "mall_closes"
    # It is in no queue until its release, which is its only due entry.
    assert not (await world.store.offers.queue_of(MARKET, 10)).jobs
    assert effects.due == ((f"release/{ref.mall}/{ref.job}", job.release_ms),)
    await world.pass_ms(HOUR_MS - 60_000)
    await world.store.deadlines.queue(ref)
    ((_, waiting),) = (await world.store.offers.queue_of(MARKET, 10)).jobs
    assert (waiting.job, waiting.need.ready_ms) == (ref.job, job.need.ready_ms)


async def test_rescheduled_job_withdraws_its_live_offer(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    assert await move(world, ref) is not None
    assert (await world.job(ref)).state is JobState.SCHEDULED
    assert (await world.record("ann")).offer is None
    closed = [push for push in await world.pushes("ann") if push.kind == "offer_closed"]
    assert [(push.offer_id, push.why) for push in closed] == [(offer, "withdrawn")]


async def test_repeat_or_outdated_move_has_no_effect(world: World) -> None:
    ref = await world.submit()
    was = await world.job(ref)
    assert await move(world, ref) is not None
    before = await world.dump()
    later = replace(was.need, ready_ms=world.now + 2 * HOUR_MS)
    again = await world.store.deadlines.next_opening(
        ref, was.attempt, was=was.need, need=later, release_ms=world.now + 2 * HOUR_MS
    )
    assert again is None
    await world.store.deadlines.queue(ref)
    assert await world.dump() == before
    await world.driver("ann")
    held, _ = await world.in_state(JobState.ASSIGNED)
    assert await move(world, held) is None
