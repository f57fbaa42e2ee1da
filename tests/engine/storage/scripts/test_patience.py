"""Limits that fit the slack of a job, as the scripts apply them."""

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import Step
from tests.engine.storage.worlds import COOLDOWN_MS, HOUR_MS, MARKET, OFFER_MS, World

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


@pytest.mark.parametrize("policy", [MarketPolicy(max_run_jobs=2)])
async def test_most_urgent_job_of_a_run_decides_the_cool_down(world: World) -> None:
    await world.driver("ann", vehicle=Vehicle(max_jobs=2))
    refs = [await world.submit(), await world.submit(expires_ms=world.now + 100_000)]
    plan = await world.run_plan(refs, "ann")
    await world.store.offers.make(plan)
    answered = await world.store.offers.decline(MARKET, "ann", plan.offer, "")
    assert answered.driver.cool_until_ms == world.now + 10_000
