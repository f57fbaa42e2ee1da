"""The way back: turning round, places that close, receipts, cancellation, redelivery."""

from dataclasses import replace

import pytest

from mallard_engine.ports import DueEntry, DueKind, JobRef, Refused, WrongState
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Step
from mallard_protocol.messages import Proof
from tests.engine.storage.worlds import MALL, MARKET, RETURN_CODE, World

CHECK_MS = 300_000


async def going_back(world: World) -> tuple[JobRef, int]:
    await world.driver("ann")
    return await world.in_state(JobState.RETURNING)


async def code_of(world: World, ref: JobRef, attempt: int, **given: object) -> ErrorCode:
    with pytest.raises(Refused) as refused:
        await world.returned(ref, attempt, **given)  # type: ignore[arg-type]
    return refused.value.code


def back(ref: JobRef) -> DueEntry:
    return DueEntry(f"return/{MALL}/{ref.job}", DueKind.RETURN, ref.job, mall=MALL)


async def test_return_has_a_place_and_is_looked_after(world: World) -> None:
    ref, _ = await going_back(world)
    job = await world.job(ref)
    assert job.return_to
    assert (job.return_to.kind, job.return_to.store, job.return_code) == (
        "store",
        "lego",
        RETURN_CODE,
    )
    assert (await world.due())[back(ref).member] == world.now + CHECK_MS


async def test_return_without_a_plan_is_planned_by_the_sweeper(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.RETURNING, at_ms=world.now, reason="refused"
    )
    assert (await world.due())[back(ref).member] == world.now
    effects = await world.store.returns.set_place(back(ref), attempt, world.way_back())
    (push,) = effects.pushes
    assert (push.state, push.reason) == ("returning", "updated")
    assert await world.events("alert") == []
    assert (await world.job(ref)).return_code == RETURN_CODE


async def test_place_that_closes_is_replaced_with_an_alert(world: World) -> None:
    ref, attempt = await going_back(world)
    await world.store.returns.note_at_place(await world.job(ref), MALL)
    closes_ms = world.now + 60_000
    same = world.way_back(open_until=closes_ms)
    assert (await world.store.returns.set_place(back(ref), attempt, same)).pushes == ()
    assert (await world.due())[back(ref).member] == closes_ms
    await world.pass_ms(60_000)
    other = replace(world.way_back("apple"), code="111111")
    (push,) = (await world.store.returns.set_place(back(ref), attempt, other)).pushes
    assert push.reason == "updated"
    assert [it["what"] for it in await world.events("alert")] == ["return_place_closed"]
    job = await world.job(ref)
    assert job.return_to
    # The code stays; what was seen at the old place does not count for the new one.
    assert (job.return_to.store, job.return_code) == ("apple", RETURN_CODE)
    assert await code_of(world, ref, attempt, at_place=False) is ErrorCode.NO_POSITION


async def test_return_in_front_of_the_place_is_refused(world: World) -> None:
    ref, attempt = await going_back(world)
    photo = await world.photo()
    before = await world.dump()
    for proof in (Proof("code", RETURN_CODE), photo, None):
        code = await code_of(world, ref, attempt, at_place=False, proof=proof)
        assert code is ErrorCode.NO_POSITION
    assert await world.dump() == before
    await world.store.returns.note_at_place(await world.job(ref), MALL)
    answered = await world.returned(ref, attempt, at_place=False)
    assert (answered.job_state, answered.driver.jobs) == ("returned", ())
    again = await world.returned(ref, attempt, at_place=False, proof=None)
    assert again.job_state == "returned"


async def test_photo_is_enough_until_the_code_is_shown(world: World) -> None:
    ref, attempt = await going_back(world)
    with pytest.raises(Refused) as refused:
        await world.returned(ref, attempt, proof=None)
    assert (refused.value.code, refused.value.missing) == (ErrorCode.PROOF_NEEDED, ("photo",))
    await world.store.returns.show_codes(MARKET, MALL, "apple", [ref.job])  # not its place
    assert (await world.returned(ref, attempt, proof=await world.photo())).job_state == "returned"

    ref, attempt = await world.in_state(JobState.RETURNING)
    await world.store.returns.show_codes(MARKET, MALL, "lego", [ref.job])
    with pytest.raises(Refused) as refused:
        await world.returned(ref, attempt, proof=await world.photo())
    assert (refused.value.code, refused.value.missing) == (ErrorCode.PROOF_NEEDED, ("code",))
    assert (await world.returned(ref, attempt)).job_state == "returned"


async def test_three_wrong_return_codes_leave_it_to_the_shop(world: World) -> None:
    ref, attempt = await going_back(world)
    left = []
    for value in ("1", "2", "2", "3", RETURN_CODE):
        with pytest.raises(Refused) as refused:
            await world.returned(ref, attempt, proof=Proof("code", value))
        assert refused.value.code is ErrorCode.WRONG_CODE
        left.append(refused.value.tries_left)
    assert left == [2, 1, 1, 0, 0]
    assert [it["what"] for it in await world.events("alert")] == ["wrong_code"]
    effects = await world.store.returns.received(ref, "store:lego")
    assert [(push.state, push.reason) for push in effects.pushes] == [("returned", "closed")]
    job = await world.job(ref)
    assert (job.state, job.timeline[-1].actor, job.timeline[-1].cause) == (
        "returned",
        "store:lego",
        "received",
    )
    before = await world.dump()
    await world.store.returns.received(ref, "store:lego")
    assert await world.dump() == before


async def test_shop_receives_only_what_goes_back(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.picked_up()
    with pytest.raises(WrongState):
        await world.store.returns.received(ref, "store:lego")


async def test_return_of_another_driver_or_attempt_is_refused(world: World) -> None:
    ref, attempt = await going_back(world)
    await world.driver("bob")
    assert await code_of(world, ref, attempt - 1) is ErrorCode.STALE_ATTEMPT
    assert await code_of(world, ref, attempt, driver="bob") is ErrorCode.NOT_YOURS


async def test_return_turns_round_and_is_delivered(world: World) -> None:
    ref, attempt = await going_back(world)
    await world.pass_ms(1_000)
    assert (await world.step(ref, Step.RESUME, attempt)).job_state == "picked_up"
    job = await world.job(ref)
    assert (job.return_to, job.timeline[-1].cause) == (None, "turned_round")
    assert back(ref).member not in await world.due()
    # The `returning` that the app repeats, as its reply was lost, is older.
    answered = await world.store.jobs.progress(
        ref, "ann", attempt, Step.RETURNING, at_ms=world.now - 1_000, reason=""
    )
    assert answered.job_state == "picked_up"
    assert (await world.step(ref, Step.DELIVERED, attempt)).job_state == "delivered"


# -- cancel after pick-up


async def test_cancelled_parcel_on_board_comes_back(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    effects = await world.store.jobs.cancel(
        ref, "toys", "customer", code="customer", plan=world.way_back()
    )
    (push,) = effects.pushes
    assert (push.state, push.reason) == ("returning", "cancelled")
    job = await world.job(ref)
    assert (job.state, job.cancel_requested, job.driver) == ("returning", True, "ann")
    assert job.cancelled
    assert (job.cancelled.by, job.cancelled.reason, job.cancelled.stage) == (
        "toys",
        "customer",
        "picked_up",
    )
    before = await world.dump()
    await world.store.jobs.cancel(ref, "toys", "late", code="late")
    assert await world.dump() == before
    await world.pass_ms(1_000)
    with pytest.raises(Refused) as refused:
        await world.step(ref, Step.RESUME, attempt)
    assert refused.value.code is ErrorCode.WRONG_STATE
    assert (await world.returned(ref, attempt)).job_state == "returned"
    await world.store.jobs.cancel(ref, "toys", "late", code="late")


async def test_return_that_is_cancelled_cannot_turn_round(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    await world.store.returns.undelivered(
        ref, "ann", kind="refused", store="", until_ms=None, text="", attempt=attempt,
        at_ms=None, plan=world.way_back(),
    )  # fmt: skip
    await world.store.jobs.cancel(ref, "toys", "fraud", code="fraud")
    job = await world.job(ref)
    assert job.cancelled
    assert job.cancelled.stage == "returning"
    with pytest.raises(WrongState):
        await world.store.returns.answer(
            ref, "p1", action="retry", text="", actor="toys", plan=None
        )


# -- redelivery


async def test_redelivery_is_made_once(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(JobState.RETURNED)
    first = world.submission(redelivery_of=ref.job)
    assert not (await world.store.jobs.submit(first)).replayed
    again = await world.store.jobs.submit(world.submission(redelivery_of=ref.job))
    assert (again.replayed, again.job.id, again.job.redelivery_of) == (True, first.job, ref.job)
    assert (await world.job(ref)).redelivered_as == first.job
    other = world.submission(redelivery_of=ref.job, replaces=first.job)
    assert not (await world.store.jobs.submit(other)).replayed


async def test_only_a_returned_job_is_redelivered(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(JobState.RETURNING)
    with pytest.raises(WrongState):
        await world.store.jobs.submit(world.submission(redelivery_of=ref.job))
