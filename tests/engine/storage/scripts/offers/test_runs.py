"""Runs: several jobs are offered, answered and ended as one offer; each job is fenced."""

from dataclasses import replace

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DriverUnavailable, JobRef, Refused, Stop, StoreUnavailable
from mallard_engine.storage.calls.offered_runs import OfferedRuns
from mallard_engine.storage.calls.offers import RedisOffers
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.storage.worlds import ACK_MS, HOUR_MS, MALL, MARKET, OFFER_MS, RESUME_MS, World
from tests.properties.planted.planting import with_bug

VAN = Vehicle(kind="van", max_jobs=4, max_weight_g=4_000, max_volume_l=40, equipment=("lift",))


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=3, silence_stretch=1)


async def states(world: World, refs: tuple[JobRef, ...]) -> list[str]:
    return [await world.state(ref) for ref in refs]


# -- offer


async def test_run_is_offered_as_a_whole(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = tuple([await world.submit(card=b"card %d \xff" % n) for n in range(3)])
    # One job was offered before: the offer's attempt is the highest of its jobs' attempts.
    await world.store.offers.withdraw(refs[1], await world.offer(refs[1], "ann"), "operator")
    plan = await world.run_plan(refs, "ann")
    offered = await world.store.offers.make(plan)
    (push,) = offered.effects.pushes
    assert push.offer
    assert push.offer.attempt == 2
    assert [(j.job, j.attempt, j.card) for j in push.offer.jobs] == [
        (ref.job, 1 + (n == 1), b"card %d \xff" % n) for n, ref in enumerate(refs)
    ]
    last_ms = push.offer.jobs[2].eta_dropoff_ms
    assert last_ms == world.now + 3 * 60_000
    assert (await world.store.drivers.snapshot(MARKET, "ann")).offer == push.offer
    assert (await world.pushes())[-1].offer == push.offer
    for ref in refs:
        job = await world.job(ref)
        assert (job.state, job.offer) == ("offered", plan.offer)
        assert f"offer/{MALL}/{plan.offer}/{ref.job}" in await world.due()
        assert await world.store.offers.last_round(ref.job) is not None
    assert await world.waiting() == []
    before = await world.dump()
    assert (await world.store.offers.make(plan)).driver == "ann"  # a repeat
    assert await world.dump() == before


async def test_run_with_a_cancelled_job_is_not_offered(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = tuple([await world.submit() for _ in range(3)])
    plan = await world.run_plan(refs, "ann")
    await world.store.jobs.cancel(refs[1], "toys", "")
    before = await world.dump()
    offered = await world.store.offers.make(plan)
    assert (offered.verdict, offered.dequeued) == ("gone", (refs[1].job,))
    assert await world.dump() == before
    rest = await world.run_plan((refs[0], refs[2]), "ann")
    assert (await world.store.offers.make(rest)).verdict == "offered"


async def test_driver_without_room_for_the_run_is_skipped(world: World) -> None:
    """Room is limited by count (vehicle, market), weight, volume and equipment."""
    room = {
        "one": Vehicle(),
        "light": replace(VAN, max_weight_g=2_399),
        "small": replace(VAN, max_volume_l=16.9),
        "bare": replace(VAN, equipment=()),
    }
    for driver, vehicle in room.items():
        await world.driver(driver, vehicle=vehicle)
    refs = (await world.submit(), await world.submit(requires=("lift", "id_check")))
    assert (await world.store.offers.make(await world.run_plan(refs, *room))).verdict == "nobody"
    await world.driver("van", vehicle=VAN)
    plan = await world.run_plan(refs, *room, "van")
    assert (await world.store.offers.make(plan)).driver == "van"
    await world.driver("bus", vehicle=replace(VAN, max_jobs=9, max_weight_g=9_999))
    four = await world.run_plan(tuple([await world.submit() for _ in range(4)]), "bus")
    assert (await world.store.offers.make(four)).verdict == "nobody"


# -- outcomes


async def test_run_is_accepted_as_a_whole(world: World, other_store: RedisStorage) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, offer = await world.offered_run("ann", 3)
    # The other node does not know the offer: the first try returns the keys it needs.
    answered = await other_store.offers.accept(MARKET, "ann", offer)
    assert [job.id for job in answered.jobs] == [ref.job for ref in refs]
    assert [job.state for job in answered.jobs] == ["assigned"] * 3
    assert [job.eta_dropoff_ms for job in answered.jobs] == [
        world.now + n * 60_000 for n in (1, 2, 3)
    ]
    held = (await world.record()).jobs
    assert [(h.job, h.attempt, h.weight_g, h.there) for h in held] == [
        (ref.job, 1, 1_200, False) for ref in refs
    ]
    before = await world.dump()
    assert (await world.store.offers.accept(MARKET, "ann", offer)).jobs == answered.jobs
    assert await world.dump() == before


@pytest.mark.parametrize("how", ["declined", "unacknowledged", "expired", "withdrawn"])
async def test_ended_offer_of_a_run_requeues_every_job(world: World, how: str) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, offer = await world.offered_run("ann", 3)
    if how == "declined":
        effects = (await world.store.offers.decline(MARKET, "ann", offer, "far")).effects
    elif how == "withdrawn":
        effects = await world.store.offers.withdraw(refs[1], offer, "operator")
    else:
        if how == "expired":
            await world.store.offers.ack(MARKET, "ann", offer)
        await world.pass_ms(OFFER_MS if how == "expired" else ACK_MS)
        outcome, _, effects = await world.store.deadlines.lapse(await world.entry(refs[2]))
        assert outcome == Outcome(how)
    assert effects.malls == (MALL,)
    assert await states(world, refs) == ["queued"] * 3
    assert await world.waiting() == [ref.job for ref in refs]
    for ref in refs:
        assert [(t.driver, t.outcome) for t in (await world.job(ref)).asked] == [("ann", how)]
    assert (await world.record()).offer is None
    assert [m for m in await world.due() if m.startswith("offer/")] == []
    with pytest.raises(Refused) as caught:
        await world.store.offers.accept(MARKET, "ann", offer)
    assert caught.value.code is ErrorCode.OFFER_CLOSED


@pytest.mark.parametrize("how", ["cancel", "expire", "assign", "custody"])
async def test_job_that_leaves_an_offered_run_requeues_the_others(
    world: World, other_store: RedisStorage, how: str
) -> None:
    await world.driver("eve")
    taken, attempt = await world.assigned("eve", expires_ms=world.now + HOUR_MS // 2)
    await world.store.jobs.release(taken, attempt, Outcome.SILENT, "engine", "")
    await world.driver("ann", vehicle=VAN)
    refs = (await world.submit(), taken, await world.submit())
    plan = await world.run_plan(refs, "ann")
    assert (await world.store.offers.make(plan)).verdict == "offered"
    why = {"cancel": "cancelled", "expire": "expired", "assign": "withdrawn"}.get(how, "collected")
    if how == "cancel":
        effects = await other_store.jobs.cancel(taken, "toys", "")
    elif how == "expire":
        await world.pass_ms(HOUR_MS // 2)
        expired = await other_store.deadlines.expire(taken, "nobody_in_reach", 9)
        assert expired
        effects = expired
    elif how == "assign":
        effects = await other_store.jobs.assign(taken, "eve", "operator")
    else:
        effects = (await world.step(taken, Step.PICKED_UP, attempt, "eve")).effects
    assert ("ann", plan.offer, why) in [(p.driver, p.offer_id, p.why) for p in effects.pushes]
    after = {"cancel": "cancelled", "expire": "expired", "assign": "assigned"}.get(how, "picked_up")
    assert await states(world, refs) == ["queued", after, "queued"]
    assert MALL in effects.malls
    assert (await world.record()).offer is None
    # The other jobs may be offered to the same driver again.
    rest = await world.run_plan((refs[0], refs[2]), "ann")
    await world.pass_ms(1)
    if how != "expire":
        assert (await world.store.offers.make(rest)).driver == "ann"


async def test_offer_of_a_run_expires_with_its_earliest_job(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = (await world.submit(), await world.submit(expires_ms=world.now + 7_000))
    await world.store.offers.make(await world.run_plan(refs, "ann"))
    offer = (await world.store.drivers.snapshot(MARKET, "ann")).offer
    assert offer
    assert offer.expires_ms == world.now + 7_000


async def test_acknowledgement_extends_every_job_of_a_run(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, offer = await world.offered_run("ann", 2)
    await world.store.offers.ack(MARKET, "ann", offer)
    assert [await world.due_of(ref) for ref in refs] == [world.now + OFFER_MS] * 2


async def test_call_fails_if_the_run_changes_at_each_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, _ = await world.offered_run("ann", 2)
    monkeypatch.setattr("mallard_engine.storage.calls.script_runner._MAX_TRIES", 1)
    with pytest.raises(StoreUnavailable, match="changed each time"):
        await world.store.jobs.cancel(refs[0], "toys", "")


# -- a held run


async def test_jobs_of_a_run_progress_independently(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    first, second, third = await world.assigned_run("ann", 3)
    await world.store.jobs.cancel(second, "toys", "")
    await world.step(first, Step.PICKED_UP, 1)
    answered = await world.step(third, Step.GIVE_UP, 1)
    assert [held.job for held in answered.driver.jobs] == [first.job]
    assert await states(world, (first, second, third)) == ["picked_up", "cancelled", "queued"]
    with pytest.raises(Refused):
        await world.step(first, Step.GIVE_UP, 1)
    await world.step(first, Step.DELIVERED, 1)
    assert (await world.record()).jobs == ()
    assert await world.idle() == {"ann"}


async def test_uncollected_jobs_of_a_silent_driver_are_requeued(world: World) -> None:
    epoch = await world.connect("ann", vehicle=VAN)
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 3)
    await world.step(refs[0], Step.PICKED_UP, 1)
    await world.step(refs[1], Step.AT_MALL, 1)
    await world.store.drivers.disconnect(MARKET, "n1", [("ann", epoch + 1)])
    await world.pass_ms(RESUME_MS)
    for ref in refs:
        await world.store.deadlines.silence(await world.entry(ref))
    assert await states(world, refs) == ["picked_up", "at_mall", "queued"]
    assert [held.job for held in (await world.record()).jobs] == [refs[0].job, refs[1].job]


async def test_custody_is_claimed_for_a_single_job(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.driver("bob", vehicle=VAN)
    refs = await world.assigned_run("ann", 2)
    for ref in refs:
        await world.store.jobs.release(ref, 1, Outcome.SILENT, "engine", "")
    plan = await world.run_plan(refs, "bob")
    await world.store.offers.make(plan)
    await world.store.offers.accept(MARKET, "bob", plan.offer)
    answered = await world.step(refs[0], Step.PICKED_UP, 1, "ann")
    assert (answered.job_state, answered.attempt) == ("picked_up", 4)
    assert [h.job for h in (await world.record("bob")).jobs] == [refs[1].job]
    assert await states(world, refs) == ["picked_up", "assigned"]


async def test_operator_may_add_a_fitting_job_to_a_run(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned_run("ann", 2)
    heavy = await world.submit(weight_g=3_000)
    with pytest.raises(DriverUnavailable, match="no room"):
        await world.store.jobs.assign(heavy, "ann", "operator")
    await world.store.jobs.assign(await world.submit(), "ann", "operator")
    assert len((await world.record()).jobs) == 3


# -- etas


async def test_etas_of_held_jobs_are_updated(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 3)
    await world.store.jobs.cancel(refs[2], "toys", "")
    stops = [Stop(refs[0].job, 1, 11, 12), Stop(refs[1].job, 0, 13, 14), Stop(refs[2].job, 1, 1, 2)]
    await world.store.jobs.update_etas(MARKET, "bob", stops)
    await world.store.jobs.update_etas(MARKET, "ann", stops)
    await world.store.jobs.update_etas(MARKET, "ann", [])
    jobs = [await world.job(ref) for ref in refs]
    assert [(job.eta_pickup_ms, job.eta_dropoff_ms) for job in jobs] == [
        (11, 12),
        (world.now + 1, world.now + 120_000),
        (None, None),
    ]


async def test_held_job_leaves_the_rest_of_the_run(world: World) -> None:
    await world.driver("ann", vehicle=Vehicle(max_jobs=3))
    first, second = await world.assigned_run("ann", 2)
    await world.collect(first, 1, 0)
    assert await world.state(first) == "scheduled"
    assert [held.job for held in (await world.record()).jobs] == [second.job]
    assert await world.state(second) == "assigned"


async def test_script_that_asks_again_after_writing_is_found(world: World) -> None:
    """The check of `run` replies, seen on a script that notes something first."""
    old = "if not run then return reply('run', names) end"
    new = f"redis.call('HSET', K.counts, 'x', 1) {old}"
    await world.driver("ann")
    refs, offer = await world.offered_run("ann", 2)
    scripts = with_bug("withdraw", [(old, new)])
    world.link.learn(scripts)
    world.store.runner.scripts = scripts
    await world.redis.script_load(scripts["withdraw"].source)
    stranger = RedisOffers(world.store.runner, OfferedRuns())  # it does not know the run
    with pytest.raises(AssertionError, match="withdraw replies `run` and has written"):
        await stranger.withdraw(refs[0], offer, "operator")
    await world.redis.hdel(world.keys.key("counts"), "x")
