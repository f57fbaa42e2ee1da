"""`max_run_jobs` is raised while a market is open: one node has the new value, another the old.

A job accepted on a node without runs has no location and deadline in the driver's record.
"""

from typing import Any

import pytest

from mallard_engine.core.model import Job, Vehicle
from mallard_engine.core.policy import RunCosts
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, Node

CAR = Vehicle(max_jobs=8)
KM_DEG = 1_000 / 111_195


@pytest.fixture
async def old(make_node: MakeNode) -> Node:
    """A node without runs, with a driver who has room for several jobs."""
    node = await make_node("old", max_run_jobs=1)
    await node.online("d", 3_000, vehicle=CAR)
    return node


async def raised(make_node: MakeNode) -> Node:
    # No deadline and no minimum saving, so that neither prevents an offer.
    costs = RunCosts(plan="by_driver", back=1.0, potential=0, deadlines="soft", late=0, delay=0)
    return await make_node("new", preset="pooled", max_run_jobs=4, run=costs)


async def north(node: Node, km: float, **need: Any) -> JobRef:
    """A job to an address `km` north of the mall."""
    return await node.submit(lat=MALL.lat + km * KM_DEG, lon=MALL.lon, **need)


async def taken(node: Node, km: float) -> Job:
    """A job that the driver has accepted."""
    return await node.accepts(await node.offered(await north(node, km), "d"))


def ref_of(job: Job) -> JobRef:
    return JobRef(job.id, job.mall)


async def etas(node: Node, job: Job) -> tuple[int | None, int | None]:
    """The job's ETAs, once no task runs that could change them."""
    await node.quiet()
    now = await node.store.jobs.get(job.id)
    return now.eta_pickup_ms, now.eta_dropoff_ms


async def test_driver_of_an_old_job_gets_one_more_after_it(make_node: MakeNode, old: Node) -> None:
    first = await taken(old, 9)
    new = await raised(make_node)
    await new.online("d", 3_000, vehicle=CAR)
    second = await north(new, 7)
    await new.waits(second)
    assert not new.sink.asked(second)
    await new.does(ref_of(first), "d", first.attempt, Step.PICKED_UP, Step.DELIVERED)
    await new.accepts(await new.offered(second, "d"))
    assert (await new.offered(await north(new, 7.5), "d")).add_on


async def test_etas_of_a_job_accepted_before_pooling_stay(make_node: MakeNode, old: Node) -> None:
    offer = await old.offered(await north(old, 9), "d")
    first = await old.accepts(offer)
    new = await raised(make_node)
    # The first reply was lost with the old node's socket.
    await new.accepts(offer)
    before = await etas(new, first)
    await new.does(ref_of(first), "d", first.attempt, Step.PICKED_UP)
    assert before == (first.eta_pickup_ms, first.eta_dropoff_ms)
    # Only the pickup time changes, to the actual one.
    assert (await etas(new, first))[1] == before[1]


async def test_custody_on_a_node_without_runs_stops_add_ons(make_node: MakeNode, old: Node) -> None:
    """While the unknown job is held, no job is added and no ETA is updated without it."""
    lost = await taken(old, 5)
    await old.store.jobs.release(ref_of(lost), lost.attempt, Outcome.SILENT, "engine", "")
    new = await raised(make_node)
    second = await taken(new, 9)
    before = await etas(new, second)
    await old.does(ref_of(lost), "d", lost.attempt, Step.PICKED_UP)
    third = await north(new, 7)
    await new.waits(third)
    assert not new.sink.asked(third)
    await new.does(ref_of(second), "d", second.attempt, Step.PICKED_UP)
    assert (await etas(new, second))[1] == before[1]
    await new.does(ref_of(lost), "d", (await new.store.jobs.get(lost.id)).attempt, Step.DELIVERED)
    await new.does(ref_of(second), "d", second.attempt, Step.DELIVERED)
    assert not (await new.driver("d")).jobs
    assert len(new.dispatcher.drivers._plans.etas) == 0


async def test_arrival_at_a_node_without_runs_stops_adding_jobs(
    make_node: MakeNode, old: Node
) -> None:
    new = await raised(make_node)
    first = await taken(new, 9)
    await old.does(ref_of(first), "d", first.attempt, Step.AT_MALL)
    second = await north(new, 7)
    await new.waits(second)
    assert not new.sink.asked(second)
