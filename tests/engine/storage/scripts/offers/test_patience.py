"""Limits that fit the slack of a job, as the scripts apply them."""

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_engine.ports import DueEntry, DueKind, Stop
from mallard_protocol.lifecycle import Step
from tests.engine.storage.worlds import (
    ACK_MS,
    AT_MALL_MS,
    COOLDOWN_MS,
    HOUR_MS,
    MALL,
    MARKET,
    NODE,
    OFFER_MS,
    RESUME_MS,
    World,
)

DAY_MS = 24 * HOUR_MS
MINUTE_MS = 60_000


async def test_lapse_bars_for_minutes_and_no_longer(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered(expires_ms=world.now + DAY_MS)
    await world.store.offers.ack(MARKET, "ann", offer)
    await world.pass_ms(OFFER_MS)
    await world.store.deadlines.lapse(await world.entry(ref))
    await world.pass_ms(5 * MINUTE_MS - 1)
    await world.fix("ann")
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).verdict == "nobody"
    await world.pass_ms(1)
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).driver == "ann"


async def test_decline_bars_for_half_an_hour_and_no_longer(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered(expires_ms=world.now + DAY_MS)
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.pass_ms(30 * MINUTE_MS - 1)
    await world.fix("ann")
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).verdict == "nobody"
    await world.pass_ms(1)
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).driver == "ann"


async def test_urgent_job_asks_the_same_driver_sooner(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered(expires_ms=world.now + 10 * MINUTE_MS)
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.pass_ms(MINUTE_MS - 1)
    await world.fix("ann")
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).verdict == "nobody"
    await world.pass_ms(1)
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).driver == "ann"


async def test_operator_may_assign_what_a_driver_gave_up(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.step(ref, Step.GIVE_UP, attempt)
    await world.pass_ms(59 * MINUTE_MS)
    await world.fix("ann")
    assert (await world.store.offers.make(world.plan(ref, 2, "ann"))).verdict == "nobody"
    await world.store.jobs.assign(ref, "ann", "operator")
    assert await world.state(ref) == "assigned"


@pytest.mark.parametrize(
    ("left_ms", "cooldown_ms"),
    [(HOUR_MS, COOLDOWN_MS), (200_000, 20_000), (45_000, 5_000)],
)
async def test_cool_down_is_shorter_after_an_urgent_offer(
    world: World, left_ms: int, cooldown_ms: int
) -> None:
    await world.driver("ann")
    _, offer = await world.offered(expires_ms=world.now + left_ms)
    answered = await world.store.offers.decline(MARKET, "ann", offer, "")
    assert answered.driver.cool_until_ms == world.now + cooldown_ms


async def goes_silent(world: World, ms: int, *, around: bool = False) -> str:
    """Let ann lose her socket for so long; return the state of her job after the sweep."""
    if (await world.record()).connected:
        await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(ms)
    (member,) = [member for member in await world.due() if member.startswith("silent/")]
    job = member.rpartition("/")[2]
    entry = DueEntry(member, DueKind.SILENT, job, mall=MALL)
    await world.store.deadlines.silence(entry, lambda _lat, _lon: around)
    return (await world.store.jobs.get(job)).state.value


async def test_silence_in_the_garage_keeps_the_order(world: World) -> None:
    await world.driver("ann")
    await world.assigned(deadline_ms=world.now + 1_000)
    assert await goes_silent(world, RESUME_MS, around=True) == "assigned"
    assert await goes_silent(world, AT_MALL_MS - RESUME_MS - 1, around=True) == "assigned"
    assert await goes_silent(world, 1, around=True) == "queued"


async def test_late_order_of_a_silent_driver_is_revoked_soon(world: World) -> None:
    await world.driver("ann")
    await world.assigned(deadline_ms=world.now + 1_000)
    assert await goes_silent(world, RESUME_MS - 1) == "assigned"
    assert await goes_silent(world, 1) == "queued"


@pytest.mark.parametrize(
    ("slack_ms", "limit_ms"),
    [(10 * MINUTE_MS, RESUME_MS), (HOUR_MS, 6 * MINUTE_MS), (DAY_MS, 15 * MINUTE_MS)],
)
async def test_slack_decides_how_long_a_holder_may_be_silent(
    world: World, slack_ms: int, limit_ms: int
) -> None:
    await world.driver("ann")
    await world.assigned(deadline_ms=world.now + slack_ms)
    assert await goes_silent(world, limit_ms - 1) == "assigned"
    assert await goes_silent(world, 1) == "queued"


async def test_expected_drop_off_counts_against_the_slack(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned(deadline_ms=world.now + HOUR_MS)
    stop = Stop(ref.job, attempt, world.now, world.now + HOUR_MS + 1)
    await world.store.jobs.update_etas(MARKET, "ann", [stop])
    assert await goes_silent(world, RESUME_MS) == "queued"


async def test_pay_rises_to_its_limit_and_stays(world: World) -> None:
    for name in ("ann", "bob", "cyd", "dan"):
        await world.driver(name)
    ref = await world.submit(pay_minor=900, pay_max_minor=970)
    shown = []
    for name in ("ann", "bob", "cyd"):
        offer = await world.offer(ref, name)
        shown.append((await world.pushes(name))[-1].offer.jobs[0].pay_minor)  # type: ignore[union-attr]
        await world.store.offers.decline(MARKET, name, offer, "")
    assert shown == [None, 950, 970]
    offer = await world.offer(ref, "dan")
    answered = await world.store.offers.accept(MARKET, "dan", offer)
    assert answered.jobs[0].raised_pay_minor == 970
    await world.step(ref, Step.GIVE_UP, answered.jobs[0].attempt, "dan")
    assert (await world.job(ref)).raised_pay_minor == 970


@pytest.mark.parametrize("limit", [0, 900])
async def test_pay_without_room_does_not_rise(world: World, limit: int) -> None:
    await world.driver("ann")
    ref, offer = await world.offered(pay_minor=900, pay_max_minor=limit)
    await world.store.offers.decline(MARKET, "ann", offer, "")
    assert (await world.job(ref)).raised_pay_minor is None


async def test_lapse_and_missing_acknowledgement_raise_the_pay(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, _ = await world.offered(pay_minor=900, pay_max_minor=2_000)
    await world.pass_ms(ACK_MS)
    await world.store.deadlines.lapse(await world.entry(ref))
    assert (await world.job(ref)).raised_pay_minor == 950
    offer = await world.offer(ref, "bob")
    await world.store.offers.withdraw(ref, offer, "operator")
    assert (await world.job(ref)).raised_pay_minor == 950


@pytest.mark.parametrize("policy", [MarketPolicy(weights=CostWeights(earnings_s=60.0))])
async def test_earnings_count_the_accepted_pay(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, offer = await world.offered(pay_minor=900, pay_max_minor=2_000)
    await world.store.offers.decline(MARKET, "ann", offer, "")
    offer = await world.offer(ref, "bob")
    answered = await world.store.offers.accept(MARKET, "bob", offer)
    attempt = answered.jobs[0].attempt
    await world.step(ref, Step.PICKED_UP, attempt, "bob")
    done = await world.step(ref, Step.DELIVERED, attempt, "bob")
    assert done.driver.earned_minor == 950


@pytest.mark.parametrize("policy", [MarketPolicy(max_run_jobs=2, preset="pooled")])
async def test_most_urgent_job_of_a_run_decides_the_cool_down(world: World) -> None:
    await world.driver("ann", vehicle=Vehicle(max_jobs=2))
    refs = [await world.submit(), await world.submit(expires_ms=world.now + 100_000)]
    plan = await world.run_plan(refs, "ann")
    offered = await world.store.offers.make(plan)
    assert offered.verdict == "offered"
    answered = await world.store.offers.decline(MARKET, "ann", plan.offer, "")
    assert answered.driver.cool_until_ms == world.now + 10_000
