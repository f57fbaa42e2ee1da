"""The driver's answer to an offer: accept, decline."""

import asyncio

import pytest

from mallard_engine.core.model import HeldJob
from mallard_engine.ports import Refused
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.storage.worlds import (
    ACK_MS,
    COOLDOWN_MS,
    HOUR_MS,
    MALL,
    MARKET,
    NODE,
    OFFER_MS,
    RESUME_MS,
    World,
)

KEPT_MS = 600_000


async def refused(world: World, driver: str, offer: str, verb: str = "accept") -> ErrorCode:
    store = world.store
    answer = (
        store.offers.accept(MARKET, driver, offer)
        if verb == "accept"
        else store.offers.decline(MARKET, driver, offer, "")
    )
    with pytest.raises(Refused) as caught:
        await answer
    return caught.value.code


async def test_accept_assigns_the_job(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.pass_ms(500)
    answered = await world.store.offers.accept(MARKET, "ann", offer)
    (job,) = answered.jobs
    assert job == await world.job(ref)
    assert (job.state, job.driver, job.attempt, job.offer) == ("assigned", "ann", 1, None)
    assert job.eta_pickup_ms is not None
    assert [(t.driver, t.outcome) for t in job.asked] == [("ann", "accepted")]
    assert answered.driver.jobs == (HeldJob(ref.job, 1, MALL),)
    assert (answered.driver.offer, answered.driver.shown) == (None, "on_run")
    assert await world.idle() == set()
    assert await world.due_of(ref) == world.now + RESUME_MS


@pytest.mark.parametrize("early_ms", [1, 0, -1])
async def test_accept_succeeds_only_before_the_expiry(world: World, early_ms: int) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.store.offers.ack(MARKET, "ann", offer)
    await world.pass_ms(OFFER_MS - early_ms)
    before = await world.dump()
    if early_ms > 0:
        await world.store.offers.accept(MARKET, "ann", offer)
        assert await world.state(ref) == "assigned"
        return
    assert await refused(world, "ann", offer) is ErrorCode.OFFER_CLOSED
    assert await refused(world, "ann", offer, "decline") is ErrorCode.OFFER_CLOSED
    assert await world.dump() == before


async def test_accept_implies_the_acknowledgement(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    entry = await world.entry(ref)
    await world.pass_ms(ACK_MS)
    await world.store.offers.accept(MARKET, "ann", offer)
    assert (await world.store.deadlines.lapse(entry))[0] is None
    assert await world.state(ref) == "assigned"


@pytest.mark.parametrize("verb", ["accept", "decline"])
async def test_only_the_offered_driver_may_answer(world: World, verb: str) -> None:
    await world.driver("ann")
    await world.driver("bob")
    _, offer = await world.offered("ann")
    before = await world.dump()
    assert await refused(world, "bob", offer, verb) is ErrorCode.NOT_YOURS
    assert await refused(world, "ann", "no such offer", verb) is ErrorCode.NOT_YOURS
    assert await world.dump() == before


async def test_repeated_accept_gets_the_first_reply(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    first = await world.store.offers.accept(MARKET, "ann", offer)
    before = await world.dump()
    await world.pass_ms(KEPT_MS - 1)
    await world.store.deadlines.forget(MARKET)
    again = await world.store.offers.accept(MARKET, "ann", offer)
    assert (again.jobs, again.driver) == (first.jobs, first.driver)
    assert again.effects.pushes == ()
    after = await world.dump()
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {world.keys.key(name).encode() for name in ("nodes", "leases")}
    await world.pass_ms(1)
    assert await world.store.deadlines.forget(MARKET) == 1
    assert await refused(world, "ann", offer) is ErrorCode.NOT_YOURS
    assert await world.state(ref) == "assigned"


async def test_a_thousand_accepts_have_one_effect(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, offer = await world.offered("ann")
    verb = world.store.offers.accept
    results = await asyncio.gather(
        *(verb(MARKET, "ann" if n % 2 else "bob", offer) for n in range(1_000)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Refused) for result in results) == 500
    assert len((await world.record("ann")).jobs) == 1
    assert [t.state for t in (await world.job(ref)).timeline] == ["queued", "offered", "assigned"]


async def test_accept_of_a_closed_offer_is_refused(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.store.offers.withdraw(ref, offer, "operator")
    assert await refused(world, "ann", offer) is ErrorCode.OFFER_CLOSED
    second = await world.offer(ref, "ann")
    assert await refused(world, "ann", offer) is ErrorCode.OFFER_CLOSED
    await world.store.offers.decline(MARKET, "ann", second, "")
    assert await refused(world, "ann", second) is ErrorCode.OFFER_CLOSED


@pytest.mark.parametrize("fence", [{"attempt": 2}, {"offer": "newer"}, {"state": "queued"}])
@pytest.mark.parametrize("verb", ["accept", "decline"])
async def test_answer_is_fenced_by_the_job(
    planted: World, verb: str, fence: dict[str, str | int]
) -> None:
    """A failover may lose the close of an offer but keep the later state of its job."""
    await planted.driver("ann")
    ref, offer = await planted.offered()
    await planted.redis.hset(planted.keys.job(ref.job), mapping=fence)
    assert await refused(planted, "ann", offer, verb) is ErrorCode.OFFER_CLOSED


async def test_accepted_offer_cannot_be_declined(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered()
    await world.store.offers.accept(MARKET, "ann", offer)
    assert await refused(world, "ann", offer, "decline") is ErrorCode.OFFER_CLOSED


async def test_driver_with_custody_cannot_accept(world: World) -> None:
    """S2: the vehicle holds one job, and custody may be claimed during a live offer."""
    await world.driver("ann")
    lost, attempt = await world.assigned("ann")
    await world.store.jobs.release(lost, attempt, Outcome.SILENT, "engine", "")
    _, offer = await world.offered("ann")
    await world.step(lost, Step.PICKED_UP, attempt)
    assert await refused(world, "ann", offer) is ErrorCode.OFFER_CLOSED
    assert [held.job for held in (await world.record()).jobs] == [lost.job]


# -- decline


async def test_decline_requeues_and_cools_down(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.pass_ms(500)
    answered = await world.store.offers.decline(MARKET, "ann", offer, "too far")
    assert answered.effects.malls == (MALL,)
    assert answered.effects.pushes == ()
    ann = answered.driver
    assert (ann.offer, ann.shown, ann.cool_until_ms) == (None, "available", world.now + COOLDOWN_MS)
    assert (ann.declines, ann.declines_ms) == (1.0, world.now)
    job = await world.job(ref)
    assert (job.state, job.attempt, job.offer, job.reason) == ("queued", 1, None, None)
    assert [(t.driver, t.attempt, t.outcome) for t in job.asked] == [("ann", 1, "declined")]
    assert await world.waiting() == [ref.job]
    assert await world.due_of(ref) == world.now + 1_000
    last = (await world.events("job"))[-1]
    assert (last["cause"], last["actor"], last["reason"]) == ("declined", "ann", "too far")


async def test_repeated_decline_gets_the_first_answer(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered()
    await world.store.offers.decline(MARKET, "ann", offer, "")
    before = await world.dump()
    again = await world.store.offers.decline(MARKET, "ann", offer, "")
    assert again.driver.declines == 1.0
    assert await world.dump() == before


async def test_recent_declines_halve_each_hour(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered()
    await world.store.offers.decline(MARKET, "ann", offer, "")
    await world.pass_ms(HOUR_MS)
    await world.fix("ann")
    _, offer = await world.offered()
    answered = await world.store.offers.decline(MARKET, "ann", offer, "")
    assert answered.driver.declines == pytest.approx(1.5)


async def test_driver_may_answer_after_reconnecting(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(1_000)
    await world.store.leases.beat(MARKET, "n2")
    await world.connect("ann", node="n2")
    snapshot = await world.store.drivers.snapshot(MARKET, "ann")
    assert snapshot.offer is not None
    assert snapshot.offer.offer == offer
    await world.store.offers.accept(MARKET, "ann", offer)
    assert await world.state(ref) == "assigned"
