"""Batch rounds on a real Redis: one problem per market, carried-over jobs, several nodes."""

from typing import Any

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.ports import JobRef, Offered, OfferPlan
from mallard_protocol.lifecycle import JobState, Step, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, MARKET, Node
from tests.support import eventually


async def batching(make_node: MakeNode, name: str = "a", **changes: Any) -> Node:
    return await make_node(name, round="batch", window_ms=50, **changes)


async def test_jobs_of_one_window_get_a_driver_each(make_node: MakeNode) -> None:
    node = await batching(make_node)
    for name, north_m in (("d1", 300), ("d2", 600), ("d3", 900)):
        await node.online(name, north_m)
    refs = [await node.submit() for _ in range(3)]
    for ref in refs:
        await node.is_in(ref, JobState.OFFERED)
    assert {offer.driver for offer in node.sink.offers} == {"d1", "d2", "d3"}
    record = await node.store.offers.last_round(refs[0].job)
    assert record is not None
    assert {term.name for term in record.candidates[0].terms} >= {"lateness", "travel"}


async def test_full_batch_does_not_wait_for_its_window(make_node: MakeNode) -> None:
    node = await make_node(round="batch", window_ms=600_000, batch_jobs=3)
    await node.online("d", 300)  # a driver who becomes free counts as one
    for _ in range(2):
        await node.submit()
    await eventually(lambda: node.sink.offers)


async def test_declined_job_is_offered_to_another_driver(make_node: MakeNode) -> None:
    node = await batching(make_node)
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    await eventually(lambda: node.sink.asked(ref))
    await node.declines(node.sink.offers[0])
    await eventually(lambda: len(node.sink.offers) == 2)
    assert {offer.driver for offer in node.sink.offers} == {"d1", "d2"}


async def test_driver_who_leaves_before_its_offer_is_skipped(make_node: MakeNode) -> None:
    node = await batching(make_node, retry_s=30.0)
    offer = node.store.offers.make

    async def offer_after_a_pause(plan: OfferPlan) -> Offered:
        if plan.drivers[0].driver == "near":
            await node.store.drivers.status(MARKET, "near", Wish.PAUSED, None)
        return await offer(plan)

    node.store.offers.make = offer_after_a_pause  # type: ignore[method-assign]  # between the round's read and its offer
    await node.online("near", 300)
    await node.online("further", 900)
    await node.quiet()
    await node.offered(await node.submit(), "further")


async def test_job_is_offered_early_if_blocks_end(
    make_node: MakeNode,
) -> None:
    node = await batching(make_node, retry_s=30.0, block_covers="pickup")
    await node.online("d", 300)
    later = await node.submit(ready_ms=node.store.now_ms() + 1_000_000)
    await node.waits(later)
    until_ms = node.store.now_ms() + 1_200_000
    await node.wish("d", Wish.AVAILABLE, until_ms)
    await node.submit(expires_in_ms=1)  # triggers a round
    await node.offered(later, "d")


async def test_unassigned_jobs_are_carried_over(make_node: MakeNode) -> None:
    node = await batching(make_node, retry_s=30.0)
    ref = await node.submit()
    await node.waits(ref)
    await node.online("d", 300)
    await eventually(lambda: node.sink.asked(ref))


async def test_job_waits_for_an_upcoming_driver(make_node: MakeNode) -> None:
    node = await batching(make_node)
    await node.online("near", 200)
    first = await node.submit(lat=33.31, lon=-111.9)
    await eventually(lambda: node.sink.asked(first))
    job = await node.accepts(node.sink.offers[0])
    assert len(node.dispatcher._rounds.upcoming) == 1
    second = await node.submit()
    await node.waits(second)
    await node.does(first, "near", job.attempt, Step.PICKED_UP)
    await node.does(first, "near", job.attempt, Step.DELIVERED)
    assert len(node.dispatcher._rounds.upcoming) == 0
    await node.offered(second, "near")


async def test_paused_or_unassigned_driver_is_not_upcoming(make_node: MakeNode) -> None:
    node = await batching(make_node)
    for how in ("pause", "unassign"):
        await node.online(how, 200)
        ref = await node.submit()
        await eventually(lambda: node.sink.asked(ref))  # noqa: B023
        job = await node.accepts(node.sink.offers[-1])
        assert len(node.dispatcher._rounds.upcoming) == 1
        if how == "pause":
            await node.wish(how, Wish.PAUSED)
        else:
            await node.dispatcher.orders.unassign(ref, job.attempt, "operator", "")
        assert len(node.dispatcher._rounds.upcoming) == 0


async def test_unserved_job_expires(make_node: MakeNode) -> None:
    node = await batching(make_node)
    ref = await node.submit(expires_in_ms=300)
    job = await node.is_in(ref, JobState.EXPIRED)
    assert job.reason == "nobody_in_reach"
    await eventually(lambda: len(node.dispatcher._rounds) == 0)


async def test_one_broken_job_does_not_break_its_batch(make_node: MakeNode) -> None:
    node = await batching(make_node, retry_s=0.1)
    await node.online("d", 300)
    broken = await node.submit(stores=("nowhere",))
    sound = await node.submit()
    await eventually(lambda: node.sink.asked(sound))
    await node.is_in(broken, JobState.SCHEDULED)
    assert [it.job for it in await node.store.dead_letters.list(MARKET)] == [broken.job]


async def test_unservable_jobs_do_not_fill_a_batch(
    make_node: MakeNode,
) -> None:
    node = await batching(make_node, max_batch_jobs=2, retry_s=600.0)
    for _ in range(5):
        await node.waits(await node.submit(requires=("crane",), priority=1))
    ref = await node.submit()
    await node.waits(ref)
    await node.online("d", 300)
    await node.offered(ref, "d")


async def test_jobs_beyond_one_batch_are_served_at_once(make_node: MakeNode) -> None:
    node = await batching(make_node, max_batch_jobs=2, retry_s=600.0)
    refs = [await node.submit() for _ in range(7)]
    for ref in refs:
        await node.waits(ref)
    for n in range(7):
        await node.online(f"d{n}", 100 + n)
    for ref in refs:
        await node.is_in(ref, JobState.OFFERED)
    await eventually(lambda: len(node.dispatcher._rounds) == 0)


async def test_batches_end_if_no_job_can_be_served(make_node: MakeNode) -> None:
    node = await batching(make_node, max_batch_jobs=2, retry_s=600.0)
    for _ in range(5):
        await node.waits(await node.submit(requires=("crane",)))
    await node.online("d", 300)
    await node.quiet()
    node.dispatcher._rounds.wake(MALL.id)
    await eventually(lambda: len(node.dispatcher._tasks) == 0)
    assert node.calls.count("waiting_jobs") == 1


async def test_runs_use_all_waiting_jobs(make_node: MakeNode) -> None:
    node = await batching(
        make_node, max_batch_jobs=1, preset="pooled", max_run_jobs=3, retry_s=600.0
    )
    refs = [await node.submit(lat=MALL.lat + 0.06, lon=MALL.lon) for _ in range(3)]
    for ref in refs:
        await node.waits(ref)
    await node.online("d", 300, vehicle=Vehicle(max_jobs=3))
    await eventually(lambda: node.sink.offers)
    assert {job.job for job in node.sink.offers[0].jobs} == {ref.job for ref in refs}


async def test_priority_decides_if_drivers_are_scarce(
    make_node: MakeNode,
) -> None:
    node = await batching(make_node, max_batch_jobs=2, retry_s=600.0)
    refs = [await node.submit(priority=priority) for priority in (0, 0, 0, 5, 5, 4)]
    for ref in refs:
        await node.waits(ref)
    for n, served in enumerate((refs[3:5], refs[3:5], refs[5:6])):
        await node.online(f"d{n}", 300)
        await eventually(lambda: len(node.sink.offers) > n)  # noqa: B023
        assert node.sink.offers[n].jobs[0].job in [ref.job for ref in served]


async def test_two_nodes_share_a_market(make_node: MakeNode) -> None:
    a, b = await batching(make_node, "a"), await batching(make_node, "b")
    await a.online("d1", 300)
    await b.online("d2", 600)
    refs = [await a.submit(), await b.submit()]
    for ref in refs:
        await a.is_in(ref, JobState.OFFERED)
    for ref in refs:
        assert (await a.job(ref)).attempt == 1


async def bundling(make_node: MakeNode) -> tuple[Node, list[JobRef]]:
    """A node with two waiting jobs of neighbouring addresses."""
    node = await batching(make_node, preset="pooled", max_run_jobs=3, bundle_jobs=3, retry_s=600.0)
    refs = [await node.submit(lat=MALL.lat + north, lon=MALL.lon) for north in (0.061, 0.06)]
    for ref in refs:
        await node.waits(ref)
    return node, refs


async def test_bundle_is_offered_to_one_driver_as_a_whole(make_node: MakeNode) -> None:
    node, (far, near) = await bundling(make_node)
    await node.online("d", 300, vehicle=Vehicle(max_jobs=3))
    await eventually(lambda: node.sink.offers)
    (offer,) = node.sink.offers
    assert [job.job for job in offer.jobs] == [near.job, far.job]
    times_ms = [job.eta_dropoff_ms for job in offer.jobs]
    assert times_ms == sorted(times_ms)
    record = await node.store.offers.last_round(far.job)
    assert record is not None
    assert (record.run, record.why) == ((near.job, far.job), "bundle")
    assert "company" in {term.name for term in record.candidates[0].terms}
    jobs = (await node.dispatcher.offers.accept(MARKET, "d", offer.offer)).jobs
    assert {job.id for job in jobs} == {far.job, near.job}
    # The driver becomes free when it has delivered the last job.
    assert len(node.dispatcher._rounds.upcoming) == 1
    for ref, job in ((near, jobs[0]), (far, jobs[1])):
        await node.does(ref, "d", job.attempt, Step.PICKED_UP)
    await node.does(near, "d", jobs[0].attempt, Step.DELIVERED)
    assert len(node.dispatcher._rounds.upcoming) == 1
    await node.does(far, "d", jobs[1].attempt, Step.DELIVERED)
    assert len(node.dispatcher._rounds.upcoming) == 0


async def test_driver_with_room_for_one_gets_one_job(make_node: MakeNode) -> None:
    node, _ = await bundling(make_node)
    await node.online("d", 300, vehicle=Vehicle(max_jobs=1))
    await eventually(lambda: node.sink.offers)
    assert [len(offer.jobs) for offer in node.sink.offers] == [1]


async def test_jobs_of_a_declined_bundle_return_to_the_queue(make_node: MakeNode) -> None:
    node, refs = await bundling(make_node)
    await node.online("d", 300, vehicle=Vehicle(max_jobs=3))
    await eventually(lambda: node.sink.offers)
    await node.declines(node.sink.offers[0])
    await node.online("e", 400, vehicle=Vehicle(max_jobs=3))
    await eventually(lambda: len(node.sink.offers) == 2)
    assert node.sink.offers[1].driver == "e"
    assert {job.job for job in node.sink.offers[1].jobs} == {ref.job for ref in refs}


async def test_cancelled_job_leaves_its_bundle_intact(make_node: MakeNode) -> None:
    node, (far, near) = await bundling(make_node)
    await node.dispatcher.orders.cancel(far, "store", "")
    await node.online("d", 300, vehicle=Vehicle(max_jobs=3))
    await eventually(lambda: node.sink.offers)
    assert [job.job for job in node.sink.offers[0].jobs] == [near.job]


async def test_upcoming_driver_is_planned_from_its_free_time(make_node: MakeNode) -> None:
    node = await batching(make_node)
    await node.online("d", 200)
    ref = await node.submit()
    await eventually(lambda: node.sink.asked(ref))
    job = await node.accepts(node.sink.offers[0])
    due_ms = job.eta_dropoff_ms
    assert due_ms is not None
    upcoming = node.dispatcher._rounds.upcoming

    def free_ms(now_ms: int) -> list[int]:
        return [driver.free_ms for driver in upcoming.drivers(MARKET, now_ms)]

    assert free_ms(due_ms - 30_000) == [due_ms]
    # Its report may be late; then a minute is added, up to a limit.
    assert free_ms(due_ms + 5_000) == [due_ms + 5_000]
    assert free_ms(due_ms + 6_000) == [due_ms + 66_000]
    assert free_ms(due_ms + 900_000) == []


async def test_rest_of_a_bundle_is_offered_at_once(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, (far, near) = await bundling(make_node)
    offer = node.store.offers.make

    async def cancelled_meanwhile(plan: OfferPlan) -> Offered:
        monkeypatch.setattr(node.store.offers, "make", offer)
        await node.store.jobs.cancel(far, "store", "")
        return await offer(plan)

    monkeypatch.setattr(node.store.offers, "make", cancelled_meanwhile)
    await node.online("d", 300, vehicle=Vehicle(max_jobs=3))
    await node.offered(near, "d")
    assert (await node.job(far)).state is JobState.CANCELLED
