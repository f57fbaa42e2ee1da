"""The second driver takes over: custody changes in one step, by a code, or not at all."""

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import Refused
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.storage.transfers import (
    CODE,
    ROOMY,
    accepted_by,
    alerts,
    begin_transfer,
    holders,
    on_board,
    reasons,
    settle,
    take_over,
)
from tests.engine.storage.worlds import MARKET, World


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=12)


async def test_second_driver_takes_all_over_in_one_step(world: World) -> None:
    refs = await on_board(world, count=3)
    transfer = await begin_transfer(world, "ann")
    attempt = await accepted_by(world, transfer)
    assert [await holders(world, ref) for ref in refs] == [[("ann", 1)]] * 3
    got = await take_over(world, transfer, attempt)
    assert sorted(got) == sorted(ref.job for ref in refs)
    for ref in refs:
        job = await world.job(ref)
        assert (job.state, job.driver, job.attempt) == ("picked_up", "bob", 2)
        assert await holders(world, ref) == [("bob", 2)]
        assert job.timeline[-1].cause == "transferred"
    assert await world.state(transfer) == "delivered"
    assert await holders(world, transfer) == []
    assert (await reasons(world, "ann"))[-3:] == ["transferred"] * 3


async def test_time_of_the_pickup_survives_a_transfer(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    before = (await world.job(ref)).eta_pickup_ms
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.pass_ms(60_000)
    await take_over(world, transfer)
    assert (await world.job(ref)).eta_pickup_ms == before


async def test_only_named_jobs_are_taken_over(world: World) -> None:
    first, second = await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    assert await take_over(world, transfer, jobs=[second.job]) == [second.job]
    await settle(world, transfer)
    assert await holders(world, first) == [("ann", 1)]
    assert await holders(world, second) == [("bob", 2)]
    assert (await world.job(transfer)).carries == (second.job,)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [(None, ErrorCode.PROOF_NEEDED), ("000000", ErrorCode.WRONG_CODE)],
)
async def test_pickup_without_the_code_is_refused(
    world: World, code: str | None, refusal: ErrorCode
) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    with pytest.raises(Refused) as refused:
        await take_over(world, transfer, code=code)
    assert refused.value.code is refusal
    assert await holders(world, ref) == [("ann", 1)]


async def test_right_code_after_three_wrong_ones_is_refused(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    left = []
    for code in ("1", "2", "3", CODE):
        with pytest.raises(Refused) as refused:
            await take_over(world, transfer, code=code)
        left.append(refused.value.tries_left)
    assert left == [2, 1, 0, 0]
    assert "wrong_code" in await alerts(world)
    assert await holders(world, ref) == [("ann", 1)]


async def test_pickup_of_a_job_that_it_does_not_carry_is_refused(world: World) -> None:
    await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    with pytest.raises(Refused) as refused:
        await take_over(world, transfer, jobs=["job_phoenix.unknown"])
    assert refused.value.code is ErrorCode.BAD_FIELD


async def test_stranger_cannot_take_over(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.driver("eve", vehicle=ROOMY)
    for attempt in (1, 2):
        with pytest.raises(Refused) as refused:
            await take_over(world, transfer, attempt, driver="eve")
        assert refused.value.code is ErrorCode.NOT_YOURS
    assert await holders(world, ref) == [("ann", 1)]


async def test_old_attempt_of_the_transfer_cannot_take_over(world: World) -> None:
    await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.store.jobs.progress(transfer, "bob", 1, Step.GIVE_UP, at_ms=None, reason="too far")
    with pytest.raises(Refused) as refused:
        await take_over(world, transfer, 1)
    assert refused.value.code is ErrorCode.STALE_ATTEMPT


async def test_repeated_take_over_gets_the_same_answer(world: World) -> None:
    await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    got = await take_over(world, transfer)
    before = await world.dump()
    assert sorted(await take_over(world, transfer)) == sorted(got)
    assert await world.dump() == before


async def test_plain_progress_cannot_pick_up_a_transfer(world: World) -> None:
    await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    with pytest.raises(Refused) as refused:
        await world.step(transfer, Step.PICKED_UP, 1, "bob")
    assert refused.value.code is ErrorCode.WRONG_STATE
    with pytest.raises(Refused) as refused:
        await world.store.jobs.claim(MARKET, "bob", transfer.job, 1, "picked_up", at_ms=world.now)
    assert refused.value.code is ErrorCode.WRONG_STATE


async def test_job_delivered_meanwhile_does_not_change_hands(world: World) -> None:
    first, second = await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.step(first, Step.DELIVERED, 1)
    await settle(world, transfer)
    assert (await world.job(transfer)).carries == (second.job,)
    assert await take_over(world, transfer, jobs=[first.job, second.job]) == [second.job]
    job = await world.job(first)
    assert (job.state, job.driver, job.attempt) == ("delivered", "ann", 1)


async def test_take_over_of_what_is_all_gone_is_refused(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.step(ref, Step.DELIVERED, 1)
    with pytest.raises(Refused) as refused:
        await take_over(world, transfer)
    assert refused.value.code is ErrorCode.WRONG_STATE
    await settle(world, transfer)


async def test_late_delivery_of_the_first_driver_is_stale(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await take_over(world, transfer)
    for step in (Step.DELIVERED, Step.RETURNING, Step.PICKED_UP):
        with pytest.raises(Refused) as refused:
            await world.step(ref, step, 1, "ann")
        assert refused.value.code is ErrorCode.STALE_ATTEMPT, step
    assert await holders(world, ref) == [("bob", 2)]
    await world.step(ref, Step.DELIVERED, 2, "bob")


async def test_first_drivers_claim_of_custody_is_refused(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await take_over(world, transfer)
    with pytest.raises(Refused):
        await world.store.jobs.claim(MARKET, "ann", ref.job, 1, "delivered", at_ms=world.now)
    assert await holders(world, ref) == [("bob", 2)]
    assert "two_claim_a_parcel" not in await alerts(world)


async def test_returning_job_is_carried_on_as_returning(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    await world.step(ref, Step.RETURNING, 1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await take_over(world, transfer)
    job = await world.job(ref)
    assert (job.state, job.driver, job.attempt) == ("returning", "bob", 2)


async def test_second_driver_revoked_meanwhile_keeps_what_it_has(world: World) -> None:
    """It tapped in a basement: it knows the code, so it was there."""
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.store.jobs.release(transfer, 1, Outcome.UNASSIGNED, "operator", "")
    await accepted_by(world, transfer, "cat")
    assert await take_over(world, transfer, 1) == [ref.job]
    assert await holders(world, ref) == [("bob", 2)]
    assert (await reasons(world, "cat"))[-1] == "collected"
