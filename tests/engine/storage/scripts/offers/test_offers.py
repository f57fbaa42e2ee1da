"""Rounds and offers: candidates, offer, offer_ack, lapse, withdraw, retry_later, expire, queue."""

import pytest

from mallard_engine.core.model import Asked, RoundRecord
from mallard_engine.ports import DueEntry, DueKind, Found, JobRef, Refused
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Wish
from tests.engine.storage.scripts.drivers.test_positions import north_of
from tests.engine.storage.worlds import (
    ACK_MS,
    COOLDOWN_MS,
    HOUR_MS,
    LAT,
    LON,
    MALL,
    MARKET,
    NODE,
    OFFER_MS,
    STALE_MS,
    World,
    moments,
)


async def read_round(world: World, **changes: float) -> Found:
    asked = {"radius_m": 500, "max_radius_m": 5_000, "drivers": 4, "jobs": 8} | changes
    return await world.store.offers.candidates(MARKET, MALL, LAT, LON, **asked)  # type: ignore[arg-type]


# -- candidates


async def test_round_reads_jobs_in_order_and_nearest_drivers(world: World) -> None:
    await world.driver("far", lat=north_of(400))
    await world.driver("near", lat=north_of(100))
    first = await world.submit()
    urgent = await world.submit(priority=3)
    found = await read_round(world)
    assert [waiting.job for waiting in found.waiting] == [urgent.job, first.job]
    job = await world.job(first)
    assert found.waiting[1].need == job.need
    assert (found.waiting[1].card, found.waiting[1].attempt) == (job.card, 0)
    assert [near.driver.id for near in found.near] == ["near", "far"]
    assert found.near[0].distance_m == pytest.approx(100, abs=2)
    assert found.near[0].position.lat == north_of(100)
    assert (found.now_ms, found.waiting_total, found.more) == (world.now, 2, False)


async def test_search_widens_until_it_finds_enough_drivers(world: World) -> None:
    await world.submit()
    assert (await read_round(world)).radius_m == 5_000
    await world.driver("a", lat=north_of(900))
    await world.driver("b", lat=north_of(3_900))
    found = await read_round(world, drivers=1)
    assert (found.radius_m, [n.driver.id for n in found.near], found.more) == (1_000, ["a"], True)
    found = await read_round(world, drivers=2)
    assert (found.radius_m, len(found.near)) == (4_000, 2)
    assert len((await read_round(world, max_radius_m=2_000)).near) == 1


async def test_round_without_jobs_reads_no_drivers(world: World) -> None:
    await world.driver("ann")
    assert (await read_round(world)).near == ()
    assert [near.driver.id for near in (await read_round(world, jobs=0)).near] == ["ann"]


async def test_drivers_of_dead_nodes_are_not_candidates(world: World) -> None:
    await world.driver("ann")
    await world.submit()
    world.nodes.clear()
    await world.pass_ms(1_500)
    assert (await read_round(world)).near == ()


async def test_round_reads_earlier_offers_and_held_shops(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered(stores=("lego", "gap"))
    await world.store.offers.decline(MARKET, "ann", offer, "")
    (waiting,) = (await read_round(world)).waiting
    assert waiting.asked == (Asked("ann", 1, "declined", world.now),)
    assert (waiting.attempt, waiting.held_until_ms) == (1, 0)
    await world.store.jobs.problem(
        MARKET, "ann", kind="not_ready", mall=MALL, job="", store="gap",
        until_ms=world.now + 60_000, text="",
    )  # fmt: skip
    (waiting,) = (await read_round(world)).waiting
    assert waiting.held_until_ms == world.now + 60_000


async def test_last_round_of_a_job_is_kept(world: World) -> None:
    ref = await world.submit()
    assert await world.store.offers.last_round(ref.job) is None
    ranked = world.plan(ref, 0, "ann").drivers
    record = RoundRecord(ref.job, 3, world.now, 1_500, True, ranked)
    await world.store.offers.record_round(MARKET, record)
    assert await world.store.offers.last_round(ref.job) == record
    assert await world.redis.pttl(world.keys.round(ref.job)) > 0


async def test_round_is_kept_only_if_an_offer_was_made(world: World) -> None:
    ref = await world.submit()
    failed = world.plan(ref, 0, "nobody")
    assert (await world.store.offers.make(failed)).verdict == "nobody"
    assert await world.store.offers.last_round(ref.job) is None
    await world.driver("ann")
    plan = world.plan(ref, 0, "ann")
    await world.store.offers.make(plan)
    assert await world.store.offers.last_round(ref.job) == plan.jobs[0].record
    assert await world.redis.pttl(world.keys.round(ref.job)) > 0


# -- offer


async def test_offer_reserves_the_driver_and_the_job(world: World) -> None:
    await world.driver("ann")
    ref = await world.submit()
    plan = world.plan(ref, 0, "ann")
    offered = await world.store.offers.make(plan)
    job, ann = await world.job(ref), await world.record()
    assert (offered.verdict, offered.driver) == ("offered", "ann")
    assert (job.state, job.attempt, job.offer, job.driver) == ("offered", 1, plan.offer, None)
    assert (ann.offer, ann.shown) == (plan.offer, "offered")
    assert await world.idle() == set()
    assert await world.waiting() == []
    assert await world.due_of(ref) == world.now + ACK_MS
    assert moments(offered.effects) == [world.now + ACK_MS]
    (push,) = offered.effects.pushes
    assert (push.driver, push.seq, push.kind) == ("ann", 1, "offer")
    assert push.offer is not None
    assert (push.offer.expires_ms, push.offer.ack_by_ms) == (
        world.now + OFFER_MS, world.now + ACK_MS,
    )  # fmt: skip
    assert push.offer.jobs[0].card == job.card
    snapshot = await world.store.drivers.snapshot(MARKET, "ann")
    assert snapshot.offer == push.offer
    assert await world.store.offers.first_job(MARKET, plan.offer) == ref


async def test_first_eligible_driver_of_the_plan_gets_the_offer(world: World) -> None:
    for driver in ("offline", "paused", "busy", "asked", "suspended", "away", "ended", "free"):
        await world.driver(driver)
    await world.store.drivers.status(MARKET, "ended", Wish.AVAILABLE, world.now + 1_000)
    await world.store.drivers.status(MARKET, "offline", Wish.OFFLINE, None)
    await world.store.drivers.status(MARKET, "paused", Wish.PAUSED, None)
    await world.assigned("busy")
    await world.offered("asked")
    await world.store.drivers.suspend(MARKET, "suspended", "")
    await world.store.drivers.disconnect(MARKET, NODE, [("away", 1)])
    await world.pass_ms(1_000)
    ref = await world.submit()
    order = ("nobody", "offline", "paused", "busy", "asked", "suspended", "away", "ended")
    refused = await world.store.offers.make(world.plan(ref, 0, *order))
    assert (refused.verdict, refused.driver) == ("nobody", None)
    assert await world.state(ref) == "queued"
    offered = await world.store.offers.make(world.plan(ref, 0, *order, "free"))
    assert offered.driver == "free"


async def test_stale_drivers_and_dead_nodes_are_skipped(world: World) -> None:
    await world.driver("stale")
    await world.pass_ms(STALE_MS)
    await world.store.leases.beat(MARKET, "n2")
    await world.driver("ghost", node="n2")
    ref = await world.submit()
    # Both are still in the index, as no sweep has run yet.
    await world.pass_ms(1_500)
    assert await world.idle() == {"stale", "ghost"}
    assert (await world.store.offers.make(world.plan(ref, 0, "stale", "ghost"))).verdict == "nobody"
    await world.store.leases.beat(MARKET, "n2")
    assert (await world.store.offers.make(world.plan(ref, 0, "stale", "ghost"))).driver == "ghost"


async def test_position_is_fresh_up_to_its_limit(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(STALE_MS)
    ref = await world.submit()
    assert (await world.store.offers.make(world.plan(ref, 0, "ann"))).driver == "ann"


async def test_repeated_plan_returns_the_same_offer(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref = await world.submit()
    plan = world.plan(ref, 0, "ann", "bob")
    await world.store.offers.make(plan)
    before = await world.dump()
    assert (await world.store.offers.make(plan)).driver == "ann"
    assert (await world.store.offers.make(world.plan(ref, 0, "bob"))).verdict == "gone"
    assert await world.dump() == before
    await world.store.offers.decline(MARKET, "ann", plan.offer, "")
    assert (await world.store.offers.make(plan)).verdict == "gone"


@pytest.mark.parametrize("outcome", [Outcome.DECLINED, Outcome.EXPIRED, Outcome.UNASSIGNED])
async def test_driver_is_not_asked_again_for_a_refused_job(world: World, outcome: Outcome) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    if outcome is Outcome.DECLINED:
        await world.store.offers.decline(MARKET, "ann", offer, "")
    elif outcome is Outcome.EXPIRED:
        await world.store.offers.ack(MARKET, "ann", offer)
        await world.pass_ms(OFFER_MS)
        await world.store.deadlines.lapse(await world.entry(ref))
    else:
        await world.store.offers.accept(MARKET, "ann", offer)
        await world.store.jobs.release(ref, 1, outcome, "operator", "")
    assert (await world.job(ref)).asked[-1].outcome == outcome
    await world.pass_ms(COOLDOWN_MS)
    await world.driver("ann")
    attempt = (await world.job(ref)).attempt
    assert (await world.store.offers.make(world.plan(ref, attempt, "ann"))).verdict == "nobody"
    other = await world.submit()
    assert (await world.store.offers.make(world.plan(other, 0, "ann"))).driver == "ann"


async def test_unacknowledging_driver_is_eligible_after_a_minute(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered()
    await world.pass_ms(ACK_MS)
    await world.store.deadlines.lapse(await world.entry(ref))
    await world.store.drivers.seen(MARKET, "ann")
    await world.pass_ms(59_999 - ACK_MS)
    await world.fix("ann")
    await world.pass_ms(ACK_MS)
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).verdict == "nobody"
    await world.pass_ms(1)
    assert (await world.store.offers.make(world.plan(ref, 1, "ann"))).driver == "ann"


async def test_offer_expires_with_its_job_at_the_latest(world: World) -> None:
    await world.driver("ann")
    ref = await world.submit(expires_ms=world.now + 2_000)
    offered = await world.store.offers.make(world.plan(ref, 0, "ann"))
    assert moments(offered.effects) == [world.now + 2_000]
    other = await world.submit(expires_ms=world.now)
    assert (await world.store.offers.make(world.plan(other, 0, "ann"))).verdict == "gone"
    missing = JobRef("job_phoenix.missing", MALL)
    assert (await world.store.offers.make(world.plan(missing, 0, "ann"))).verdict == "gone"


# -- offer_ack


async def test_acknowledged_offer_gets_its_full_time(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    started_ms = world.now
    await world.pass_ms(1_000)
    effects = await world.store.offers.ack(MARKET, "ann", offer)
    assert moments(effects) == [started_ms + OFFER_MS]
    assert await world.due_of(ref) == started_ms + OFFER_MS
    before = await world.dump()
    assert moments(await world.store.offers.ack(MARKET, "ann", offer)) == []
    assert await world.dump() == before
    await world.pass_ms(ACK_MS)
    assert (await world.store.deadlines.lapse(await world.entry(ref)))[0] is None
    assert await world.state(ref) == "offered"


@pytest.mark.parametrize(
    ("driver", "late_ms", "code"),
    [
        ("bob", 0, ErrorCode.NOT_YOURS),
        ("ann", OFFER_MS - 1, None),
        ("ann", OFFER_MS, ErrorCode.OFFER_CLOSED),
    ],
)
async def test_late_or_foreign_acknowledgement_is_refused(
    world: World, driver: str, late_ms: int, code: ErrorCode | None
) -> None:
    await world.driver("ann")
    _, offer = await world.offered()
    await world.pass_ms(late_ms)
    if code is None:
        await world.store.offers.ack(MARKET, driver, offer)
        return
    with pytest.raises(Refused) as refused:
        await world.store.offers.ack(MARKET, driver, offer)
    assert refused.value.code is code
    with pytest.raises(Refused):
        await world.store.offers.ack(MARKET, driver, "no such offer")


# -- lapse


async def test_unacknowledged_offer_makes_its_driver_unreachable(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered()
    entry = await world.entry(ref)
    await world.pass_ms(ACK_MS - 1)
    assert (await world.store.deadlines.lapse(entry))[0] is None
    assert await world.due_of(ref) == world.now + 1
    await world.pass_ms(26)
    outcome, late_ms, effects = await world.store.deadlines.lapse(entry)
    assert (outcome, late_ms) == (Outcome.UNACKNOWLEDGED, 25)
    assert [(p.kind, p.why) for p in effects.pushes] == [
        ("offer_closed", "withdrawn"),
        ("state", "unreachable"),
    ]
    assert effects.malls == (MALL,)
    job, ann = await world.job(ref), await world.record()
    assert (job.state, job.attempt, job.offer) == ("queued", 1, None)
    assert (ann.unreachable, ann.offer) == (True, None)
    assert await world.due() == {f"retry/{MALL}/{ref.job}": world.now + 1_000} | {
        "driver/ann": (await world.due())["driver/ann"]
    }
    before = await world.dump()
    assert (await world.store.deadlines.lapse(entry))[0] is None
    assert await world.dump() == before


async def test_expired_offer_gives_its_driver_a_cool_down(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.store.offers.ack(MARKET, "ann", offer)
    await world.pass_ms(OFFER_MS - 1)
    assert (await world.store.deadlines.lapse(await world.entry(ref)))[0] is None
    await world.pass_ms(1)
    outcome, late_ms, effects = await world.store.deadlines.lapse(await world.entry(ref))
    assert (outcome, late_ms) == (Outcome.EXPIRED, 0)
    assert [(p.kind, p.offer_id, p.why) for p in effects.pushes] == [
        ("offer_closed", offer, "expired"),
        ("state", "", "cooling_down"),
    ]
    ann = await world.record()
    assert ann.cool_until_ms == world.now + COOLDOWN_MS
    assert (ann.declines, ann.declines_ms) == (1.0, world.now)
    assert await world.idle() == set()


async def test_due_entry_of_an_unknown_offer_is_removed(world: World) -> None:
    await world.redis.zadd(world.keys.key("due"), {"offer/m/o/job_phoenix.x": world.now})
    entry = DueEntry("offer/m/o/job_phoenix.x", DueKind.OFFER, "job_phoenix.x", mall="m", offer="o")
    assert (await world.store.deadlines.lapse(entry))[0] is None
    assert await world.due() == {}


# -- withdraw, retry_later, expire, queue


async def test_withdrawn_offer_frees_driver_and_job(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    effects = await world.store.offers.withdraw(ref, offer, "operator")
    assert [(p.kind, p.why) for p in effects.pushes] == [("offer_closed", "withdrawn")]
    assert (await world.state(ref), await world.idle()) == ("queued", {"ann"})
    before = await world.dump()
    assert (await world.store.offers.withdraw(ref, offer, "operator")).pushes == ()
    assert await world.dump() == before
    # A withdrawn offer excludes no driver.
    await world.offer(ref, "ann")


async def test_job_without_a_driver_is_retried_later(world: World) -> None:
    ref = await world.submit(expires_ms=world.now + 8_000)
    assert moments(await world.store.deadlines.retry_later(ref, 0, world.now + 5_000)) == [
        world.now + 5_000
    ]
    assert await world.due_of(ref) == world.now + 5_000
    await world.store.deadlines.retry_later(ref, 0, world.now + 50_000)
    assert await world.due_of(ref) == world.now + 8_000
    before = await world.dump()
    assert moments(await world.store.deadlines.retry_later(ref, 1, world.now + 1)) == []
    assert await world.dump() == before


@pytest.mark.parametrize("state", [JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED])
async def test_unaccepted_job_expires(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    await world.pass_ms(HOUR_MS - 1)
    assert await world.store.deadlines.expire(ref, "nobody_in_reach", 200) is None
    await world.pass_ms(1)
    effects = await world.store.deadlines.expire(ref, "nobody_in_reach", 200)
    assert effects is not None
    assert [p.why for p in effects.pushes] == (["expired"] if state is JobState.OFFERED else [])
    job = await world.job(ref)
    assert (job.state, job.reason, job.offer) == ("expired", "nobody_in_reach", None)
    assert [m for m in await world.due() if m.endswith(ref.job)] == []
    assert await world.store.deadlines.expire(ref, "nobody_in_reach", 200) is None


async def test_job_expires_after_its_last_attempt_is_answered(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    assert await world.store.deadlines.expire(ref, "too_many_attempts", 1) is None
    await world.store.offers.decline(MARKET, "ann", offer, "")
    assert await world.store.deadlines.expire(ref, "too_many_attempts", 2) is None
    assert await world.store.deadlines.expire(ref, "too_many_attempts", 1) is not None
    assert (await world.job(ref)).reason == "too_many_attempts"


async def test_held_job_does_not_expire(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned()
    await world.pass_ms(HOUR_MS)
    assert await world.store.deadlines.expire(ref, "nobody_in_reach", 0) is None
    assert await world.store.deadlines.expire(JobRef("job_phoenix.no", MALL), "", 0) is None


async def test_scheduled_job_is_queued_at_its_release(world: World) -> None:
    ref, _ = await world.in_state(JobState.SCHEDULED)
    release_ms = (await world.job(ref)).release_ms
    await world.pass_ms(release_ms - world.now - 1)
    assert moments(await world.store.deadlines.queue(ref)) == [release_ms]
    assert await world.waiting() == []
    await world.pass_ms(1)
    effects = await world.store.deadlines.queue(ref)
    assert (effects.malls, moments(effects)) == ((MALL,), [world.now + 1_000])
    assert await world.waiting() == [ref.job]
    before = await world.dump()
    assert (await world.store.deadlines.queue(ref)).malls == ()
    assert await world.dump() == before
