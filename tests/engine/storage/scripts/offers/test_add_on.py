"""Add-on offers: one more job for a driver on its way to the mall."""

from dataclasses import replace

import pytest

from mallard_engine.core.model import HeldJob, Near, Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverUnavailable, JobRef, OfferPlan, Refused
from mallard_protocol.lifecycle import Outcome, Step, Wish
from tests.engine.storage.worlds import (
    ACK_MS,
    LAT,
    LON,
    MALL,
    MARKET,
    NODE,
    OFFER_MS,
    STALE_MS,
    World,
)

VAN = Vehicle(kind="van", max_jobs=3, max_weight_g=10_000)
HERE = f"{MALL}/ann"


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=3)


@pytest.fixture
async def on_its_way(world: World) -> JobRef:
    """The job of ann, who is on her way to the mall."""
    await world.driver("ann", vehicle=VAN)
    ref, _ = await world.assigned("ann")
    assert await world.coming() == {HERE}
    return ref


async def coming(world: World, mall: str = MALL) -> tuple[Near, ...]:
    """The drivers on their way that a round of the mall reads; a batch round reads the same."""
    found = await world.store.offers.candidates(
        MARKET, mall, LAT, LON, radius_m=500, max_radius_m=5_000, drivers=4, jobs=0
    )
    around = await world.store.offers.free_around(
        MARKET, [(LAT, LON)], radius_m=500, max_radius_m=5_000, drivers=4, most=8, malls=[mall]
    )
    assert [near.driver for near in found.coming] == [near.driver for near in around.coming]
    return found.coming


async def add(world: World, ref: JobRef, driver: str = "ann") -> OfferPlan:
    """Offer one more job."""
    plan = world.plan(ref, (await world.job(ref)).attempt, driver)
    offered = await world.store.offers.make(plan)
    assert offered.verdict == "offered"
    (push,) = offered.effects.pushes
    assert push.offer
    assert push.offer.add_on
    return plan


# -- eligibility


async def test_round_reads_drivers_on_their_way_with_their_jobs(
    world: World, on_its_way: JobRef
) -> None:
    (near,) = await coming(world)
    job = await world.job(on_its_way)
    assert near.driver.jobs == (
        HeldJob(
            *(job.id, 1, MALL, False, LAT, LON, job.deadline_ms, 1_200, 8.5),
            stores=("lego",),
            ready_ms=job.need.ready_ms,
            gate="north",
        ),
    )
    assert (near.distance_m, near.position.lat) == (0, LAT)
    assert await world.idle() == set()
    assert await coming(world, "another-mall") == ()


async def test_driver_s_record_follows_when_parcels_are_ready(
    world: World, on_its_way: JobRef
) -> None:
    was = await world.job(on_its_way)
    need = replace(was.need, ready_ms=world.now + 600_000)
    await world.store.jobs.ready(
        on_its_way,
        was=was,
        body=was.body + b" ",
        card=was.card,
        need=need,
        release_ms=was.release_ms,
        actor="toys",
    )
    (near,) = await coming(world)
    assert [held.ready_ms for held in near.driver.jobs] == [need.ready_ms]


async def test_driver_s_record_has_only_the_stores_to_visit(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned("ann", stores=("lego", "apple"), done=("lego",))
    (near,) = await coming(world)
    assert [held.stores for held in near.driver.jobs] == [("apple",)]


@pytest.mark.parametrize(
    "what",
    [
        "arrives",
        "is there",
        "collects",
        "is full",
        "pauses",
        "is suspended",
        "is offered",
        "leaves",
    ],
)
async def test_driver_who_becomes_ineligible_gets_no_add_on(
    world: World, on_its_way: JobRef, what: str
) -> None:
    if what == "arrives":
        await world.step(on_its_way, Step.AT_MALL, 1)
    elif what == "is there":
        await world.store.jobs.arrive(on_its_way, "ann", 1)
    elif what == "collects":
        await world.step(on_its_way, Step.PICKED_UP, 1)
    elif what == "is full":
        for _ in range(2):
            await world.store.jobs.assign(await world.submit(), "ann", "operator")
    elif what == "pauses":
        await world.store.drivers.status(MARKET, "ann", Wish.PAUSED, None)
    elif what == "is suspended":
        await world.store.drivers.suspend(MARKET, "ann", "complaint")
    elif what == "is offered":
        await add(world, await world.submit())
    else:
        await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    assert await world.coming() == set()
    assert await coming(world) == ()
    ref = await world.submit()
    assert (await world.store.offers.make(world.plan(ref, 0, "ann"))).verdict == "nobody"


@pytest.mark.parametrize("what", ["cancelled", "given up", "unassigned"])
async def test_driver_without_jobs_is_free_again(
    world: World, on_its_way: JobRef, what: str
) -> None:
    if what == "cancelled":
        effects = await world.store.jobs.cancel(on_its_way, "toys", "")
    elif what == "given up":
        effects = (await world.step(on_its_way, Step.GIVE_UP, 1)).effects
    else:
        effects = await world.store.jobs.release(on_its_way, 1, Outcome.UNASSIGNED, "operator", "")
    assert [freed.driver for freed in effects.freed] == ["ann"]
    assert (await world.coming(), await world.idle()) == (set(), {"ann"})


async def test_cancelled_job_makes_room_for_an_add_on(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 3)
    assert await world.coming() == set()
    waiting = await world.submit()
    effects = await world.store.jobs.cancel(refs[0], "toys", "")
    assert await world.coming() == {HERE}
    # A waiting job may now be added: its mall gets a round.
    assert effects.malls == (MALL,)
    await add(world, waiting)


async def test_new_position_returns_a_stale_driver(world: World, on_its_way: JobRef) -> None:
    await world.pass_ms(STALE_MS + 1)
    ref = await world.submit()
    assert (await world.store.offers.make(world.plan(ref, 0, "ann"))).verdict == "nobody"
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.coming() == set()
    recorded = await world.fix("ann")
    assert (recorded, await world.coming()) == ("ok", {HERE})
    assert (await world.job(on_its_way)).state == "assigned"


async def test_new_block_end_makes_the_driver_a_candidate_again(
    world: World, on_its_way: JobRef
) -> None:
    await world.submit()
    answered = await world.store.drivers.status(
        MARKET, "ann", Wish.AVAILABLE, world.now + 9_000_000
    )
    assert answered.effects.malls == (MALL,)
    assert await world.coming() == {HERE}
    assert (await world.record()).jobs[0].job == on_its_way.job


async def test_driver_on_its_way_wakes_no_mall_where_nothing_waits(
    world: World, on_its_way: JobRef
) -> None:
    await world.submit(mall="another-mall")
    answered = await world.store.drivers.status(
        MARKET, "ann", Wish.AVAILABLE, world.now + 9_000_000
    )
    assert await world.coming() == {HERE}
    assert answered.effects.malls == ()


async def test_add_on_is_one_fitting_job_of_the_same_mall(world: World, on_its_way: JobRef) -> None:
    elsewhere = await world.submit(mall="another-mall")
    assert (await world.store.offers.make(world.plan(elsewhere, 0, "ann"))).verdict == "nobody"
    two = await world.run_plan((await world.submit(), await world.submit()), "ann")
    assert (await world.store.offers.make(two)).verdict == "nobody"
    heavy = await world.submit(weight_g=8_900)
    assert (await world.store.offers.make(world.plan(heavy, 0, "ann"))).verdict == "nobody"
    await add(world, await world.submit(weight_g=8_800))
    assert (await world.record()).jobs[0].job == on_its_way.job


@pytest.mark.parametrize("most", [1])
async def test_market_without_pooling_adds_no_jobs(
    world: World, on_its_way: JobRef, most: int
) -> None:
    """A node with the new policy takes the driver out of the index at the next change."""
    policies = {MARKET: replace(world.policy, max_run_jobs=most)}
    store = type(world.store)(world.url, policies, now_ms=world.clock)
    await store.connect()
    found = await store.offers.candidates(
        MARKET, MALL, LAT, LON, radius_m=500, max_radius_m=5_000, drivers=4, jobs=0
    )
    assert found.coming == ()
    ref = await world.submit()
    assert (await store.offers.make(world.plan(ref, 0, "ann"))).verdict == "nobody"
    await store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert await world.coming() == set()
    await store.close()
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert (await world.job(on_its_way)).state == "assigned"


async def test_job_accepted_without_pooling_excludes_add_ons(world: World) -> None:
    """`max_run_jobs` is raised while the job is open: nothing is added until the job ends."""
    await world.driver("ann", vehicle=VAN)
    policies = {MARKET: replace(world.policy, max_run_jobs=1)}
    before = type(world.store)(world.url, policies, now_ms=world.clock)
    await before.connect()
    ref, offer = await world.offered("ann")
    await before.offers.accept(MARKET, "ann", offer)
    await before.close()
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert await world.coming() == set()
    more = await world.submit()
    assert (await world.store.offers.make(world.plan(more, 0, "ann"))).verdict == "nobody"
    with pytest.raises(DriverUnavailable):
        await world.store.jobs.assign(more, "ann", "operator")
    assert await world.breaches() == ()
    await world.step(ref, Step.PICKED_UP, 1)
    await world.step(ref, Step.DELIVERED, 1)
    await world.store.jobs.assign(more, "ann", "operator")
    assert await world.coming() == {HERE}
    assert await world.breaches() == ()


# -- outcomes


@pytest.mark.parametrize("how", [Outcome.DECLINED, Outcome.EXPIRED])
async def test_refused_or_expired_add_on_has_no_cool_down(
    world: World, on_its_way: JobRef, how: Outcome
) -> None:
    ref = await world.submit()
    plan = await add(world, ref)
    if how is Outcome.DECLINED:
        answered = await world.store.offers.decline(MARKET, "ann", plan.offer, "")
        assert answered.driver.shown == "on_run"
    else:
        await world.store.offers.ack(MARKET, "ann", plan.offer)
        await world.pass_ms(OFFER_MS)
        outcome, _, effects = await world.store.deadlines.lapse(await world.entry(ref))
        assert (outcome, [p.kind for p in effects.pushes]) == (how, ["offer_closed"])
    ann = await world.record()
    assert (ann.cool_until_ms, ann.declines, len(ann.jobs)) == (0, 0, 1)
    assert await world.coming() == {HERE}
    # The driver is not asked again for this job, but may be for another.
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).verdict == "nobody"
    await add(world, await world.submit())
    assert (await world.job(on_its_way)).state == "assigned"


async def test_unacknowledged_add_on_makes_the_driver_unreachable(
    world: World, on_its_way: JobRef
) -> None:
    ref = await world.submit()
    await add(world, ref)
    await world.pass_ms(ACK_MS)
    assert (await world.store.deadlines.lapse(await world.entry(ref)))[0] is Outcome.UNACKNOWLEDGED
    assert await world.coming() == set()
    await world.store.drivers.seen(MARKET, "ann")
    assert await world.coming() == {HERE}
    assert (await world.job(on_its_way)).state == "assigned"


async def test_accepted_add_on_joins_the_run(world: World, on_its_way: JobRef) -> None:
    ref = await world.submit()
    plan = await add(world, ref)
    answered = await world.store.offers.accept(MARKET, "ann", plan.offer)
    assert [job.id for job in answered.jobs] == [ref.job]
    assert [held.job for held in answered.driver.jobs] == [on_its_way.job, ref.job]
    assert await world.coming() == {HERE}
    # The first job of the run ends; the added one continues.
    await world.step(on_its_way, Step.PICKED_UP, 1)
    await world.step(on_its_way, Step.DELIVERED, 1)
    assert [held.job for held in (await world.record()).jobs] == [ref.job]


async def test_live_add_on_may_be_accepted_after_the_arrival(
    world: World, on_its_way: JobRef
) -> None:
    """The arrival ends new offers; an offer made before it may still be accepted."""
    ref = await world.submit()
    plan = await add(world, ref)
    await world.store.jobs.arrive(on_its_way, "ann", 1)
    await world.store.offers.accept(MARKET, "ann", plan.offer)
    assert len((await world.record()).jobs) == 2
    assert await world.coming() == set()


async def test_add_on_is_refused_if_custody_filled_the_vehicle(world: World) -> None:
    await world.driver("ann", vehicle=replace(VAN, max_jobs=2))
    lost, attempt = await world.assigned("ann")
    await world.store.jobs.release(lost, attempt, Outcome.SILENT, "engine", "")
    held, _ = await world.assigned("ann")
    plan = await add(world, await world.submit())
    await world.step(lost, Step.PICKED_UP, attempt, "ann")
    with pytest.raises(Refused, match="offer_closed"):
        await world.store.offers.accept(MARKET, "ann", plan.offer)
    assert [h.job for h in (await world.record()).jobs] == [held.job, lost.job]


async def test_job_with_custody_is_read_as_collected(world: World) -> None:
    """A parcel claimed by custody is on board: the job is no longer to be collected."""
    await world.driver("ann", vehicle=VAN)
    lost, attempt = await world.assigned("ann")
    await world.store.jobs.release(lost, attempt, Outcome.SILENT, "engine", "")
    await world.step(lost, Step.PICKED_UP, attempt, "ann")
    assert (await world.record()).jobs[0].there
    assert await world.coming() == set()
