"""`mallard check --repair`: each planted breach ends in a clean audit or is still named."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from mallard_engine.storage.audit.audit import Audit, audit
from mallard_engine.storage.audit.mending import Mending
from mallard_engine.storage.audit.repair import CannotJudge, Mend, Repair, repair
from mallard_engine.storage.audit.views import Look
from mallard_engine.storage.client.client import Link
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.storage.breaches import custody, drivers, jobs, shops
from tests.engine.storage.breaches.planted import PLANTED
from tests.engine.storage.breaches.writing import Plant, change, held
from tests.engine.storage.worlds import MALL, MARKET, World

# What only people can settle: a record that contradicts itself or what has happened.
NAMED: frozenset[Plant] = frozenset(
    {
        shops.more_collected_than_ordered,
        shops.parcels_of_an_unknown_shop,
        shops.collected_before_the_pickup,
        shops.offered_without_an_answer,
        shops.failed_without_a_reason,
        custody.parcel_with_two_holders,
        custody.parcel_with_the_first_drivers_attempt,
        custody.transfer_to_its_first_driver,
        custody.transfer_on_board,
        custody.driver_holds_two,
        custody.unused_image_of_a_job,
        custody.image_that_its_job_does_not_have,
        jobs.job_in_an_unknown_state,
        jobs.attempt_that_decreased,
        jobs.idempotency_key_of_another_service,
        jobs.reopened_job,
        jobs.event_after_the_terminal_state,
        jobs.job_of_another_market,
        # The nodes that are alive are to do it.
        jobs.job_past_its_expiry,
        jobs.overdue_due_entry,
        jobs.unknown_key,
        jobs.unreadable_record,
        drivers.unreadable_entry_of_the_register,
    }
)


async def judged(world: World, **options: Any) -> Audit:
    return await audit(world.url, {MARKET: world.policy}, settle_s=0, now_ms=world.clock, **options)


async def repaired(
    world: World, note: Callable[[Mend], None] = lambda _: None, **options: Any
) -> Repair:
    link = Link(world.url)
    await link.connect()
    try:
        look = Look(link, world.keys, world.policy, world.clock)
        return await repair(world.store, [look], lambda: judged(world, **options), note)
    finally:
        await link.close()


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=lambda p: getattr(p, "__name__", p))
async def test_planted_breach_is_mended_or_named(planted: World, rule: str, plant: Plant) -> None:
    await plant(planted)
    before = {(it.rule, it.kind, it.id) for it in await planted.breaches()}
    done = await repaired(planted)
    left = {(it.rule, it.kind, it.id) for it in done.left.breaches}
    assert left <= before, "it is worse than before"
    assert (plant in NAMED) == bool(left), (done.mends, left)
    assert done.mends or left
    again = await repaired(planted)
    assert again.mends == ()
    assert {(it.rule, it.kind, it.id) for it in again.left.breaches} == left


@pytest.mark.parametrize("seed", range(8))
async def test_several_breaches_at_once_are_never_made_worse(planted: World, seed: int) -> None:
    draw = random.Random(seed)
    for _, plant in draw.sample(PLANTED, 4):
        with contextlib.suppress(Exception):  # some do not fit what the others left
            await plant(planted)
    before = {(it.kind, it.id) for it in await planted.breaches()}
    done = await repaired(planted)
    assert {(it.kind, it.id) for it in done.left.breaches} <= before
    assert (await repaired(planted)).mends == ()


async def test_store_without_a_breach_is_left_alone(world: World) -> None:
    for number, state in enumerate(JobState):
        await world.driver(f"d{number}")
        await world.in_state(state, f"d{number}")
    before = await world.redis.xlen(world.keys.key("events"))
    done = await repaired(world)
    assert (done.mends, done.left.breaches) == ((), ())
    assert await world.redis.xlen(world.keys.key("events")) == before


async def test_job_that_is_gone_becomes_one_alert_and_may_come_again(planted: World) -> None:
    ref = await planted.submit(key="again")
    other = await planted.submit()
    await planted.redis.delete(planted.keys.job(ref.job))
    done = await repaired(planted)
    assert done.left.breaches == ()
    store = planted.store
    names = await store.alerts.list(MARKET, "open")
    (alert,) = await store.alerts.read(MARKET, names)
    assert (alert.what, alert.details["job"]) == ("job_lost", ref.job)
    assert alert.details["service"] == "toys"
    await repaired(planted)
    assert list(await store.alerts.list(MARKET, "open")) == names
    assert (await planted.job(other)).state is JobState.QUEUED
    assert await planted.submit(key="again") != ref


async def test_parcel_on_board_without_a_holder_is_one_alert(planted: World) -> None:
    await planted.driver("ann")
    await planted.picked_up("ann")
    await change(planted, "drivers", "ann", jobs=[])
    for _ in range(2):
        done = await repaired(planted)
        assert {it.rule for it in done.left.breaches} == {"S1"}
    names = await planted.store.alerts.list(MARKET, "open")
    assert [it.what for it in await planted.store.alerts.read(MARKET, names)] == ["holder_unknown"]


async def test_job_that_moved_on_since_it_was_judged_is_left_alone(planted: World) -> None:
    ref = await planted.submit()
    mending = Mending(planted.store.runner)
    await planted.redis.zrem(planted.keys.key("due"), f"retry/{MALL}/{ref.job}")
    assert await mending.job(ref, "queued", 7, []) == ()
    assert await mending.job(ref, "offered", 0, []) == ()
    due = f"retry/{MALL}/{ref.job}"
    assert await mending.entry(MARKET, "due", due, job=ref.job, state="offered") == ()
    assert await mending.counts(MARKET, "1-1", {"queued": 9}) == ()
    lost = await mending.lost(MARKET, ref.job, service="toys", external="", named_by=[])
    assert lost == ()
    assert await mending.driver(MARKET, "ann", node="n9", jobs=[], malls=[]) == ()
    assert len(await planted.breaches()) == 1


async def test_mended_job_is_offered_and_delivered_as_any_other(planted: World) -> None:
    ref = await held(planted)
    await change(planted, "drivers", "ann", jobs=[])
    done = await repaired(planted)
    assert "queued again" in "".join(it.what for it in done.mends)
    job = await planted.job(ref)
    assert (job.state, job.attempt) == (JobState.QUEUED, 2)
    await planted.driver("bob")
    offer = await planted.offer(ref, "bob")
    await planted.store.offers.accept(MARKET, "bob", offer)
    attempt = (await planted.job(ref)).attempt
    for step in (Step.PICKED_UP, Step.DELIVERED):
        await planted.step(ref, step, attempt, "bob")
    assert await planted.breaches() == ()


async def test_each_mend_is_in_the_audit_log(planted: World) -> None:
    await jobs.job_without_a_due_entry(planted)
    await jobs.wrong_count(planted)
    noted: list[Mend] = []
    done = await repaired(planted, note=noted.append)
    assert tuple(noted) == done.mends
    calls = await planted.store.audit_log.before(planted.now + 1, "", 0, 10)
    assert {it.operation for it in calls} == {"repair"}
    assert {it.path for it in calls} == {f"{it.kind}/{it.id}: {it.what}" for it in done.mends}
    assert {it.actor for it in calls} == {"mallard check"}


async def test_incomplete_audit_mends_nothing(planted: World) -> None:
    await jobs.wrong_count(planted)
    await planted.submit()
    with pytest.raises(CannotJudge):
        await repaired(planted, limit=1)
    assert "S13" in {it.rule for it in await planted.breaches()}
