"""Staggered rounds in Redis: several drivers, one attempt, one winner."""

from dataclasses import replace

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DueEntry, DueKind, JobRef, MoreOffers, Offered, Refused
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.worlds import (
    ACK_MS,
    COOLDOWN_MS,
    HOUR_MS,
    MALL,
    MARKET,
    NODE,
    OFFER_MS,
    World,
)

GAP_MS = 2_000


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=1, offer_rungs=("staggered 3/2",))


async def begin(
    world: World, ref: JobRef, *drivers: str, most: int = 3, gap_ms: int = GAP_MS
) -> Offered:
    """Offer the job to the first driver, as `o1`; the others would get `o2`, `o3`, …"""
    attempt = (await world.job(ref)).attempt
    ids = tuple(f"o{n}-{attempt}" for n in range(most, 1, -1))
    plan = world.plan(ref, attempt, *drivers, offer=f"o1-{attempt}")
    return await world.store.offers.make(replace(plan, more=MoreOffers(most, gap_ms, ids)))


def more(ref: JobRef) -> DueEntry:
    return DueEntry(f"more/{ref.mall}/{ref.job}", DueKind.MORE, ref.job, mall=ref.mall)


def lapse_of(ref: JobRef, offer: str) -> DueEntry:
    member = f"offer/{ref.mall}/{offer}/{ref.job}"
    return DueEntry(member, DueKind.OFFER, ref.job, mall=ref.mall, offer=offer)


async def offer_to_next(world: World, ref: JobRef) -> None:
    await world.pass_ms(GAP_MS)
    for driver in ("ann", "bob", "cleo", "dora"):
        await world.fix(driver)
    offered = await world.store.deadlines.offer_more(more(ref))
    assert offered.verdict == "offered", offered


async def offer_to_two(world: World, *drivers: str) -> JobRef:
    """Offer a job to ann (`o1-0`) and bob (`o2-0`), who acknowledge; cleo is next."""
    for driver in drivers or ("ann", "bob", "cleo"):
        await world.driver(driver)
    ref = await world.submit()
    await begin(world, ref, *(drivers or ("ann", "bob", "cleo")))
    await world.store.offers.ack(MARKET, "ann", "o1-0")
    await offer_to_next(world, ref)
    await world.store.offers.ack(MARKET, "bob", "o2-0")
    return ref


async def due_of(world: World, ref: JobRef) -> set[str]:
    entries = await world.due()
    return {m.removesuffix(f"/{ref.job}") for m in entries if m.endswith(ref.job)}


async def asked(world: World, ref: JobRef) -> list[tuple[str, int, str]]:
    return [(t.driver, t.attempt, t.outcome) for t in (await world.job(ref)).asked]


async def pushes_of(world: World, driver: str) -> list[tuple[str, str]]:
    return [(p.kind, p.why) for p in await world.pushes(driver)]


async def test_next_offer_of_a_round_has_the_same_attempt(world: World) -> None:
    for driver in ("ann", "bob", "cleo"):
        await world.driver(driver)
    ref = await world.submit()
    assert (await begin(world, ref, "ann", "bob", "cleo")).driver == "ann"
    assert await due_of(world, ref) == {f"offer/{MALL}/o1-0", f"more/{MALL}"}
    await world.pass_ms(GAP_MS - 1)
    early = await world.store.deadlines.offer_more(more(ref))
    assert (early.verdict, early.effects.pushes) == ("early", ())
    await world.pass_ms(1)
    offered = await world.store.deadlines.offer_more(more(ref))
    (push,) = offered.effects.pushes
    assert push.offer is not None
    assert (push.driver, push.offer.offer, push.offer.attempt) == ("bob", "o2-0", 1)
    job = await world.job(ref)
    assert (job.state, job.attempt, job.offer) == (JobState.OFFERED, 1, "o1-0")
    before = await world.dump()
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "early"
    assert await world.dump() == before


async def test_rung_bounds_the_number_of_drivers(world: World) -> None:
    ref = await offer_to_two(world, "ann", "bob", "cleo", "dora")
    await offer_to_next(world, ref)
    assert await due_of(world, ref) == {f"offer/{MALL}/o{n}-0" for n in (1, 2, 3)}
    await world.pass_ms(GAP_MS)
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "gone"
    assert (await world.record("dora")).offer is None


async def test_first_accept_wins_and_closes_the_other_offers(world: World) -> None:
    ref = await offer_to_two(world)
    answered = await world.store.offers.accept(MARKET, "bob", "o2-0")
    assert answered.jobs[0].driver == "bob"
    assert [(p.driver, p.kind, p.why) for p in answered.effects.pushes] == [
        ("ann", "offer_closed", "taken")
    ]
    assert [freed.driver for freed in answered.effects.freed] == ["ann"]
    assert await asked(world, ref) == [("ann", 1, "withdrawn"), ("bob", 1, "accepted")]
    ann = await world.record("ann")
    assert (ann.offer, ann.cool_until_ms, ann.unreachable) == (None, 0, False)
    assert await world.idle() == {"ann", "cleo"}
    assert await due_of(world, ref) == {f"silent/{MALL}"}
    assert (await world.job(ref)).attempt == 1
    for driver, offer in (("ann", "o1-0"), ("cleo", "o3-0")):
        with pytest.raises(Refused) as refused:
            await world.store.offers.accept(MARKET, driver, offer)
        assert refused.value.code in {ErrorCode.OFFER_CLOSED, ErrorCode.NOT_YOURS}
    before = await world.dump()
    assert (await world.store.offers.accept(MARKET, "bob", "o2-0")).jobs[0].driver == "bob"
    assert await world.dump() == before
    # A lost race excludes no driver: after a give-up, ann may get the job.
    await world.step(ref, Step.GIVE_UP, 1, "bob")
    assert (await world.store.offers.make(world.plan(ref, 2, "ann"))).driver == "ann"


async def test_decline_keeps_the_other_offers(world: World) -> None:
    ref = await offer_to_two(world)
    answered = await world.store.offers.decline(MARKET, "ann", "o1-0", "too far")
    assert answered.effects.malls == ()
    assert answered.driver.cool_until_ms == world.now + COOLDOWN_MS
    job = await world.job(ref)
    assert (job.state, job.attempt, job.offer) == (JobState.OFFERED, 1, "o2-0")
    assert await due_of(world, ref) == {f"offer/{MALL}/o2-0", f"more/{MALL}"}
    await offer_to_next(world, ref)
    assert (await world.record("cleo")).offer == "o3-0"
    assert (await world.store.offers.accept(MARKET, "cleo", "o3-0")).jobs[0].driver == "cleo"
    assert await asked(world, ref) == [
        ("ann", 1, "declined"),
        ("bob", 1, "withdrawn"),
        ("cleo", 1, "accepted"),
    ]
    (declined,) = [e for e in await world.events("offer") if e["what"] == "declined"]
    assert (declined["driver"], declined["reason"]) == ("ann", "too far")


async def test_next_driver_is_asked_if_the_last_offer_is_declined(world: World) -> None:
    ref = await offer_to_two(world)
    await world.store.offers.decline(MARKET, "ann", "o1-0", "")
    answered = await world.store.offers.decline(MARKET, "bob", "o2-0", "")
    (push,) = [p for p in answered.effects.pushes if p.offer]
    assert push.driver == "cleo"
    assert await due_of(world, ref) == {f"offer/{MALL}/o3-0"}
    answered = await world.store.offers.decline(MARKET, "cleo", "o3-0", "")
    assert answered.effects.malls == (MALL,)
    job = await world.job(ref)
    assert (job.state, job.attempt, job.offer) == (JobState.QUEUED, 1, None)
    assert await due_of(world, ref) == {f"retry/{MALL}"}
    assert [outcome for *_, outcome in await asked(world, ref)] == ["declined"] * 3
    assert await world.redis.hget(world.keys.job(ref.job), "round") is None


async def test_unacknowledged_offer_keeps_the_other_offers(world: World) -> None:
    for driver in ("ann", "bob", "cleo"):
        await world.driver(driver)
    ref = await world.submit()
    await begin(world, ref, "ann", "bob", "cleo")
    await offer_to_next(world, ref)
    await world.store.offers.ack(MARKET, "bob", "o2-0")
    await world.pass_ms(ACK_MS - GAP_MS)
    outcome, _, effects = await world.store.deadlines.lapse(lapse_of(ref, "o1-0"))
    assert (outcome, effects.malls) == (Outcome.UNACKNOWLEDGED, ())
    assert (await world.record("ann")).unreachable
    assert await world.state(ref) == "offered"
    outcome, _, _ = await world.store.deadlines.lapse(lapse_of(ref, "o2-0"))
    assert outcome is None
    await world.pass_ms(OFFER_MS)
    outcome, _, effects = await world.store.deadlines.lapse(lapse_of(ref, "o2-0"))
    # Cleo's position is stale by now, or she would be asked.
    assert outcome is Outcome.EXPIRED
    assert await asked(world, ref) == [("ann", 1, "unacknowledged"), ("bob", 1, "expired")]


async def test_withdrawal_ends_only_one_offer(world: World) -> None:
    ref = await offer_to_two(world)
    await world.store.drivers.suspend(MARKET, "bob", "complaint")
    effects = await world.store.offers.withdraw(ref, "o2-0", "operator")
    assert [(p.driver, p.why) for p in effects.pushes] == [("bob", "withdrawn")]
    assert ((await world.job(ref)).offer, effects.malls) == ("o1-0", ())
    before = await world.dump()
    await world.store.offers.withdraw(ref, "o2-0", "operator")
    assert await world.dump() == before


@pytest.mark.parametrize("how", ["cancel", "assign", "assign to one of them", "expire"])
async def test_cancel_assign_and_expiry_end_every_offer(world: World, how: str) -> None:
    await world.driver("eve")
    ref = await offer_to_two(world)
    if how == "cancel":
        await world.store.jobs.cancel(ref, "toys", "")
        why = "cancelled"
    elif how.startswith("assign"):
        await world.store.jobs.assign(ref, "eve" if how == "assign" else "bob", "operator")
        why = "withdrawn"
    else:
        await world.pass_ms(HOUR_MS)
        await world.store.deadlines.expire(ref, "nobody_accepted", 200)
        why = "expired"
    for driver in ("ann", "bob"):
        assert ("offer_closed", why) in await pushes_of(world, driver)
        assert (await world.record(driver)).offer is None
    assert not {entry for entry in await due_of(world, ref) if entry.startswith(("offer", "more"))}
    assert await world.redis.hget(world.keys.job(ref.job), "round") is None


async def test_custody_ends_every_offer(world: World) -> None:
    await world.driver("eve")
    ref, attempt = await world.assigned("eve")
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    for driver in ("ann", "bob"):
        await world.driver(driver)
    await begin(world, ref, "ann", "bob")
    await offer_to_next(world, ref)
    await world.step(ref, Step.PICKED_UP, attempt, "eve")
    for driver in ("ann", "bob"):
        assert ("offer_closed", "collected") in await pushes_of(world, driver)
        assert (await world.record(driver)).offer is None


async def test_round_without_a_gap_asks_all_drivers_at_once(world: World) -> None:
    for driver in ("ann", "bob", "cleo"):
        await world.driver(driver)
    ref = await world.submit()
    await world.store.drivers.suspend(MARKET, "bob", "")
    await begin(world, ref, "ann", "bob", "cleo", gap_ms=0)
    offered = await world.store.deadlines.offer_more(more(ref))
    assert [p.driver for p in offered.effects.pushes] == ["cleo"]
    out = [(await world.record(driver)).offer for driver in ("ann", "cleo")]
    assert await due_of(world, ref) == {f"offer/{MALL}/{offer}" for offer in out}
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "gone"


async def test_unavailable_driver_is_tried_again(world: World) -> None:
    for driver in ("ann", "bob"):
        await world.driver(driver)
    ref = await world.submit()
    await begin(world, ref, "ann", "bob")
    await world.store.drivers.suspend(MARKET, "bob", "")
    await world.pass_ms(GAP_MS)
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "nobody"
    assert (await world.due())[more(ref).member] == world.now + GAP_MS
    await world.store.drivers.resume(MARKET, "bob")
    await offer_to_next(world, ref)


async def test_driver_of_a_dead_node_is_not_asked(world: World) -> None:
    await world.driver("ann")
    world.nodes.add("n2")
    await world.beat()
    await world.driver("bob", node="n2")
    ref = await world.submit()
    await begin(world, ref, "ann", "bob")
    world.nodes.discard("n2")
    await world.pass_ms(GAP_MS)
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "nobody"
    assert NODE in world.nodes


async def test_due_entry_without_a_round_is_removed(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered()
    await world.redis.zadd(world.keys.key("due"), {more(ref).member: world.now})
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "gone"
    gone = DueEntry("more/m/job_phoenix.x", DueKind.MORE, "job_phoenix.x", mall="m")
    assert (await world.store.deadlines.offer_more(gone)).verdict == "gone"


async def test_round_ends_with_its_job(world: World) -> None:
    for driver in ("ann", "bob"):
        await world.driver(driver)
    ref = await world.submit(expires_ms=world.now + GAP_MS)
    await begin(world, ref, "ann", "bob")
    await world.pass_ms(GAP_MS)
    assert (await world.store.deadlines.offer_more(more(ref))).verdict == "nobody"
    await world.store.deadlines.expire(ref, "nobody_accepted", 200)
    assert await due_of(world, ref) == set()


async def test_round_with_one_driver_is_not_staggered(world: World) -> None:
    await world.driver("ann")
    ref = await world.submit()
    await begin(world, ref, "ann")
    assert await due_of(world, ref) == {f"offer/{MALL}/o1-0"}
    await world.store.offers.decline(MARKET, "ann", "o1-0", "")
    assert await world.state(ref) == "queued"
