"""Runs on a real Redis: planning, offers, add-ons, holds, and broken jobs."""

import asyncio
from typing import Any

import pytest

from mallard_engine.core.model import LiveOffer, Vehicle
from mallard_engine.core.policy import RunCosts
from mallard_engine.ports import JobRef, Offered, OfferPlan
from mallard_protocol.lifecycle import JobState, Step, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import HOUR_MS, KIOSK, MALL, MARKET, Node
from tests.support import eventually

CAR = Vehicle(max_jobs=8)
KM_DEG = 1_000 / 111_195


@pytest.fixture(params=["instant", "batch"])
def round_(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def pooling(make_node: MakeNode, round_: str, name: str = "a", **changes: Any) -> Node:
    policy: dict[str, Any] = {
        "round": round_,
        "window_ms": 50,
        "preset": "pooled",
        "max_run_jobs": 4,
        "hold_margin_s": 1_800.0,
        "run": RunCosts(plan="by_driver", back=1.0),
    }
    return await make_node(name, **policy | changes)


async def north(node: Node, km: float, **need: Any) -> JobRef:
    """A job to an address `km` north of the mall."""
    return await node.submit(lat=MALL.lat + km * KM_DEG, lon=MALL.lon, **need)


async def offer_of(node: Node, jobs: int) -> LiveOffer:
    """Wait for an offer of that many jobs; return the newest."""
    await eventually(lambda: [it for it in node.sink.offers if len(it.jobs) == jobs])
    return next(it for it in reversed(node.sink.offers) if len(it.jobs) == jobs)


async def run_of_three(node: Node, driver: str = "d") -> tuple[list[JobRef], LiveOffer]:
    """Three waiting jobs, offered in one run to a driver who comes online."""
    refs = [await north(node, km) for km in (9, 7, 8)]
    for ref in refs:
        await node.waits(ref)
    await node.online(driver, vehicle=CAR)
    return refs, await offer_of(node, 3)


async def test_run_is_offered_in_drop_off_order(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    refs, offer = await run_of_three(node)
    far, near, middle = (ref.job for ref in refs)
    assert [job.job for job in offer.jobs] == [near, middle, far]
    assert not offer.add_on
    times_ms = [job.eta_dropoff_ms for job in offer.jobs]
    assert times_ms == sorted(times_ms)
    for ref in refs:
        assert (await node.job(ref)).state is JobState.OFFERED
    record = await node.store.offers.last_round(far)
    assert record is not None
    assert record.run == (near, middle, far)
    assert record.why == "free"
    assert dict(record.candidates[0].terms)["run"] < 0


async def test_urgent_run_leaves_while_other_jobs_are_held(
    make_node: MakeNode, round_: str
) -> None:
    """More jobs than are planned in the event loop: urgent ones leave, the others are held."""
    node = await pooling(
        make_node,
        round_,
        preset="same_day",
        hold_max_s=36_000.0,
        hold_margin_s=300.0,
        run=RunCosts(plan="by_deadline"),
    )
    now_ms = node.store.now_ms()
    urgent = [
        await north(node, km, deadline_ms=now_ms + 1_700_000, ready_ms=now_ms) for km in (6, 6.5)
    ]
    patient = [
        await north(node, -6 - km / 10, deadline_ms=now_ms + 36_000_000, ready_ms=now_ms)
        for km in range(24)
    ]
    await node.online("d", vehicle=CAR)
    offer = await offer_of(node, 2)
    assert {job.job for job in offer.jobs} == {ref.job for ref in urgent}

    async def held() -> bool:
        record = await node.store.offers.last_round(patient[0].job)
        return record is not None and record.held_until_ms > now_ms

    await eventually(held)
    record = await node.store.offers.last_round(urgent[0].job)
    assert record is not None
    assert record.why == "due"


async def test_claimed_parcels_have_drop_off_times_in_order(
    make_node: MakeNode, round_: str
) -> None:
    """A driver without a network has collected jobs that were taken off it meanwhile."""
    node = await pooling(make_node, round_)
    refs, offer = await run_of_three(node)
    jobs = (await node.dispatcher.offers.accept(MARKET, "d", offer.offer)).jobs
    await node.wish("d", Wish.PAUSED)
    for job in jobs:
        await node.dispatcher.orders.unassign(JobRef(job.id, MALL.id), job.attempt, "boss", "")
    for ref in refs:
        await node.does(ref, "d", jobs[0].attempt, Step.PICKED_UP)

    async def times_ms() -> list[int]:
        now = [await node.store.jobs.get(job.id) for job in jobs]
        return [job.eta_dropoff_ms or 0 for job in now]

    async def are_known() -> bool:
        near_ms, middle_ms, far_ms = await times_ms()
        return node.store.now_ms() < near_ms < middle_ms < far_ms

    await eventually(are_known)
    for job in await asyncio.gather(*(node.store.jobs.get(job.id) for job in jobs)):
        await node.does(JobRef(job.id, MALL.id), "d", job.attempt, Step.DELIVERED)
    assert len(node.dispatcher.drivers._plans.etas) == 0


async def test_hold_that_becomes_shorter_ends_sooner(make_node: MakeNode, round_: str) -> None:
    """The only driver will leave earlier than it said at first."""
    node = await pooling(
        make_node,
        round_,
        preset="same_day",
        hold_max_s=36_000.0,
        hold_margin_s=300.0,
        run=RunCosts(plan="by_deadline"),
    )
    now_ms = node.store.now_ms()
    ref = await north(node, 6, deadline_ms=now_ms + 7_000_000, ready_ms=now_ms)
    await node.waits(ref)
    await node.hello("d", vehicle=CAR)
    await node.wish("d", Wish.AVAILABLE, now_ms + 4_500_000)
    due = f"retry/{ref.mall}/{ref.job}"

    async def ends_by(until_ms: int) -> bool:
        due_ms = await node.due_ms(due)
        return due_ms is not None and now_ms + 600_000 < due_ms < until_ms

    await eventually(lambda: ends_by(now_ms + 3_600_000))
    first_ms = await node.due_ms(due)
    assert first_ms is not None
    await node.wish("d", Wish.AVAILABLE, now_ms + 3_500_000)
    await eventually(lambda: ends_by(first_ms - 900_000))


async def test_etas_of_an_accepted_run_are_updated(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    _, offer = await run_of_three(node)
    jobs = (await node.dispatcher.offers.accept(MARKET, "d", offer.offer)).jobs
    assert [job.id for job in jobs] == [job.job for job in offer.jobs]
    assert [job.eta_dropoff_ms for job in jobs] == [job.eta_dropoff_ms for job in offer.jobs]
    for job in jobs:
        await node.does(JobRef(job.id, MALL.id), "d", job.attempt, Step.PICKED_UP)
    first, second, last = jobs
    await node.does(JobRef(first.id, MALL.id), "d", first.attempt, Step.DELIVERED)

    async def is_updated() -> bool:
        now = await node.store.jobs.get(second.id)
        return now.eta_dropoff_ms != second.eta_dropoff_ms

    await eventually(is_updated)
    after = [await node.store.jobs.get(job.id) for job in (second, last)]
    assert node.store.now_ms() < (after[0].eta_dropoff_ms or 0) < (after[1].eta_dropoff_ms or 0)
    for job in (second, last):
        await node.does(JobRef(job.id, MALL.id), "d", job.attempt, Step.DELIVERED)
    assert not (await node.driver("d")).jobs
    assert len(node.dispatcher.drivers._plans.etas) == 0


async def test_declined_run_is_offered_to_the_next_driver(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    refs, offer = await run_of_three(node)
    await node.online("d2", 2_000, vehicle=CAR)
    await node.declines(offer)
    await eventually(lambda: node.sink.pushes_to("d2", "offer"))
    again = node.sink.offers[-1]
    assert (again.driver, len(again.jobs)) == ("d2", 3)
    for ref in refs:
        assert await node.outcomes(ref) == [("d", "declined")]


async def test_vehicle_with_room_for_one_gets_one_job(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    for km in (7, 8):
        await node.waits(await north(node, km))
    await node.online("small", vehicle=Vehicle(max_jobs=1))
    await eventually(lambda: node.sink.offers)
    assert [len(offer.jobs) for offer in node.sink.offers] == [1]


async def test_driver_on_its_way_gets_an_add_on(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    await node.online("d", 3_000, vehicle=CAR)
    first = await north(node, 9)
    offer = await offer_of(node, 1)
    held = await node.accepts(offer)
    second = await north(node, 7)
    add_on = await node.offered(second, "d")
    assert add_on.add_on
    record = await node.store.offers.last_round(second.job)
    assert record is not None
    assert record.why == "add_on"
    await node.accepts(add_on)
    carried = (await node.driver("d")).jobs
    assert {job.job for job in carried} == {first.job, second.job}

    async def in_order() -> bool:
        far, near = await node.store.jobs.get(first.job), await node.store.jobs.get(second.job)
        return (near.eta_dropoff_ms or 0) < (far.eta_dropoff_ms or 0)

    # The new stop is on the way to the old one, and the ETAs are in that order.
    await eventually(in_order)
    assert (await node.store.jobs.get(held.id)).state is JobState.ASSIGNED


async def test_declined_add_on_has_no_cool_down(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_, cooldown_s=60.0)
    await node.online("d", 3_000, vehicle=CAR)
    await north(node, 9)
    await node.accepts(await offer_of(node, 1))
    second = await north(node, 7)
    await node.declines(await node.offered(second, "d"))
    third = await north(node, 8)
    # No cool-down: the driver gets the next job at once, but not the declined one.
    await node.offered(third, "d")
    assert node.sink.asked(second) == ["d"]


@pytest.mark.parametrize("margin_s", [0.0, 1_200.0])
async def test_add_on_must_end_within_the_block(
    make_node: MakeNode, round_: str, margin_s: float
) -> None:
    node = await pooling(make_node, round_, block_margin_s=margin_s)
    await node.online("d", 3_000, vehicle=CAR)
    await north(node, 9)
    held = await node.accepts(await offer_of(node, 1))
    alone_ms = (held.eta_dropoff_ms or 0) + int(margin_s * 1000)
    # The held job ends within the block; one more stop would end after it.
    await node.wish("d", Wish.AVAILABLE, alone_ms + 30_000)
    second = await north(node, 7)
    await node.waits(second)
    assert not node.sink.asked(second)
    await node.wish("d", Wish.AVAILABLE, alone_ms + 1_800_000)
    assert (await node.offered(second, "d")).add_on


async def test_driver_at_the_mall_gets_no_add_on(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    await node.online("d", 3_000, vehicle=CAR)
    first = await north(node, 9)
    held = await node.accepts(await offer_of(node, 1))
    await node.does(first, "d", held.attempt, Step.AT_MALL)
    second = await north(node, 7)
    await node.waits(second)
    assert not node.sink.asked(second)


async def test_held_job_records_its_hold(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_, preset="same_day", hold_max_s=3_600.0)
    await node.online("d", vehicle=CAR)
    ref = await north(node, 8)
    await node.waits(ref)

    async def is_held() -> bool:
        record = await node.store.offers.last_round(ref.job)
        return record is not None and record.held_until_ms > node.store.now_ms()

    await eventually(is_held)
    record = await node.store.offers.last_round(ref.job)
    assert record is not None
    job = await node.job(ref)
    assert record.held_until_ms == job.need.ready_ms + 3_600_000
    # The job's next due time is the end of the hold.
    assert await node.due_ms(f"retry/{ref.mall}/{ref.job}") == min(
        record.held_until_ms, job.expires_ms
    )
    assert not node.sink.offers


async def test_full_run_of_held_jobs_is_offered(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_, preset="same_day", hold_max_s=3_600.0)
    await node.online("d", vehicle=CAR)
    for km in (7, 7.5, 8):
        await node.waits(await north(node, km))
    assert not node.sink.offers
    await north(node, 8.5)
    offer = await offer_of(node, 4)
    record = await node.store.offers.last_round(offer.jobs[0].job)
    assert record is not None
    assert (record.why, record.held_until_ms) == ("full", 0)


async def test_held_job_is_offered_at_the_end_of_its_hold(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_, preset="same_day", hold_max_s=0.5)
    await node.online("d", vehicle=CAR)
    ref = await north(node, 8)
    await node.offered(ref, "d")
    record = await node.store.offers.last_round(ref.job)
    assert record is not None
    assert record.why == "due"


async def test_driver_is_sent_to_be_there_when_the_shop_opens(make_node: MakeNode) -> None:
    """Its way takes about 13 minutes. A driver who is too near to set off is offered nothing."""
    node = await pooling(make_node, "instant")
    opens_ms = node.store.now_ms() + 600_000
    await node.dispatcher.shops.set_hours(MALL.id, KIOSK.id, opens_ms, "store/kiosk")
    ref = await north(node, 2, stores=(KIOSK.id,))
    await node.online("near", 1_000, vehicle=CAR)
    await node.waits(ref)
    assert not node.sink.offers
    await node.online("far", 5_000, vehicle=CAR)
    offer = await node.offered(ref, "far")
    assert opens_ms < offer.jobs[0].eta_pickup_ms
    assert node.sink.asked(ref) == ["far"]


async def test_express_job_waits_until_the_shop_opens(make_node: MakeNode) -> None:
    node = await pooling(make_node, "instant", preset="express")
    opens_ms = node.store.now_ms() + 600_000
    await node.dispatcher.shops.set_hours(MALL.id, KIOSK.id, opens_ms, "store/kiosk")
    ref = await north(node, 2, stores=(KIOSK.id,))
    await node.online("far", 5_000, vehicle=CAR)
    await node.waits(ref)
    assert await node.due_ms(f"retry/{MALL.id}/{ref.job}") == opens_ms
    assert not node.sink.offers


async def test_broken_job_does_not_break_the_runs(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_, retry_s=0.1)
    broken = await node.submit(stores=("nowhere",))
    sound = await north(node, 8)
    await node.online("d", vehicle=CAR)
    await node.offered(sound, "d")
    await node.is_in(broken, JobState.SCHEDULED)
    assert [it.job for it in await node.store.dead_letters.list(MARKET)] == [broken.job]


async def test_market_without_pooling_offers_single_jobs(make_node: MakeNode) -> None:
    node = await make_node()
    for km in (7, 8):
        await node.waits(await north(node, km))
    await node.online("d", vehicle=CAR)
    await eventually(lambda: node.sink.offers)
    assert [len(offer.jobs) for offer in node.sink.offers] == [1]


async def test_driver_who_leaves_before_its_offer_is_skipped(
    make_node: MakeNode, round_: str
) -> None:
    node = await pooling(make_node, round_)
    offer = node.store.offers.make

    async def offer_after_a_pause(plan: OfferPlan) -> Offered:
        if plan.drivers[0].driver == "near":
            await node.store.drivers.status(MARKET, "near", Wish.PAUSED, None)
        return await offer(plan)

    node.store.offers.make = offer_after_a_pause  # type: ignore[method-assign]  # between the round's read and its offer
    await node.online("near", 1_000, vehicle=CAR)
    await node.online("further", 2_000, vehicle=CAR)
    await node.quiet()
    await node.offered(await north(node, 8), "further")


async def test_later_failing_job_does_not_break_the_runs(make_node: MakeNode, round_: str) -> None:
    node = await pooling(make_node, round_)
    later_ms = node.store.now_ms() + HOUR_MS
    await node.submit(stores=("nowhere",), ready_ms=later_ms)
    # No driver is online, so the job is retried in half a minute.
    await node.waits(await north(node, 8))
