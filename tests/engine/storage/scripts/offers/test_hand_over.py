"""Reassignment in Redis: a late job moves to another driver in one step, or stays."""

from dataclasses import replace

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef, LateJob, Offered
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import MALL, MARKET, NODE, RESUME_MS, World

BREAK_MS = 30_000


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=1, silence_stretch=1, break_after_s=BREAK_MS / 1000)


async def late_run(world: World) -> tuple[JobRef, LateJob]:
    """A job whose holder, ann, has been silent for `break_after_s`; bob is free."""
    await world.driver("ann")
    ref, attempt = await world.assigned("ann")
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    late = LateJob(MALL, ref.job, "ann", attempt, world.now)
    await world.pass_ms(BREAK_MS)
    await world.driver("bob")
    return ref, late


async def reassign(world: World, ref: JobRef, late: LateJob, *drivers: str) -> Offered:
    return await world.store.offers.reassign(
        late, world.plan(ref, late.attempt, *drivers, offer="next")
    )


async def test_silence_reports_a_late_holder(world: World) -> None:
    ref, late = await late_run(world)
    effects = await world.store.deadlines.silence(await world.entry(ref))
    assert effects.late == (late,)
    assert await world.state(ref) == "assigned"
    assert await world.due_of(ref) == world.now + 10_000
    await world.pass_ms(RESUME_MS - BREAK_MS - 1)
    effects = await world.store.deadlines.silence(await world.entry(ref))
    assert (effects.late, await world.due_of(ref)) == ((late,), world.now + 1)
    await world.pass_ms(1)
    assert (await world.store.deadlines.silence(await world.entry(ref))).late == ()
    assert await world.state(ref) == "queued"


async def test_reassignment_is_one_step_with_a_wake_up(world: World) -> None:
    ref, late = await late_run(world)
    offered = await reassign(world, ref, late, "ann", "bob")
    assert (offered.verdict, offered.driver) == ("offered", "bob")
    job = await world.job(ref)
    assert (job.state, job.driver, job.attempt) == (JobState.OFFERED, None, late.attempt + 2)
    assert (job.asked[-1].driver, job.asked[-1].outcome) == ("ann", "silent")
    assert (await world.record("ann")).jobs == ()
    # Without a socket it gets no push: its app is to be woken.
    woken = [it for it in await world.events("driver") if it["what"] == "wake"]
    assert [(it["driver"], it["reason"]) for it in woken] == [("ann", "job")]
    # The job leaves no queue entry: only the next offer is due.
    assert await world.waiting() == []
    assert offered.effects.malls == ()
    assert [member.split("/")[0] for member, _ in offered.effects.due] == ["offer"]
    await world.store.offers.accept(MARKET, "bob", "next")
    assert (await world.job(ref)).driver == "bob"


async def test_repeated_reassignment_gets_the_first_answer(world: World) -> None:
    ref, late = await late_run(world)
    await reassign(world, ref, late, "bob")
    before = await world.dump()
    assert (await reassign(world, ref, late, "bob")).driver == "bob"
    assert await world.dump() == before


async def test_job_stays_if_no_driver_is_free(world: World) -> None:
    ref, late = await late_run(world)
    await world.store.drivers.suspend(MARKET, "bob", "")
    before = await world.dump()
    assert (await reassign(world, ref, late, "bob", "nobody")).verdict == "nobody"
    assert await world.dump() == before


async def test_returned_holder_keeps_the_job(world: World) -> None:
    ref, late = await late_run(world)
    await world.connect("ann")
    before = await world.dump()
    assert (await reassign(world, ref, late, "bob")).verdict == "gone"
    # A new disconnection starts a new silence period.
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 2)])
    assert (await reassign(world, ref, late, "bob")).verdict == "gone"
    assert await world.state(ref) == "assigned"
    assert before != await world.dump()


@pytest.mark.parametrize("state", [JobState.AT_MALL, JobState.PICKED_UP])
async def test_holder_at_the_mall_keeps_the_job(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    late = LateJob(MALL, ref.job, "ann", attempt, world.now)
    await world.pass_ms(BREAK_MS)
    await world.driver("bob")
    assert (await world.store.deadlines.silence(await world.entry(ref))).late == ()
    assert (await reassign(world, ref, late, "bob")).verdict == "gone"


async def test_early_or_outdated_reassignment_has_no_effect(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, attempt = await world.assigned("ann")
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    late = LateJob(MALL, ref.job, "ann", attempt, world.now)
    await world.pass_ms(BREAK_MS - 1)
    assert (await reassign(world, ref, late, "bob")).verdict == "gone"
    await world.pass_ms(1)
    old = LateJob(MALL, ref.job, "ann", attempt - 1, late.lost_ms)
    assert (await reassign(world, ref, old, "bob")).verdict == "gone"


class TestWithoutReassignment:
    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=1)

    async def test_late_job_is_not_checked_before_the_limit(self, world: World) -> None:
        ref, late = await late_run(world)
        assert await world.due_of(ref) == late.lost_ms + RESUME_MS
        assert (await world.store.deadlines.silence(await world.entry(ref))).late == ()
        assert (await reassign(world, ref, late, "bob")).verdict == "gone"
        assert (await reassign(world, ref, replace(late, lost_ms=0), "bob")).verdict == "gone"


class TestStuckHolder:
    """A connected holder on its way: the sweeper reports the job for a lateness check."""

    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=1, stuck_after_s=BREAK_MS / 1000)

    async def test_late_job_is_checked_repeatedly(self, world: World) -> None:
        await world.driver("ann")
        ref, attempt = await world.assigned("ann")
        assert await world.due_of(ref) == world.now + BREAK_MS
        await world.pass_ms(BREAK_MS)
        effects = await world.store.deadlines.silence(await world.entry(ref))
        assert effects.late == (LateJob(MALL, ref.job, "ann", attempt, 0),)
        assert await world.due_of(ref) == world.now + 10_000

    async def test_stuck_holder_is_reassigned_in_one_step(self, world: World) -> None:
        await world.driver("ann")
        await world.driver("bob")
        ref, attempt = await world.assigned("ann")
        late = LateJob(MALL, ref.job, "ann", attempt, 0)
        assert (await reassign(world, ref, late, "ann", "bob")).driver == "bob"
        job = await world.job(ref)
        assert (job.state, job.attempt) == (JobState.OFFERED, attempt + 2)
        assert (job.asked[-1].driver, job.asked[-1].outcome) == ("ann", "unassigned")
        assert [(p.kind, p.reason) for p in await world.pushes("ann")][-1] == ("job", "unassigned")

    @pytest.mark.parametrize("what", ["lost", "arrived"])
    async def test_lost_or_arrived_holder_is_not_stuck(self, world: World, what: str) -> None:
        await world.driver("ann")
        await world.driver("bob")
        ref, attempt = await world.assigned("ann")
        if what == "lost":
            await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
        else:
            await world.store.jobs.arrive(ref, "ann", attempt)
        late = LateJob(MALL, ref.job, "ann", attempt, 0)
        assert (await reassign(world, ref, late, "bob")).verdict == "gone"
