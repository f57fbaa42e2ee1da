"""Missing, short, closed, not ready: jobs that are held, and that fail."""

import pytest

from mallard_engine.core.model import JobHold
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.shops import refusal, shops, taken
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World

# -- missing and short


@pytest.mark.parametrize("how", ["collected", "problem"])
async def test_missing_parcel_holds_the_job(world: World, how: str) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.step(ref, Step.AT_MALL, attempt)
    if how == "collected":
        answered = await world.collect(ref, attempt, 0)
    else:
        answered = await world.problem(ref, "missing", attempt=attempt)
    assert answered.driver.jobs == ()
    job = await world.job(ref)
    assert (job.state, job.attempt, job.driver) == (JobState.SCHEDULED, attempt + 1, None)
    assert job.hold == JobHold("missing", "lego", job.expires_ms)
    assert await shops(world, ref) == {"lego": ("missing", 0)}
    (push,) = [push for push in await world.pushes() if push.reason]
    assert (push.reason, push.state, push.attempt) == ("held", "scheduled", attempt + 1)
    assert job.asked[-1].outcome == Outcome.HELD
    assert await world.due_of(ref) == job.expires_ms
    event = (await world.events("job"))[-1]
    assert (event["to"], event["cause"], event["reason"]) == ("scheduled", "held", "missing")


async def test_hold_lasts_as_long_as_the_order_says(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",), hold_s=600)
    await world.collect(ref, attempt, 0)
    job = await world.job(ref)
    assert job.hold == JobHold("missing", "lego", world.now + 600_000)


@pytest.mark.parametrize("how", ["collected", "problem"])
async def test_repeated_report_of_a_held_job_is_answered(world: World, how: str) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    for _ in range(2):
        if how == "collected":
            await world.collect(ref, attempt, 0)
        else:
            await world.problem(ref, "missing", attempt=attempt)
    job = await world.job(ref)
    assert (job.state, job.attempt, job.shops[0].holds) == (JobState.SCHEDULED, attempt + 1, 1)


async def test_held_job_is_not_offered_until_ready(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt, 0)
    assert await world.waiting() == []
    await world.store.deadlines.queue(ref)
    assert await world.state(ref) == "scheduled"
    effects = await world.say_ready(ref)
    assert effects is not None
    assert effects.malls == (MALL,)
    assert await world.waiting() == [ref.job]
    assert await shops(world, ref) == {"lego": ("ready", 0)}
    await world.offer(ref, "ann")  # may be asked again


async def test_ready_of_another_shop_does_not_end_the_hold(world: World) -> None:
    ref, attempt = await taken(world, on_short="hold")
    await world.collect(ref, attempt, 0)
    await world.say_ready(ref, "gap")
    job = await world.job(ref)
    assert (job.state, job.hold and job.hold.store) == (JobState.SCHEDULED, "lego")
    assert await world.due_of(ref) == job.expires_ms


async def test_ready_later_ends_the_hold_at_once(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt, 0)
    await world.say_ready(ref, ready_ms=world.now + 60_000)
    job = await world.job(ref)
    assert (job.state, job.hold, job.release_ms) == (JobState.SCHEDULED, None, world.now + 60_000)
    await world.pass_ms(60_000)
    await world.store.deadlines.queue(ref)
    assert await world.state(ref) == "queued"


async def test_unanswered_hold_fails_at_its_end(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",), hold_s=60)
    await world.collect(ref, attempt, 0)
    await world.pass_ms(60_000)
    await world.store.deadlines.queue(ref)
    job = await world.job(ref)
    assert (job.state, job.reason, job.hold) == (JobState.FAILED, "not_at_counter", None)


async def test_failed_job_frees_its_external_id(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",), on_missing="fail")
    await world.collect(ref, attempt, 0)
    job = await world.job(ref)
    assert (job.state, job.reason, job.driver) == (JobState.FAILED, "not_at_counter", None)
    (push,) = [push for push in await world.pushes() if push.reason]
    assert (push.state, push.reason) == ("failed", "not_at_counter")
    assert await world.idle() == {"ann"}
    await world.submit(external_id=job.external_id)
    await world.collect(ref, attempt, 0)  # a repeat


async def test_job_held_twice_for_one_shop_fails(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.collect(ref, attempt, 0)
    await world.say_ready(ref)
    await world.driver("bob")
    answered = await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    await world.collect(ref, answered.jobs[0].attempt, 0, driver="bob")
    job = await world.job(ref)
    assert (job.state, job.reason) == (JobState.FAILED, "not_at_counter")


@pytest.mark.parametrize(
    ("on_short", "state"),
    [("deliver", "assigned"), ("hold", "scheduled"), ("fail", "failed")],
)
@pytest.mark.parametrize("kind", ["missing", "partial"])
async def test_short_shop_before_pickup_follows_the_order(
    world: World, on_short: str, state: str, kind: str
) -> None:
    ref, _ = await taken(world, on_short=on_short)
    await world.problem(ref, kind)
    job = await world.job(ref)
    assert job.state == state
    assert (job.hold and job.hold.why) == ("short" if state == "scheduled" else None)
    assert job.reason == ("short" if state == "failed" else None)


@pytest.mark.parametrize(
    ("on_short", "state"),
    [("deliver", "picked_up"), ("hold", "picked_up"), ("fail", "returning")],
)
async def test_short_order_on_board_is_never_held(world: World, on_short: str, state: str) -> None:
    ref, attempt = await taken(world, on_short=on_short)
    answered = await world.collect(ref, attempt, 1)
    assert answered.job_state == state
    job = await world.job(ref)
    assert (job.driver, job.reason) == ("ann", "short" if state == "returning" else None)


async def test_last_of_several_missing_shops_is_on_missing(world: World) -> None:
    ref, attempt = await taken(world)
    await world.collect(ref, attempt, 0)
    assert await world.state(ref) == "assigned"
    await world.collect(ref, attempt, 0, store="gap")
    job = await world.job(ref)
    assert job.hold == JobHold("missing", "gap", job.expires_ms)


# -- closed, not ready


async def test_closed_shop_is_queued_again_at_its_time(world: World) -> None:
    ref, _ = await taken(world, stores=("lego",))
    until_ms = world.now + 600_000
    await world.problem(ref, "store_closed", until_ms=until_ms)
    assert (await world.job(ref)).hold == JobHold("store_closed", "lego", until_ms)
    assert await shops(world, ref) == {"lego": ("closed", 0)}
    await world.pass_ms(600_000)
    await world.store.deadlines.queue(ref)
    assert await world.state(ref) == "queued"
    assert await shops(world, ref) == {"lego": ("waiting", 0)}


async def test_shop_closed_for_too_long_fails_the_job(world: World) -> None:
    ref, _ = await taken(world, stores=("lego",))
    await world.problem(ref, "store_closed", until_ms=world.now + 3 * HOUR_MS)
    await world.pass_ms(HOUR_MS)
    await world.store.deadlines.queue(ref)
    job = await world.job(ref)
    assert (job.state, job.reason) == (JobState.FAILED, "store_closed")


async def test_closed_shop_of_several_goes_on_to_the_others(world: World) -> None:
    ref, _ = await taken(world)
    await world.problem(ref, "store_closed")
    assert await world.state(ref) == "assigned"
    assert (await shops(world, ref))["lego"] == ("closed", 0)


async def test_not_ready_leaves_the_job_until_given_up(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    until_ms = world.now + 300_000
    await world.problem(ref, "not_ready", until_ms=until_ms)
    assert await world.state(ref) == "assigned"
    for _ in range(2):
        answered = await world.step(ref, Step.GIVE_UP, attempt)
        assert (answered.job_state, answered.attempt) == ("scheduled", attempt + 1)
    job = await world.job(ref)
    assert job.hold == JobHold("not_ready", "lego", until_ms)
    assert not [push for push in await world.pushes() if push.reason]
    assert await refusal(world.step(ref, Step.PICKED_UP, attempt)) is ErrorCode.STALE_ATTEMPT
    await world.pass_ms(300_000)
    await world.store.deadlines.queue(ref)
    assert await world.state(ref) == "queued"


async def test_give_up_after_the_ready_time_requeues_the_job(world: World) -> None:
    ref, attempt = await taken(world, stores=("lego",))
    await world.problem(ref, "not_ready", until_ms=world.now + 60_000)
    await world.pass_ms(60_000)
    assert (await world.step(ref, Step.GIVE_UP, attempt)).job_state == "queued"
