"""Commands on a job: cancel, ready, assign, unassign, close, problem."""

from dataclasses import replace

import pytest

from mallard_engine.core.model import HeldJob, Job
from mallard_engine.ports import (
    DriverUnavailable,
    Effects,
    JobRef,
    NoSuchDriver,
    NoSuchJob,
    Refused,
    WrongState,
)
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import BEFORE_PICKUP, HELD, ON_BOARD, TERMINAL, JobState, Outcome
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, NODE, RESUME_MS, World

MISSING = JobRef("job_phoenix.missing", MALL)
ENDED_OR_ON_BOARD = sorted(set(JobState) - BEFORE_PICKUP)
TO_COLLECT = sorted({JobState.ASSIGNED, JobState.AT_MALL})


# -- cancel


@pytest.mark.parametrize("state", sorted(BEFORE_PICKUP))
async def test_job_may_be_cancelled_before_pickup(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    effects = await world.store.jobs.cancel(ref, "toys", "out of stock")
    job, ann = await world.job(ref), await world.record()
    assert (job.state, job.driver, job.offer, job.reason) == (
        "cancelled", None, None, "out of stock",
    )  # fmt: skip
    assert (ann.offer, ann.jobs) == (None, ())
    assert await world.idle() == {"ann"}
    assert await world.waiting() == []
    assert set(await world.due()) == {"driver/ann"}
    pushed = [(p.kind, p.why or p.reason) for p in effects.pushes]
    closed = {JobState.OFFERED: [("offer_closed", "cancelled")]}
    held = [("job", "cancelled")] if state in HELD else []
    assert pushed == closed.get(state, held)
    before = await world.dump()
    assert (await world.store.jobs.cancel(ref, "toys", "again")).pushes == ()
    assert await world.dump() == before


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_ended_job_cannot_be_cancelled(world: World, state: JobState) -> None:
    if state is JobState.CANCELLED:
        return
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    before = await world.dump()
    with pytest.raises(WrongState) as wrong:
        await world.store.jobs.cancel(ref, "toys", "")
    assert wrong.value.state is state
    assert await world.dump() == before
    with pytest.raises(NoSuchJob):
        await world.store.jobs.cancel(MISSING, "toys", "")


# -- ready


async def make_ready(
    world: World, was: Job, release_ms: int, body: bytes = b"new"
) -> Effects | None:
    need = replace(was.need, ready_ms=world.now + 60_000)
    return await world.store.jobs.ready(
        JobRef(was.id, was.mall), was=was, body=body, card=b"new card", actor="toys", need=need,
        release_ms=release_ms,
    )  # fmt: skip


@pytest.mark.parametrize("state", sorted(BEFORE_PICKUP))
async def test_new_ready_time_replaces_the_order(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    later = world.now + HOUR_MS // 3
    effects = await make_ready(world, await world.job(ref), later)
    assert effects is not None
    job = await world.job(ref)
    assert (job.body, job.card, job.need.ready_ms) == (b"new", b"new card", world.now + 60_000)
    assert (job.state, job.release_ms) == (state, later)
    if state is JobState.SCHEDULED:
        assert await world.due_of(ref) == later
    if state is JobState.QUEUED:
        assert effects.malls == (MALL,)
    if state in HELD:
        (push,) = effects.pushes
        assert (push.kind, push.state, push.reason) == ("job", state, "ready_changed")
    assert (await world.events("job"))[-1]["cause"] == "ready_changed"


async def test_scheduled_job_that_is_ready_now_is_queued(world: World) -> None:
    ref, _ = await world.in_state(JobState.SCHEDULED)
    effects = await make_ready(world, await world.job(ref), world.now)
    assert effects is not None
    assert effects.malls == (MALL,)
    assert (await world.state(ref), await world.waiting()) == ("queued", [ref.job])
    found = await world.store.offers.candidates(
        MARKET, MALL, 0, 0, radius_m=1, max_radius_m=1, drivers=1, jobs=1
    )
    assert found.waiting[0].card == b"new card"


async def test_ready_of_an_outdated_order_has_no_effect(world: World) -> None:
    ref = await world.submit()
    was = await world.job(ref)
    await make_ready(world, was, world.now)
    before = await world.dump()
    assert await make_ready(world, was, world.now) is not None  # the same once more
    assert await make_ready(world, was, world.now, b"newer") is None
    assert await world.dump() == before
    with pytest.raises(NoSuchJob):
        await make_ready(world, replace(was, id=MISSING.job), world.now)


@pytest.mark.parametrize("state", ENDED_OR_ON_BOARD)
async def test_ready_of_a_collected_job_is_refused(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    with pytest.raises(WrongState) as wrong:
        await make_ready(world, await world.job(ref), world.now)
    assert wrong.value.state is state


# -- assign


@pytest.mark.parametrize("state", sorted(BEFORE_PICKUP))
async def test_operator_may_assign_any_job_before_pickup(world: World, state: JobState) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, attempt = await world.in_state(state, "ann")
    effects = await world.store.jobs.assign(ref, "bob", "operator:eve")
    job = await world.job(ref)
    assert (job.state, job.driver, job.attempt, job.offer) == ("assigned", "bob", attempt + 1, None)
    assert (await world.record("bob")).jobs == (HeldJob(ref.job, attempt + 1, MALL),)
    assert await world.idle() == {"ann"}
    assert await world.waiting() == []
    assert await world.due_of(ref) == world.now + RESUME_MS
    last = (await world.events("job"))[-1]
    assert (last["cause"], last["actor"]) == ("operator_assigned", "operator:eve")
    pushed = [(p.driver, p.kind, p.why or p.reason) for p in effects.pushes]
    before = {JobState.OFFERED: [("ann", "offer_closed", "withdrawn")]}
    held = [("ann", "job", "unassigned")] if state in HELD else []
    assert pushed == [*before.get(state, held), ("bob", "job", "assigned")]
    dump = await world.dump()
    assert (await world.store.jobs.assign(ref, "bob", "operator:eve")).pushes == ()
    assert await world.dump() == dump


async def test_job_may_be_assigned_to_its_offered_driver(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered("ann")
    effects = await world.store.jobs.assign(ref, "ann", "operator")
    assert [(p.kind, p.seq) for p in effects.pushes] == [("offer_closed", 2), ("job", 3)]
    ann = await world.record()
    assert (ann.offer, len(ann.jobs)) == (None, 1)


async def test_unavailable_driver_is_not_assigned(world: World) -> None:
    for driver in ("suspended", "busy", "asked"):
        await world.driver(driver)
    await world.store.drivers.suspend(MARKET, "suspended", "")
    await world.assigned("busy")
    await world.offered("asked")
    ref = await world.submit()
    before = await world.dump()
    for driver in ("suspended", "busy", "asked"):
        with pytest.raises(DriverUnavailable):
            await world.store.jobs.assign(ref, driver, "operator")
    with pytest.raises(NoSuchDriver):
        await world.store.jobs.assign(ref, "nobody", "operator")
    with pytest.raises(NoSuchJob):
        await world.store.jobs.assign(MISSING, "busy", "operator")
    assert await world.dump() == before


@pytest.mark.parametrize("state", ENDED_OR_ON_BOARD)
async def test_job_on_board_or_ended_cannot_be_assigned(world: World, state: JobState) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, _ = await world.in_state(state)
    with pytest.raises(WrongState) as wrong:
        await world.store.jobs.assign(ref, "bob", "operator")
    assert wrong.value.state is state


async def test_accept_after_an_assignment_is_refused(world: World) -> None:
    """S7: a command with an old attempt has no effect."""
    await world.driver("ann")
    await world.driver("bob")
    ref, offer = await world.offered("ann")
    await world.store.jobs.assign(ref, "bob", "operator")
    with pytest.raises(Refused) as refused:
        await world.store.offers.accept(MARKET, "ann", offer)
    assert refused.value.code is ErrorCode.OFFER_CLOSED
    assert (await world.job(ref)).driver == "bob"


# -- unassign


@pytest.mark.parametrize("state", TO_COLLECT)
async def test_operator_may_unassign_a_job(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    effects = await world.store.jobs.release(
        ref, attempt, Outcome.UNASSIGNED, "operator", "mistake"
    )
    (push,) = effects.pushes
    assert (push.kind, push.state, push.attempt, push.reason) == (
        "job", "queued", attempt + 1, "unassigned",
    )  # fmt: skip
    assert effects.malls == (MALL,)
    job = await world.job(ref)
    assert (job.state, job.driver, job.attempt) == ("queued", None, attempt + 1)
    assert (job.eta_pickup_ms, job.eta_dropoff_ms) == (None, None)
    assert (job.asked[-1].driver, job.asked[-1].outcome) == ("ann", "unassigned")
    assert await world.waiting() == [ref.job]


async def test_unassignment_of_another_attempt_is_refused(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    with pytest.raises(Refused) as refused:
        await world.store.jobs.release(ref, attempt - 1, Outcome.UNASSIGNED, "operator", "")
    assert refused.value.code is ErrorCode.STALE_ATTEMPT
    with pytest.raises(NoSuchJob):
        await world.store.jobs.release(MISSING, 1, Outcome.UNASSIGNED, "operator", "")


@pytest.mark.parametrize("state", sorted(set(JobState) - set(TO_COLLECT)))
async def test_only_an_uncollected_held_job_is_unassigned(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    with pytest.raises(WrongState) as wrong:
        await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    assert wrong.value.state is state


# -- close


@pytest.mark.parametrize("state", sorted(ON_BOARD))
@pytest.mark.parametrize("end", [JobState.RETURNED, JobState.DELIVERED, JobState.LOST])
async def test_operator_may_close_a_job_on_board(
    world: World, state: JobState, end: JobState
) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    effects = await world.store.jobs.close(ref, end, "operator", "found at the desk")
    (push,) = effects.pushes
    assert (push.kind, push.state, push.reason) == ("job", end, "closed")
    job = await world.job(ref)
    assert (job.state, job.reason, job.driver) == (end, "found at the desk", "ann")
    assert (await world.record()).jobs == ()
    assert await world.idle() == {"ann"}
    before = await world.dump()
    assert (await world.store.jobs.close(ref, end, "operator", "")).pushes == ()
    assert await world.dump() == before


@pytest.mark.parametrize("state", sorted(BEFORE_PICKUP | TERMINAL - {JobState.LOST}))
async def test_only_a_job_on_board_can_be_closed(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    with pytest.raises(WrongState) as wrong:
        await world.store.jobs.close(ref, JobState.LOST, "operator", "")
    assert wrong.value.state is state
    with pytest.raises(NoSuchJob):
        await world.store.jobs.close(MISSING, JobState.LOST, "operator", "")


# -- problem


@pytest.mark.parametrize("kind", ["not_ready", "store_closed"])
async def test_shop_that_cannot_hand_over_is_held(world: World, kind: str) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned()
    for store, until_ms in (
        ("gap", world.now + 5_000),
        ("aldo", world.now + 1_000_000_000),
        ("lego", None),
    ):
        answered = await world.store.jobs.problem(
            MARKET, "ann", kind=kind, mall=MALL, job=ref.job, store=store, until_ms=until_ms,
            text="shutters down",
        )  # fmt: skip
        # Its own shop is closed: the job waits without a driver.
        is_held = (kind, store) == ("store_closed", "lego")
        assert [held.job for held in answered.driver.jobs] == ([] if is_held else [ref.job])
    holds = await world.store.jobs.holds(MARKET)
    assert {hold.why for hold in holds.values()} == {kind}
    assert {store: hold.until_ms for store, hold in holds.items()} == {
        f"{MALL}/lego": world.now + 900_000,
        f"{MALL}/gap": world.now + 5_000,
        f"{MALL}/aldo": world.now + 4 * 3_600_000,
    }
    event = (await world.events("problem"))[0]
    assert (event["what"], event["store"]) == (kind, "gap")
    assert "text" not in event  # streams show it from the job, where it can be erased
    await world.pass_ms(5_000)
    assert await world.store.deadlines.forget(MARKET) == 1
    assert set(await world.store.jobs.holds(MARKET)) == {f"{MALL}/lego", f"{MALL}/aldo"}
    fields = await world.redis.hkeys(world.keys.key("holds"))
    assert not [field for field in fields if b"gap" in field]


@pytest.mark.parametrize("kind", ["unsafe", "accident"])
async def test_unsafe_or_accident_raises_an_alert(world: World, kind: str) -> None:
    await world.connect("ann")
    await world.store.jobs.problem(
        MARKET, "ann", kind=kind, mall="", job="", store="", until_ms=None, text=""
    )
    assert [(e["what"], e["driver"]) for e in await world.events("alert")] == [(kind, "ann")]


async def test_event_of_a_problem_without_a_job_has_its_text(world: World) -> None:
    await world.connect("ann")
    await world.store.jobs.problem(
        MARKET, "ann", kind="breakdown", mall="", job="", store="", until_ms=None, text="flat tyre"
    )
    assert [event["text"] for event in await world.events("problem")] == ["flat tyre"]


async def test_problem_of_a_job_of_another_driver_is_refused(world: World) -> None:
    await world.driver("ann")
    await world.connect("bob", node=NODE)
    ref, _ = await world.assigned("ann")
    for driver, job in (("bob", ref.job), ("nobody", ""), ("ann", MISSING.job)):
        with pytest.raises(Refused) as refused:
            await world.store.jobs.problem(
                MARKET, driver, kind="missing", mall="", job=job, store="", until_ms=None, text=""
            )
        assert refused.value.code is ErrorCode.NOT_YOURS
    assert await world.events("problem") == []
