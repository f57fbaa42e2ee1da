"""Transfers: how they begin, whom they are offered to, how they end."""

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverUnavailable, NoSuchDriver, Refused, TransferOpen, WrongState
from mallard_protocol.lifecycle import JobState, Step, Wish
from tests.engine.storage.transfers import (
    PLACE,
    ROOMY,
    accepted_by,
    alerts,
    begin_transfer,
    holders,
    on_board,
    reasons,
    settle,
    take_over,
    transfer_plan,
)
from tests.engine.storage.worlds import MARKET, World


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=12)


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


async def test_first_driver_learns_who_comes_but_of_no_offer(world: World) -> None:
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
