"""Claims of custody in a hello: accepted from holders and, after lost writes, from others."""

import pytest

from mallard_engine.ports import JobRef, Refused
from mallard_protocol.codes import TERMINAL_KEPT_MS, ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, ShopState, Step
from tests.engine.storage.worlds import MARKET, World

pytestmark = [pytest.mark.finding("B5"), pytest.mark.finding("C10")]


async def claim(
    world: World,
    ref: JobRef,
    attempt: int,
    state: str = "picked_up",
    driver: str = "ann",
    at_ms: int | None = None,
) -> tuple[str, int]:
    """Claim the job; its state and attempt, or the error code and 0."""
    try:
        done = await world.store.jobs.claim(MARKET, driver, ref.job, attempt, state, at_ms=at_ms)
    except Refused as refused:
        return refused.code.value, 0
    return done.job_state, done.attempt


async def alerts(world: World) -> list[str]:
    return [alert["what"] for alert in await world.events("alert")]


async def lose_writes(world: World) -> None:
    """Simulate lost writes, noticed a second after the last call."""
    await world.pass_ms(1_000)
    await world.redis.hset(world.keys.key("lineage"), "server", "another")
    await world.beat()


# -- holders that Redis knows


@pytest.mark.parametrize("before", [(), (Step.AT_MALL,), (Step.PICKED_UP,)])
async def test_delivery_claimed_by_the_holder_ends_the_job(
    world: World, before: tuple[Step, ...]
) -> None:
    ref, attempt = await world.assigned(await world.driver())
    for step in before:
        await world.step(ref, step, attempt, "ann")
    done = await claim(world, ref, attempt, "delivered", at_ms=world.now - 5_000)
    assert done == ("delivered", attempt)
    assert (await world.record()).jobs == ()
    assert await world.idle() == {"ann"}
    last = (await world.events("job"))[-1]
    assert (last["to"], last["reported_ms"]) == ("delivered", world.now - 5_000)
    # The app repeats the claim, as it missed the reply.
    assert await claim(world, ref, attempt, "delivered") == ("delivered", attempt)
    assert await alerts(world) == []


async def test_claimed_delivery_overrides_the_return(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    for step in (Step.PICKED_UP, Step.RETURNING):
        await world.step(ref, step, attempt, "ann")
    assert await claim(world, ref, attempt, "delivered") == ("delivered", attempt)


async def test_claimed_delivery_without_proof_counts_as_pickup(world: World) -> None:
    ref, attempt = await world.picked_up(await world.driver(), needs_age_check=True)
    assert await claim(world, ref, attempt, "delivered") == ("picked_up", attempt)


async def test_revoked_holder_may_claim_the_delivery(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    await world.driver("bob")
    await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    done, higher = await claim(world, ref, attempt, "delivered")
    assert (done, higher > attempt + 1) == ("delivered", True)
    assert (await world.record("bob")).jobs == ()
    assert await claim(world, ref, attempt, "delivered") == (done, higher)


async def test_claim_after_give_up_is_refused(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    await world.step(ref, Step.GIVE_UP, attempt, "ann")
    await lose_writes(world)
    assert (await claim(world, ref, attempt))[0] == "stale_attempt"
    assert (await world.job(ref)).state is JobState.QUEUED


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_claimed_pickup_collects_the_shops_that_are_left(
    world: World, is_revoked: bool
) -> None:
    ref, attempt = await world.assigned(await world.driver())
    if is_revoked:
        await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    assert (await claim(world, ref, attempt))[0] == "picked_up"
    (shop,) = (await world.job(ref)).shops
    assert (shop.state, shop.collected) == (ShopState.COLLECTED, 2)
    # What it corrects, a repeat leaves alone.
    await world.collect(ref, attempt, parcels=0)
    assert (await claim(world, ref, attempt))[0] == "picked_up"
    (shop,) = (await world.job(ref)).shops
    assert (shop.state, shop.collected) == (ShopState.MISSING, 0)


# -- jobs and attempts unknown to Redis


async def test_higher_attempt_raises_an_alert(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    assert await claim(world, ref, attempt + 1, "delivered") == ("stale_attempt", 0)
    assert (await world.job(ref)).state is JobState.ASSIGNED
    assert await alerts(world) == ["unknown_attempt_held"]


async def test_unknown_job_raises_an_alert(world: World) -> None:
    await world.driver()
    ref = JobRef("job_phoenix.gone", "chandler")
    assert await claim(world, ref, 1) == ("not_yours", 0)
    assert await alerts(world) == ["unknown_job_held"]


async def test_job_of_another_market_cannot_be_claimed(world: World) -> None:
    await world.driver()
    with pytest.raises(Refused) as refused:
        await world.store.jobs.claim(MARKET, "ann", "job_las-vegas.x", 1, "picked_up", at_ms=None)
    assert refused.value.code is ErrorCode.NOT_YOURS


async def test_claim_of_another_driver_is_refused(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    await world.driver("bob")
    assert await claim(world, ref, attempt, driver="bob") == ("not_yours", 0)
    assert (await world.job(ref)).driver == "ann"


# -- after lost writes


async def test_claim_after_lost_writes_is_accepted(world: World) -> None:
    """Only the offer survived; its accept and the pickup were lost."""
    ref, _ = await world.offered(await world.driver())
    await lose_writes(world)
    assert await claim(world, ref, 1) == ("picked_up", 2)
    job = await world.job(ref)
    assert (job.driver, job.offer) == ("ann", None)
    ann = await world.record()
    assert ([held.job for held in ann.jobs], ann.offer) == ([ref.job], None)
    assert await world.waiting() == []
    assert await claim(world, ref, 1, "delivered") == ("delivered", 2)
    assert await alerts(world) == ["custody_after_lost_writes"]


async def test_claim_after_a_lost_offer_revokes_the_holder(world: World) -> None:
    ref = await world.submit()
    await world.driver("bob")
    await world.driver("ann")
    await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    await lose_writes(world)
    done = await claim(world, ref, 3, "delivered")
    assert done == ("delivered", 4)
    assert (await world.record("bob")).jobs == ()


async def test_job_made_after_the_loss_is_claimed_by_the_usual_rule(world: World) -> None:
    await world.driver()
    await lose_writes(world)
    await world.pass_ms(1)
    ref = await world.submit()
    assert await claim(world, ref, 1) == ("not_yours", 0)
    assert await alerts(world) == ["unknown_attempt_held"]


async def test_conflicting_claims_after_lost_writes_raise_an_alert(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver("bob"))
    await world.step(ref, Step.PICKED_UP, attempt, "bob")
    await world.driver("ann")
    await lose_writes(world)
    assert await claim(world, ref, attempt + 1) == ("wrong_state", 0)
    assert (await world.job(ref)).driver == "bob"
    assert "two_claim_a_parcel" in await alerts(world)


# -- repeated claims


async def test_repeated_claim_of_an_unknown_job_alerts_once(world: World) -> None:
    for driver in ("ann", "bob"):
        await world.driver(driver)
        for job in ("job_phoenix.gone", "job_phoenix.other"):
            for state in ("picked_up", "picked_up", "delivered"):
                held = JobRef(job, "chandler")
                assert await claim(world, held, 1, state, driver=driver) == ("not_yours", 0)
    assert await alerts(world) == ["unknown_job_held"] * 4


async def test_unknown_job_alerts_again_a_week_later(world: World) -> None:
    await world.driver()
    ref = JobRef("job_phoenix.gone", "chandler")
    await claim(world, ref, 1)
    await world.pass_ms(TERMINAL_KEPT_MS)
    await claim(world, ref, 1)
    assert await world.redis.zcard(world.keys.key("alerted")) == 1
    assert (await alerts(world))[-1:] == ["unknown_job_held"]
    assert await world.redis.zscore(world.keys.key("alerted"), f"{ref.job}/ann") == world.now


async def test_remembered_claims_are_bounded(world: World) -> None:
    await world.driver()
    name = world.keys.key("alerted")
    await world.redis.zadd(name, {f"job_phoenix.{n}/x": world.now - 1 for n in range(10_000)})
    await claim(world, JobRef("job_phoenix.gone", "chandler"), 1)
    assert await world.redis.zcard(name) == 10_000
    assert await world.redis.zscore(name, "job_phoenix.gone/ann") == world.now


async def test_repeated_claim_of_a_higher_attempt_alerts_once(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    for more in (1, 1, 2):
        await claim(world, ref, attempt + more, "delivered")
    assert await alerts(world) == ["unknown_attempt_held"]


async def test_two_claims_of_a_parcel_alert_once(world: World) -> None:
    ref, attempt = await world.assigned(await world.driver())
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "ops", "")
    await world.driver("bob")
    await world.store.jobs.assign(ref, "bob", "ops")
    job = await world.job(ref)
    await world.step(ref, Step.PICKED_UP, job.attempt, "bob")
    for _ in range(3):
        assert (await claim(world, ref, attempt))[0] == "wrong_state"
        with pytest.raises(Refused):
            await world.step(ref, Step.PICKED_UP, attempt)
    assert await alerts(world) == ["two_claim_a_parcel"]
