"""Pickup shop by shop: collected, custody, the word of the shop, which shops are left."""

from dataclasses import replace

import pytest

from mallard_engine.core.handover import handover_code
from mallard_engine.ports import JobRef, WrongState
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, ShopState, Step
from mallard_protocol.messages import Proof
from tests.engine.storage.shops import TWO, refusal, shops, taken
from tests.engine.storage.transfers import begin_transfer
from tests.engine.storage.worlds import LAT, LON, MALL, MARKET, World

# -- collected


async def test_first_collected_picks_the_job_up(world: World) -> None:
    ref, attempt = await taken(world)
    answered = await world.collect(ref, attempt)
    assert (answered.job_state, answered.attempt) == ("picked_up", attempt)
    assert [t.state for t in (await world.job(ref)).timeline[-2:]] == ["at_mall", "picked_up"]
    assert await shops(world, ref) == {"lego": ("collected", 2), "gap": ("waiting", 0)}
    (event,) = await world.events("shop")
    assert (event["what"], event["store"], event["parcels"]) == ("collected", "lego", 2)


async def test_repeated_collected_changes_nothing(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt, 1)
    before = await world.dump()
    assert (await world.collect(ref, attempt, 1)).job_state == "picked_up"
    assert await world.dump() == before


async def test_later_number_corrects_an_earlier_one(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt)
    await world.collect(ref, attempt, 1)
    assert (await shops(world, ref))["lego"] == ("short", 1)
    await world.collect(ref, attempt, 0)
    assert (await shops(world, ref))["lego"] == ("missing", 0)
    await world.collect(ref, attempt, 2)
    assert (await shops(world, ref))["lego"] == ("collected", 2)
    assert await world.state(ref) == "picked_up"


async def test_correction_to_nothing_raises_an_alert(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt)
    await world.collect(ref, attempt, 0)
    assert await world.state(ref) == "picked_up"
    assert [alert["what"] for alert in await world.events("alert")] == ["nothing_on_board"]


@pytest.mark.parametrize(("store", "parcels"), [("lego", 3), ("nobody", 1), ("", 1)])
async def test_collected_of_unknown_or_too_many_is_refused(
    world: World, store: str, parcels: int
) -> None:
    ref, attempt = await taken(world)
    before = await world.dump()
    call = world.collect(ref, attempt, parcels, store=store)
    assert await refusal(call) is ErrorCode.BAD_FIELD
    assert await world.dump() == before


async def test_correction_after_delivery_is_refused(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt)
    await world.step(ref, Step.DELIVERED, attempt)
    assert await refusal(world.collect(ref, attempt, 1)) is ErrorCode.WRONG_STATE


@pytest.mark.parametrize("step", [Step.PICKED_UP, Step.DELIVERED])
async def test_pickup_or_delivery_collects_what_is_left(world: World, step: Step) -> None:
    ref, attempt = await taken(world)
    if step is Step.DELIVERED:
        await world.collect(ref, attempt, 1)
    await world.step(ref, step, attempt)
    lego = ("short", 1) if step is Step.DELIVERED else ("collected", 2)
    assert await shops(world, ref) == {"lego": lego, "gap": ("collected", 2)}


async def test_delivery_does_not_collect_what_was_missing(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt, 0)
    await world.collect(ref, attempt, store="gap")
    await world.step(ref, Step.DELIVERED, attempt)
    assert await shops(world, ref) == {"lego": ("missing", 0), "gap": ("collected", 2)}


async def test_wrong_code_of_a_shop_is_refused(world: World) -> None:
    await world.driver("ann")
    stores = [{"store": "lego", "parcels": 2, "pickup_code": "77"}]
    ref, attempt = await world.assigned(order={"pickup": {"stores": stores}})
    assert await refusal(_with_code(world, ref, attempt, "78")) is ErrorCode.WRONG_CODE
    assert await world.state(ref) == "assigned"
    await _with_code(world, ref, attempt, "77")
    assert await world.state(ref) == "picked_up"


async def _with_code(world: World, ref: JobRef, attempt: int, code: str) -> None:
    await world.store.jobs.progress(
        ref,
        "ann",
        attempt,
        Step.COLLECTED,
        at_ms=None,
        proof=Proof("code", code),
        reason="",
        store="lego",
    )


# -- custody


@pytest.mark.parametrize("kind", ["collected", "missing", "partial"])
@pytest.mark.parametrize("is_taken", [False, True])
async def test_revoked_holder_says_too_late_that_nothing_is_there(
    world: World, kind: str, is_taken: bool
) -> None:
    ref, attempt = await taken(world)
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "ops", "")
    if is_taken:
        await world.driver("bob")
        await world.store.jobs.assign(ref, "bob", "ops")
    before = await world.dump()
    if kind == "collected":
        report = world.collect(ref, attempt, 0)
    else:
        report = world.problem(ref, kind, attempt=attempt)
    assert await refusal(report) in {ErrorCode.STALE_ATTEMPT, ErrorCode.NOT_YOURS}
    assert await world.dump() == before


async def test_collected_by_a_revoked_holder_is_custody(world: World) -> None:
    ref, attempt = await taken(world)
    await world.driver("bob")
    await world.store.jobs.assign(ref, "bob", "operator")
    answered = await world.collect(ref, attempt, 1)
    assert (answered.job_state, answered.attempt) == ("picked_up", attempt + 2)
    assert await shops(world, ref) == {"lego": ("short", 1), "gap": ("waiting", 0)}
    assert [push.reason for push in await world.pushes("bob")][-1] == "collected"
    # Until its app knows the new attempt, its steps name the old one.
    await world.collect(ref, attempt, store="gap")
    assert (await shops(world, ref))["gap"] == ("collected", 2)


async def test_nothing_collected_claims_no_custody(world: World) -> None:
    ref, attempt = await taken(world)
    await world.driver("bob")
    await world.store.jobs.assign(ref, "bob", "operator")
    before = await world.dump()
    assert await refusal(world.collect(ref, attempt, 0)) is ErrorCode.STALE_ATTEMPT
    assert await world.dump() == before


async def test_holder_of_a_held_job_may_still_claim_it(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt, 0)
    answered = await world.step(ref, Step.PICKED_UP, attempt)
    assert (answered.job_state, answered.attempt) == ("picked_up", attempt + 2)
    assert await shops(world, ref) == {"lego": ("collected", 2)}
    assert (await world.job(ref)).hold is None


# -- the shop's own word


async def test_shop_says_missing_of_a_waiting_job(world: World) -> None:
    ref = await world.submit()
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    job = await world.job(ref)
    assert (job.state, job.attempt) == (JobState.SCHEDULED, 1)
    assert job.hold is not None
    assert await world.waiting() == []
    before = await world.dump()
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    assert await world.dump() == before


async def test_shop_says_missing_of_an_offered_job(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered()
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    assert await world.state(ref) == "scheduled"
    assert (await world.record()).offer is None


async def test_shop_says_short_and_the_driver_collects_that(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.store.jobs.shop_says(ref, "lego", ShopState.SHORT, "lego", 1)
    assert (await world.pushes())[-1].reason == "updated"
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await shops(world, ref) == {"lego": ("short", 1)}


async def test_shop_says_short_of_a_held_job_and_it_goes_on(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt, 0)
    await world.store.jobs.shop_says(ref, "lego", ShopState.SHORT, "lego", 1)
    assert await world.waiting() == [ref.job]


@pytest.mark.parametrize(
    ("state", "parcels"),
    [(ShopState.SHORT, None), (ShopState.SHORT, 0), (ShopState.SHORT, 2), (ShopState.SHORT, 9)],
)
async def test_shop_says_a_wrong_number_and_is_refused(
    world: World, state: ShopState, parcels: int | None
) -> None:
    ref = await world.submit()
    call = world.store.jobs.shop_says(ref, "lego", state, "lego", parcels)
    assert await refusal(call) is ErrorCode.BAD_FIELD


async def test_shop_says_nothing_after_collection(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt)
    with pytest.raises(WrongState):
        await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    with pytest.raises(WrongState):
        await world.say_ready(ref)
    await world.say_ready(ref, "gap")
    assert (await shops(world, ref))["gap"] == ("ready", 0)


# -- what a round and a driver plan with


async def test_missing_shop_is_not_visited_by_the_next_driver(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt, 0)
    assert (await world.job(ref)).need.visits == ("gap",)
    await world.step(ref, Step.GIVE_UP, attempt)
    await world.driver("bob")
    found = await world.store.offers.candidates(
        MARKET, MALL, LAT, LON, radius_m=9_000, max_radius_m=9_000, drivers=9, jobs=9
    )
    (queued,) = found.waiting
    assert queued.need.visits == ("gap",)
    await world.offer(ref, "bob")
    (push,) = await world.pushes("bob")
    assert push.offer is not None
    assert push.offer.jobs[0].done == ("lego",)


async def test_shop_is_visited_again_once_it_is_ready(world: World) -> None:
    ref = await world.submit(stores=TWO)
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    assert (await world.job(ref)).need.visits == ("gap",)
    assert await world.waiting() == [ref.job]
    await world.say_ready(ref)
    assert (await world.job(ref)).need.visits == TWO


async def test_collected_shop_is_not_visited_again(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt)
    assert (await world.job(ref)).need.done == ("lego",)
    await world.collect(ref, attempt, store="gap")
    assert (await world.job(ref)).need.done == TWO


async def test_closed_shop_is_visited_only_if_it_is_all(world: World) -> None:
    ref, attempt = await taken(world)
    await world.problem(ref, "store_closed")
    assert (await world.job(ref)).need.visits == ("gap",)
    await world.collect(ref, attempt, 0, store="gap")
    assert (await world.job(ref)).need.visits == ("lego",)


async def test_move_to_the_next_opening_keeps_what_is_done(world: World) -> None:
    ref = await world.submit(stores=TWO)
    was = (await world.job(ref)).need
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    later = replace(was, ready_ms=world.now + 60_000)
    await world.store.deadlines.next_opening(ref, 0, was=was, need=later, release_ms=later.ready_ms)
    assert (await world.job(ref)).need == replace(later, done=("lego",))


# -- the code at the counter


async def test_handover_code_differs_with_each_attempt(world: World) -> None:
    ref = await world.submit(handover_key="00ff00ff00ff00ff")
    key = (await world.job(ref)).handover_key
    codes = {handover_code(key, attempt) for attempt in range(50)}
    assert len(codes) > 45
    assert all(len(code) == 6 and code.isdigit() for code in codes)
    assert handover_code("", 1) == ""


# -- what callers count, and transfers


async def test_holds_and_failures_are_counted_by_reason(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    held = await world.collect(ref, attempt, 0)
    assert held.effects.shops == (("held", "missing"),)
    repeated = await world.collect(ref, attempt, 0)
    assert repeated.effects.shops == ()
    other, attempt = await world.assigned(order={"on_missing": "fail"})
    failed = await world.collect(other, attempt, 0)
    assert failed.effects.shops == (("failed", "not_at_counter"),)


async def test_transfer_holds_an_unanswered_job_again(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt, 0)
    await world.store.jobs.assign(ref, "ann", "operator")
    await begin_transfer(world, "ann")
    job = await world.job(ref)
    assert (job.state, job.hold and job.hold.store) == (JobState.SCHEDULED, "lego")
