"""Transfers: custody goes from one driver to another in one step, by a code, or not at all."""

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import (
    DriverUnavailable,
    DueEntry,
    DueKind,
    JobRef,
    NoSuchDriver,
    PushKind,
    Refused,
    TransferOpen,
    WrongState,
)
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step, Wish
from mallard_protocol.messages import Proof
from tests.engine.storage.transfers import CODE, PLACE, begin_transfer, transfer_plan
from tests.engine.storage.worlds import MARKET, World

ROOMY = Vehicle(max_jobs=12)


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=12)


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


async def test_transfer_pauses_its_driver_and_keeps_the_parcels(world: World) -> None:
    refs = await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await settle(world, transfer)
    job = await world.job(transfer)
    assert (job.state, job.kind, job.first) == (JobState.QUEUED, "transfer", "ann")
    assert job.carries == tuple(ref.job for ref in refs)
    record = await world.record()
    assert record.wish is Wish.PAUSED
    assert [held.job for held in record.jobs] == [ref.job for ref in refs]
    for ref in refs:
        carried = await world.job(ref)
        assert (carried.state, carried.driver, carried.attempt) == ("picked_up", "ann", 1)
        assert carried.transfer == f"{PLACE}/{transfer.job}"
    assert (await reasons(world, "ann"))[-2:] == ["updated", "updated"]


async def test_transfer_counts_apart_from_jobs(world: World) -> None:
    await on_board(world, count=2)
    transfer = await begin_transfer(world, "ann")
    attempt = await accepted_by(world, transfer)
    counts = await world.store.jobs.counts(MARKET)
    assert {state: n for state, n in counts.items() if n} == {
        "submitted": 3,
        "picked_up": 2,
        "transfer_assigned": 1,
    }
    await take_over(world, transfer, attempt)
    counts = await world.store.jobs.counts(MARKET)
    assert counts["transfer_delivered"] == 1
    assert "delivered" not in counts


async def test_first_driver_hears_who_comes_and_nothing_of_offers(world: World) -> None:
    await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await settle(world, transfer)
    begun = len(await reasons(world, "ann"))
    await world.driver("bob", vehicle=ROOMY)
    offer = await world.offer(transfer, "bob")
    await settle(world, transfer)
    await world.store.offers.decline(MARKET, "bob", offer, "")
    await settle(world, transfer)
    assert len(await reasons(world, "ann")) == begun
    await accepted_by(world, transfer, "cat")
    await settle(world, transfer)
    await settle(world, transfer)
    assert (await reasons(world, "ann"))[begun:] == ["updated"]
    await world.store.jobs.cancel(transfer, "operator", "")
    await settle(world, transfer)
    assert (await reasons(world, "ann"))[begun:] == ["updated", "updated"]


async def test_jobs_not_on_board_are_queued(world: World) -> None:
    await world.driver("ann", vehicle=ROOMY)
    boarded, waiting = await world.assigned_run("ann", 2)
    await world.step(boarded, Step.PICKED_UP, 1)
    await begin_transfer(world, "ann")
    job = await world.job(waiting)
    assert (job.state, job.driver, job.attempt) == (JobState.QUEUED, None, 2)
    assert job.id in await _queue(world, job.mall)
    assert await holders(world, boarded) == [("ann", 1)]


async def _queue(world: World, mall: str) -> list[str]:
    places = await world.redis.zrange(world.keys.wait(mall), 0, -1)
    return [place.decode().split("/")[2] for place in places]


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


async def test_transfer_that_carries_nothing_ends(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.store.jobs.close(ref, JobState.RETURNED, "operator", "")
    await settle(world, transfer)
    await settle(world, transfer)
    job = await world.job(transfer)
    assert (job.state, job.reason) == (JobState.CANCELLED, "nothing_to_transfer")
    assert (await reasons(world, "bob"))[-1] == "nothing_to_transfer"
    assert (await world.record("bob")).jobs == ()
    assert "transfer_failed" not in await alerts(world)


async def test_offered_transfer_that_carries_nothing_ends(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await world.driver("bob", vehicle=ROOMY)
    await world.offer(transfer, "bob")
    await world.step(ref, Step.DELIVERED, 1)
    await settle(world, transfer)
    assert await world.state(transfer) == "cancelled"
    assert (await world.record("bob")).offer is None


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


async def test_job_is_part_of_one_open_transfer(world: World) -> None:
    first, second = await on_board(world)
    transfer = await begin_transfer(world, "ann", [first.job])
    with pytest.raises(TransferOpen) as other:
        await world.store.transfers.begin(MARKET, await transfer_plan(world, "ann"))
    assert other.value.transfer == transfer.job
    other_transfer = await begin_transfer(world, "ann", [second.job])
    await accepted_by(world, other_transfer)
    assert await take_over(world, other_transfer) == [second.job]
    await world.store.jobs.cancel(transfer, "operator", "")
    await begin_transfer(world, "ann", [first.job])


async def test_cancelled_transfer_leaves_the_parcels_and_alerts(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.store.jobs.cancel(transfer, "operator", "")
    await settle(world, transfer)
    assert await holders(world, ref) == [("ann", 1)]
    assert "transfer_failed" in await alerts(world)
    with pytest.raises(Refused):
        await take_over(world, transfer)
    await world.step(ref, Step.DELIVERED, 1)


async def test_expired_transfer_leaves_the_parcels_and_alerts(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await world.pass_ms(3_600_000)
    assert await world.store.deadlines.expire(transfer, "nobody_in_reach", 200) is not None
    await settle(world, transfer)
    assert await world.state(transfer) == "expired"
    assert await holders(world, ref) == [("ann", 1)]
    assert "transfer_failed" in await alerts(world)


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


async def test_vehicle_without_room_is_not_offered_a_transfer(world: World) -> None:
    await on_board(world, count=3)
    transfer = await begin_transfer(world, "ann")
    await world.driver("bob", vehicle=Vehicle(max_jobs=2))
    plan = world.plan(transfer, 0, "bob")
    assert (await world.store.offers.make(plan)).verdict == "nobody"
    with pytest.raises(DriverUnavailable):
        await world.store.jobs.assign(transfer, "bob", "operator")


async def test_accepted_transfer_reserves_its_room(world: World) -> None:
    await on_board(world, count=3)
    transfer = await begin_transfer(world, "ann")
    await world.driver("bob", vehicle=Vehicle(max_jobs=4))
    offer = await world.offer(transfer, "bob")
    await world.store.offers.accept(MARKET, "bob", offer)
    await world.store.jobs.assign(await world.submit(), "bob", "operator")
    with pytest.raises(DriverUnavailable):
        await world.store.jobs.assign(await world.submit(), "bob", "operator")


async def test_named_driver_is_assigned_at_once(world: World) -> None:
    await on_board(world)
    await world.driver("bob", vehicle=ROOMY)
    transfer = await begin_transfer(world, "ann", driver="bob")
    job = await world.job(transfer)
    assert (job.state, job.driver, job.attempt) == (JobState.ASSIGNED, "bob", 1)
    assert len(await take_over(world, transfer)) == 2


@pytest.mark.parametrize("named", ["ann", "bob", "nobody"])
async def test_named_driver_who_cannot_is_refused(world: World, named: str) -> None:
    await on_board(world)
    await world.driver("bob", vehicle=Vehicle(max_jobs=1))
    plan = await transfer_plan(world, "ann", driver=named)
    with pytest.raises(NoSuchDriver if named == "nobody" else DriverUnavailable):
        await world.store.transfers.begin(MARKET, plan)
    assert (await world.record()).wish is Wish.AVAILABLE


async def test_transfer_of_what_was_read_before_a_change_is_refused(world: World) -> None:
    first, _ = await on_board(world)
    plan = await transfer_plan(world, "ann")
    await world.step(first, Step.DELIVERED, 1)
    assert await world.store.transfers.begin(MARKET, plan) is None
    assert (await world.record()).wish is Wish.AVAILABLE


async def test_repeated_begin_makes_one_transfer(world: World) -> None:
    await on_board(world)
    plan = await transfer_plan(world, "ann")
    await world.store.transfers.begin(MARKET, plan)
    before = await world.dump()
    await world.store.transfers.begin(MARKET, plan)
    assert await world.dump() == before


async def test_transfer_is_never_closed_as_on_board(world: World) -> None:
    await on_board(world)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    with pytest.raises(WrongState):
        await world.store.jobs.close(transfer, JobState.LOST, "operator", "")


async def test_silent_first_driver_keeps_custody(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await accepted_by(world, transfer)
    await world.store.drivers.disconnect(MARKET, "node-1", [("ann", 1)])
    await world.pass_ms(1_800_000)
    assert await holders(world, ref) == [("ann", 1)]
    assert await take_over(world, transfer) == [ref.job]


async def test_breakdown_asks_for_a_transfer_until_one_begins(world: World) -> None:
    await on_board(world)
    answered = await world.store.jobs.problem(
        MARKET, "ann", kind="breakdown", mall="", job="", store="", until_ms=None, text=""
    )
    assert answered.effects.hand_overs == (("ann", "breakdown"),)
    await world.pass_ms(1_001)
    due = await world.store.deadlines.driver_due(MARKET, "ann")
    assert due.hand_overs == (("ann", "breakdown"),)
    await begin_transfer(world, "ann")
    due = await world.store.deadlines.driver_due(MARKET, "ann")
    assert due.hand_overs == ()


class TestBeforeTheEndOfABlock:
    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=12, transfer_before_end_s=600)

    async def test_parcels_are_handed_over_once(self, world: World) -> None:
        await on_board(world)
        until_ms = world.now + 3_600_000
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, until_ms)
        await world.pass_ms(3_000_000)
        due = await world.store.deadlines.driver_due(MARKET, "ann")
        assert due.hand_overs == (("ann", "block_ends"),)
        plan = await transfer_plan(world, "ann", [], pauses=False)
        await world.store.transfers.begin(MARKET, plan)
        assert (await world.record()).wish is Wish.AVAILABLE
        due = await world.store.deadlines.driver_due(MARKET, "ann")
        assert due.hand_overs == ()
