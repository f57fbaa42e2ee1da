"""A shop hands over against a code: whose code counts, and how many may be wrong."""

import pytest

from mallard_engine.core.handover import handover_code
from mallard_engine.ports import (
    Answered,
    JobRef,
    NoSuchJob,
    Refused,
    TooManyWrongCodes,
    WrongState,
)
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.worlds import MALL, MARKET, World

SHOP = "store/lego"
KEY = "00ff00ff00ff00ff"


async def code_of(world: World, ref: JobRef, attempt: int) -> str:
    return handover_code((await world.job(ref)).handover_key, attempt)


async def hand_over(
    world: World, ref: JobRef, code: str, parcels: int | None = None, store: str = "lego"
) -> Answered:
    return await world.store.shops.hand_over(ref, store, code, parcels, SHOP)


async def tries_left(world: World, ref: JobRef, code: str) -> int | None:
    with pytest.raises(Refused) as caught:
        await hand_over(world, ref, code)
    assert caught.value.code is ErrorCode.WRONG_CODE
    return caught.value.tries_left


async def test_handover_picks_up_by_the_shop(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", handover_key=KEY)
    code = await code_of(world, ref, attempt)
    answered = await hand_over(world, ref, code)
    assert (answered.job_state, answered.attempt) == ("picked_up", attempt)
    states = [(it.state, it.actor) for it in (await world.job(ref)).timeline]
    assert states[-2:] == [("at_mall", SHOP), ("picked_up", SHOP)]
    (push,) = [it for it in answered.effects.pushes if it.reason == "handed_over"]
    assert (push.driver, push.state, push.attempt) == ("ann", "picked_up", attempt)
    before = await world.job(ref)
    again = await hand_over(world, ref, code)
    assert again.effects.pushes == ()
    assert await world.job(ref) == before
    assert await world.breaches() == ()


async def test_either_report_is_enough(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", handover_key=KEY)
    await world.step(ref, Step.PICKED_UP, attempt)
    before = await world.job(ref)
    answered = await hand_over(world, ref, await code_of(world, ref, attempt))
    assert answered.effects.pushes == ()
    assert await world.job(ref) == before


async def test_earlier_holders_code_takes_the_job_back(world: World) -> None:
    for name in ("ann", "bob"):
        await world.driver(name)
    ref, first = await world.assigned("ann", handover_key=KEY)
    code = await code_of(world, ref, first)
    await world.store.jobs.release(ref, first, Outcome.UNASSIGNED, "operator", "")
    await world.store.jobs.assign(ref, "bob", "operator")
    answered = await hand_over(world, ref, code)
    job = await world.job(ref)
    assert (job.state, job.driver) == (JobState.PICKED_UP, "ann")
    assert job.attempt == answered.attempt > first + 1
    assert {(it.driver, it.reason) for it in answered.effects.pushes} == {
        ("bob", "collected"),
        ("ann", "handed_over"),
    }
    # The app of the winner may not know its new attempt yet.
    assert (await world.step(ref, Step.DELIVERED, first)).job_state == "delivered"
    assert await world.breaches() == ()


async def test_earlier_holders_code_wins_over_an_offer(world: World) -> None:
    for name in ("ann", "bob"):
        await world.driver(name)
    ref, first = await world.assigned("ann", handover_key=KEY)
    code = await code_of(world, ref, first)
    await world.store.jobs.release(ref, first, Outcome.UNASSIGNED, "operator", "")
    await world.offer(ref, "bob")
    await hand_over(world, ref, code)
    assert (await world.job(ref)).driver == "ann"
    assert (await world.record("bob")).offer is None
    assert await world.breaches() == ()


async def test_code_of_an_attempt_without_holder_is_wrong(world: World) -> None:
    await world.driver("ann")
    ref, first = await world.assigned("ann", handover_key=KEY)
    await world.store.jobs.release(ref, first, Outcome.UNASSIGNED, "operator", "")
    await world.driver("bob")
    await world.offer(ref, "bob")
    job = await world.job(ref)
    assert await tries_left(world, ref, await code_of(world, ref, job.attempt)) == 4
    assert (await world.job(ref)).state is JobState.OFFERED


async def test_second_claim_of_a_parcel_changes_no_holder(world: World) -> None:
    for name in ("ann", "bob"):
        await world.driver(name)
    ref, first = await world.assigned("ann", handover_key=KEY)
    code = await code_of(world, ref, first)
    await world.store.jobs.release(ref, first, Outcome.UNASSIGNED, "operator", "")
    await world.store.jobs.assign(ref, "bob", "operator")
    second = (await world.job(ref)).attempt
    await hand_over(world, ref, await code_of(world, ref, second))
    with pytest.raises(WrongState):
        await hand_over(world, ref, code)
    assert (await world.job(ref)).driver == "bob"
    assert await world.breaches() == ()


async def test_wrong_codes_alert_once_and_are_counted_once(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", handover_key=KEY)
    for left, wrong in enumerate(("a", "b", "c", "d"), 1):
        assert await tries_left(world, ref, wrong) == 5 - left
        assert await tries_left(world, ref, wrong) == 5 - left
    assert not [it for it in await world.events() if it["kind"] == "alert"]
    assert await tries_left(world, ref, "e") == 0
    for code in ("e", "f", await code_of(world, ref, attempt)):
        with pytest.raises(TooManyWrongCodes) as barred:
            await hand_over(world, ref, code)
        assert 590 < barred.value.wait_s <= 600
    alerts = [it["what"] for it in await world.events() if it["kind"] == "alert"]
    assert alerts == ["wrong_handover_code"]
    assert (await world.job(ref)).state is JobState.ASSIGNED
    assert await world.breaches() == ()
    # After ten minutes, by the clock of Redis.
    await world.redis.delete(world.keys.guesses(ref.job))
    await hand_over(world, ref, await code_of(world, ref, attempt))


async def test_guesses_expire_by_themselves(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned("ann", handover_key=KEY)
    await tries_left(world, ref, "a")
    for of in (ref.job, f"{MALL}/lego"):
        assert 590_000 < await world.redis.pttl(world.keys.guesses(of)) <= 600_000


async def test_handover_of_more_than_ordered_is_refused(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", handover_key=KEY)
    code = await code_of(world, ref, attempt)
    with pytest.raises(Refused) as caught:
        await hand_over(world, ref, code, parcels=1_000)
    assert caught.value.code is ErrorCode.BAD_FIELD
    assert (await world.job(ref)).state is JobState.ASSIGNED


async def test_unknown_job_or_shop_is_missing(world: World) -> None:
    ref = await world.submit(handover_key=KEY)
    with pytest.raises(NoSuchJob):
        await hand_over(world, ref, "1", store="apple")
    with pytest.raises(NoSuchJob):
        await hand_over(world, JobRef(f"job_{MARKET}.x", MALL), "1")


async def test_job_that_was_never_held_has_no_code(world: World) -> None:
    ref = await world.submit(handover_key=KEY)
    with pytest.raises(WrongState):
        await hand_over(world, ref, "1")
    await world.store.jobs.cancel(ref, "toys", "")
    with pytest.raises(WrongState):
        await hand_over(world, ref, "1")
