"""ETAs follow positions and steps for every holder, with the default settings."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from mallard_engine.core.model import Job, Vehicle
from mallard_engine.dispatch.step_commands import StepReport
from mallard_engine.ports import DriverSnapshot, JobRef, StoreUnavailable
from mallard_protocol.lifecycle import JobState, Step, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, MARKET, Node
from tests.support import eventually

pytestmark = pytest.mark.finding("D5")
# ETAs are updated with every fix instead of at the default interval.
OFTEN = {"eta_every_s": 0.001}


async def moved(node: Node, ref: JobRef, was: Job) -> Job:
    """The job, once its ETA differs."""

    async def other() -> Job | None:
        job = await node.job(ref)
        return job if job.eta_dropoff_ms != was.eta_dropoff_ms else None

    job = await eventually(other)
    assert job is not None
    return job


async def test_eta_follows_the_position_of_the_holder(make_node: MakeNode) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 8_000)
    ref = await node.submit()
    taken = await node.accepts(await node.offered(ref, "ann"))
    assert taken.eta_pickup_ms == taken.promised_ms
    await node.moves("ann", 2_000)
    near = await moved(node, ref, taken)
    # 6 km less in a straight line, at 9 m/s on roads that are a third longer.
    assert taken.eta_pickup_ms is not None
    assert near.eta_pickup_ms is not None
    assert 700_000 < taken.eta_pickup_ms - near.eta_pickup_ms < 900_000
    await node.moves("ann", 9_000)
    far = await moved(node, ref, near)
    assert far.eta_pickup_ms is not None
    assert far.eta_pickup_ms > taken.eta_pickup_ms
    # The promised time stays, as delays are measured against it.
    assert far.promised_ms == taken.promised_ms


async def test_eta_follows_a_new_socket_when_the_old_one_closes_late(make_node: MakeNode) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 8_000)
    ref = await node.submit()
    taken = await node.accepts(await node.offered(ref, "ann"))
    epoch = (await node.hello("ann", 8_000)).epoch
    snapshot = await node.store.drivers.snapshot(MARKET, "ann")
    node.dispatcher.drivers.set_held_jobs(MARKET, snapshot)
    node.dispatcher.drivers.socket_closed(MARKET, "ann", epoch - 1)
    await node.moves("ann", 2_000)
    await moved(node, ref, taken)


async def test_eta_follows_a_job_that_is_accepted_during_a_read(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 8_000)
    ref = await node.submit()
    offer = await node.offered(ref, "ann")
    read, go_on = asyncio.Event(), asyncio.Event()
    snapshot = node.store.drivers.snapshot

    async def slow(market: str, driver: str) -> DriverSnapshot:
        found = await snapshot(market, driver)
        read.set()
        await go_on.wait()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(node.store.drivers, "snapshot", slow)
        node.dispatcher.drivers.holds_unknown_job(MARKET, "ann")  # and it has ended since
        await node.moves("ann", 7_900)
        await read.wait()
        taken = await node.accepts(offer)
        go_on.set()
        await eventually(lambda: len(node.dispatcher._tasks) == 0)
    await node.moves("ann", 2_000)
    await moved(node, ref, taken)


async def test_eta_that_was_not_stored_is_stored_with_the_next_fix(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 8_000)
    ref = await node.submit()
    taken = await node.accepts(await node.offered(ref, "ann"))
    tried = asyncio.Event()

    async def away(*_: object) -> None:
        tried.set()
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(node.store.jobs, "update_etas", away)
        await node.moves("ann", 2_000)
        await tried.wait()
        await eventually(lambda: len(node.dispatcher._tasks) == 0)
    await node.moves("ann", 2_000)
    await moved(node, ref, taken)


async def test_eta_becomes_the_actual_time_at_each_step(make_node: MakeNode) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 3_000)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, "ann"))
    await node.moves("ann", 0)
    await node.does(ref, "ann", job.attempt, Step.AT_MALL, Step.PICKED_UP)
    collected = await node.job(ref)
    assert collected.eta_pickup_ms == collected.timeline[-1].at_ms
    await node.moves("ann", 1_500)
    on_way = await moved(node, ref, collected)
    assert on_way.eta_pickup_ms == collected.eta_pickup_ms
    await node.does(ref, "ann", job.attempt, Step.DELIVERED)
    done = await node.job(ref)
    assert done.state is JobState.DELIVERED
    assert done.eta_pickup_ms == collected.eta_pickup_ms
    assert done.eta_dropoff_ms == done.timeline[-1].at_ms


async def test_job_assigned_by_an_operator_gets_an_eta(make_node: MakeNode) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 3_000)
    ref = await node.submit(requires=("crane",))
    await node.dispatcher.orders.assign(ref, "ann", "ops")
    assert (await node.job(ref)).eta_pickup_ms is None
    node.dispatcher.drivers.holds_unknown_job(MARKET, "ann")
    await node.moves("ann", 2_500)

    async def has_eta() -> Job | None:
        job = await node.job(ref)
        return job if job.eta_dropoff_ms else None

    job = await eventually(has_eta)
    assert job is not None
    assert job.eta_pickup_ms is not None
    assert job.promised_ms == job.eta_pickup_ms < (job.eta_dropoff_ms or 0)


async def test_eta_of_an_assigned_job_includes_the_current_run(make_node: MakeNode) -> None:
    node = await make_node(**OFTEN, preset="pooled", max_run_jobs=3)
    await node.online("ann", 3_000, vehicle=Vehicle(max_jobs=3))
    first = await node.submit()
    await node.accepts(await node.offered(first, "ann"))
    await node.wish("ann", Wish.PAUSED)  # so that no round offers it to her
    second = await node.submit(lat=33.34, lon=-111.80)
    await assigned(node, second)
    await node.moves("ann", 2_000)

    async def has_eta() -> bool:
        return (await node.job(second)).eta_dropoff_ms is not None

    await eventually(has_eta)
    jobs = [await node.job(ref) for ref in (first, second)]
    assert jobs[0].eta_pickup_ms == jobs[1].eta_pickup_ms
    assert (jobs[0].eta_dropoff_ms or 0) < (jobs[1].eta_dropoff_ms or 0)


async def assigned(node: Node, ref: JobRef) -> None:
    await node.dispatcher.orders.assign(ref, "ann", "ops")
    node.dispatcher.drivers.holds_unknown_job(MARKET, "ann")


async def test_small_position_changes_write_no_etas(make_node: MakeNode) -> None:
    node = await make_node()
    await node.online("ann", 3_000)
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "ann"))
    await node.moves("ann", 2_900)
    await eventually(lambda: len(node.dispatcher._tasks) == 0)
    node.calls.clear()
    for step in range(10):
        await node.moves("ann", 2_800 - step * 50)
    await eventually(lambda: len(node.dispatcher._tasks) == 0)
    assert "etas" not in node.calls


async def test_eta_counts_the_shops_that_are_left(make_node: MakeNode) -> None:
    node = await make_node(**OFTEN)
    await node.online("ann", 0)
    stores = ("kiosk", "lego")
    shops = [{"store": store, "parcels": 1} for store in stores]
    body = msgspec.json.encode({"pickup": {"stores": shops}})
    submission = replace(node.submission(MALL.id, JobState.QUEUED, stores=stores), body=body)
    await node.dispatcher.orders.submit(submission)
    ref = JobRef(submission.job, MALL.id)
    job = await node.accepts(await node.offered(ref, "ann"))
    left_ms = []
    for store, north_m in zip(stores, (1.0, 2.0), strict=True):
        was = await node.job(ref)
        report = StepReport(ref, "ann", job.attempt, Step.COLLECTED, store=store)
        await node.dispatcher.steps.progress(report)
        await node.moves("ann", north_m)
        now = await moved(node, ref, was)
        assert now.eta_dropoff_ms is not None
        left_ms.append(now.eta_dropoff_ms - node.store.now_ms())
    # Nothing more to collect: the visit to the second shop is no longer ahead.
    assert left_ms[0] - left_ms[1] > 60_000
