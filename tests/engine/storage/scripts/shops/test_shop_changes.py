"""A shop closes by its own word: what follows for its jobs."""

import json

import pytest

from mallard_engine.core.model import JobHold, Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, ShopState
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World

SHOP = "store/lego"
VAN = Vehicle(kind="van", max_jobs=4, equipment=("lift",))


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=3)


async def closes(world: World, until_ms: int, *refs: JobRef) -> None:
    await world.store.shops.set_hours(MARKET, MALL, "lego", until_ms, SHOP)
    for ref in refs:
        await world.store.shops.apply_hours(ref, "lego", SHOP)


async def closed_of_two(world: World) -> JobRef:
    """A job that is held for one second, as one of its shops is closed."""
    shops = [{"store": store, "parcels": 2} for store in ("lego", "gap")]
    order = {"pickup": {"stores": shops}, "on_short": "hold", "hold_s": 600}
    ref, attempt = await world.assigned(
        "ann", stores=("lego", "gap"), body=json.dumps(order).encode()
    )
    await world.problem(ref, "store_closed", attempt=attempt, until_ms=world.now + 1_000)
    return ref


async def is_ready(world: World, ref: JobRef, store: str) -> None:
    job = await world.job(ref)
    await world.store.jobs.ready(
        ref,
        was=job,
        body=job.body,
        card=job.card,
        need=job.need,
        release_ms=world.now,
        actor=SHOP,
        said=store,
        is_ready=True,
    )


async def test_whole_run_is_withdrawn_when_its_shop_closes(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, _ = await world.offered_run("ann", 2)
    for _ in range(2):
        await closes(world, world.now + HOUR_MS, refs[0])
    assert [(await world.job(ref)).state for ref in refs] == [JobState.QUEUED] * 2


async def test_held_job_follows_every_report_of_its_shop(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", expires_ms=world.now + 5 * HOUR_MS)
    for hours in (2, 2, 1):
        await closes(world, world.now + hours * HOUR_MS, ref)
        job = await world.job(ref)
        assert job.hold
        assert (job.state, job.attempt, job.hold.until_ms) == (
            JobState.SCHEDULED,
            attempt + 1,
            world.now + hours * HOUR_MS,
        )
    for _ in range(2):
        await closes(world, 0, ref)
        assert (await world.job(ref)).state is JobState.QUEUED


async def test_driver_keeps_the_job_if_the_shop_opens_in_time(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    (ref,) = await world.assigned_run("ann", 1)
    eta = (await world.job(ref)).eta_pickup_ms
    assert eta
    assert eta > world.now
    await closes(world, eta, ref)
    assert (await world.pushes())[-1].reason == "updated"
    assert (await world.job(ref)).state is JobState.ASSIGNED
    await closes(world, eta + 1, ref)
    assert (await world.job(ref)).state is JobState.SCHEDULED


async def test_driver_gets_a_report_of_the_shop_once(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned("ann", stores=("lego", "gap"))
    for until_ms in (world.now + HOUR_MS, world.now + 2 * HOUR_MS, 0):
        await closes(world, until_ms, ref)
        before = await world.dump()
        await closes(world, until_ms, ref)
        assert await world.dump() == before


async def test_prolonged_hold_shows_in_the_risk(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned(
        "ann", deadline_ms=world.now + 2 * HOUR_MS, expires_ms=world.now + 5 * HOUR_MS
    )
    await closes(world, world.now + HOUR_MS, ref)
    for hours, expected in ((1, "none"), (5, "late")):
        await closes(world, world.now + hours * HOUR_MS, ref)
        for job in await world.store.deadlines.risks_due(MARKET, 10):
            await world.store.deadlines.look_at_risk(job)
        assert (await world.job(ref)).risk == expected


@pytest.mark.parametrize("how", ["opens", "time passes", "is ready"])
async def test_open_shop_waits_for_another_that_lacks(world: World, how: str) -> None:
    await world.driver("ann")
    ref = await closed_of_two(world)
    await world.store.jobs.shop_says(ref, "gap", ShopState.MISSING, SHOP, None)
    if how == "opens":
        await closes(world, 0, ref)
    elif how == "time passes":
        await world.pass_ms(1_000)
        await world.store.deadlines.queue(ref)
    else:
        await is_ready(world, ref, "lego")
    job = await world.job(ref)
    assert (job.state, job.hold) == (
        JobState.SCHEDULED,
        JobHold("missing", "gap", world.now + 600_000),
    )


async def test_overdue_hold_is_not_released_by_another_shop(world: World) -> None:
    await world.driver("ann")
    ref = await closed_of_two(world)
    until_ms = world.now + 1_000
    await world.pass_ms(1_000)
    await is_ready(world, ref, "gap")
    job = await world.job(ref)
    hold = JobHold("store_closed", "lego", until_ms)
    assert (job.state, job.hold) == (JobState.SCHEDULED, hold)


async def test_driver_collects_from_the_shops_that_are_open(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann", stores=("lego", "gap"))
    await closes(world, world.now + HOUR_MS, ref)
    assert (await world.pushes())[-1].reason == "updated"
    job = await world.job(ref)
    assert (job.state, job.attempt, job.driver) == (JobState.ASSIGNED, attempt, "ann")


async def test_parcels_on_board_stay_with_their_driver(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(JobState.PICKED_UP)
    await closes(world, world.now + HOUR_MS, ref)
    assert (await world.job(ref)).state is JobState.PICKED_UP
