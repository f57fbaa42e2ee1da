"""Orders of all service levels in one mall: `express` alone and at once, `pooled` at once and
together, `same_day` held for company."""

from typing import Any

import pytest

from mallard_engine.core.policy import RunCosts
from mallard_engine.ports import JobRef
from mallard_protocol.codes import ServiceLevel, WhyNot
from mallard_protocol.lifecycle import Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.rounds.runs.test_run_rounds import CAR, north
from tests.engine.dispatch.worlds import HOUR_MS, MARKET, Node
from tests.support import eventually

EXPRESS, POOLED, SAME_DAY = ServiceLevel


@pytest.fixture(params=["instant", "batch"])
def round_(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["by_driver", "by_deadline"])
def plan(request: pytest.FixtureRequest) -> Any:
    return request.param


async def mall_of_all(make_node: MakeNode, round_: str, plan: Any, **changes: Any) -> Node:
    policy: dict[str, Any] = {
        "round": round_,
        "preset": "pooled",
        "window_ms": 50,
        "max_run_jobs": 4,
        "hold_max_s": 36_000.0,
        "hold_margin_s": 300.0,
        "run": RunCosts(plan=plan),
    }
    return await make_node("a", **policy | changes)


async def is_held(node: Node, ref: JobRef) -> bool:
    record = await node.store.offers.last_round(ref.job)
    return record is not None and record.held_until_ms > node.store.now_ms()


async def order(node: Node, km: float, level: ServiceLevel | None) -> JobRef:
    later_ms = node.store.now_ms() + 8 * HOUR_MS
    return await north(node, km, service_level=level, deadline_ms=later_ms, expires_ms=later_ms)


async def test_jobs_of_each_level_are_served_in_one_mall(
    make_node: MakeNode, round_: str, plan: Any
) -> None:
    node = await mall_of_all(make_node, round_, plan)
    await node.online("d", 3_000, vehicle=CAR)
    patient = await order(node, 8, SAME_DAY)
    await eventually(lambda: is_held(node, patient))
    assert not node.sink.offers

    express = await order(node, 9, EXPRESS)
    offer = await node.offered(express, "d")
    assert [job.job for job in offer.jobs] == [express.job]
    job = await node.accepts(offer)
    pooled = await order(node, 9, POOLED)
    await node.waits(pooled)
    assert len(node.sink.offers) == 1, "the driver of an express job was offered another"

    await node.does(express, "d", job.attempt, Step.PICKED_UP, Step.DELIVERED)
    # The held job is on the way of the pooled one: it leaves with it.
    offer = await node.offered(patient, "d")
    assert [job.job for job in offer.jobs] == [patient.job, pooled.job]


async def test_pooled_job_joins_a_run_on_its_way(
    make_node: MakeNode, round_: str, plan: Any
) -> None:
    node = await mall_of_all(make_node, round_, plan, preset="same_day")
    await node.online("d", 3_000, vehicle=CAR)
    first = await order(node, 9, POOLED)
    await node.accepts(await node.offered(first, "d"))
    second = await order(node, 8, POOLED)
    assert (await node.offered(second, "d")).add_on


async def test_explain_shows_why_a_run_cannot_take_an_express_job(make_node: MakeNode) -> None:
    node = await mall_of_all(make_node, "instant", "by_driver")
    await node.online("d", 3_000, vehicle=CAR)
    first = await order(node, 9, POOLED)
    await node.accepts(await node.offered(first, "d"))
    record = await node.waits(await order(node, 8, EXPRESS))
    assert record is not None
    (driver,) = record.candidates
    assert (driver.driver, driver.eligible) == ("d", False)
    assert driver.why_not == WhyNot.EXPRESS_ALONE


async def test_express_jobs_go_to_one_driver_each(
    make_node: MakeNode, round_: str, plan: Any
) -> None:
    node = await mall_of_all(make_node, round_, plan)
    refs = [await order(node, 9, EXPRESS) for _ in range(2)]
    refs.append(await order(node, 9, POOLED))
    for ref in refs:
        await node.waits(ref)
    for driver in ("d1", "d2", "d3"):
        await node.online(driver, 3_000, vehicle=CAR)
    await eventually(lambda: len(node.sink.offers) == 3)
    assert {offer.driver for offer in node.sink.offers} == {"d1", "d2", "d3"}
    assert all(len(offer.jobs) == 1 for offer in node.sink.offers)


@pytest.mark.parametrize(("preset", "held"), [("same_day", True), ("pooled", False)])
async def test_job_without_a_level_has_that_of_the_preset(
    make_node: MakeNode, round_: str, preset: str, held: bool
) -> None:
    node = await mall_of_all(make_node, round_, "by_deadline", preset=preset)
    await node.online("d", 3_000, vehicle=CAR)
    ref = await order(node, 8, None)
    if held:
        await eventually(lambda: is_held(node, ref))
    else:
        await node.offered(ref, "d")
    assert (await node.store.drivers.snapshot(MARKET, "d")).driver.jobs == ()
