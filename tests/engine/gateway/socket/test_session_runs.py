"""Runs over real sockets: several jobs in one offer, add-ons, and each job on its own.

The driver is too far from the mall for any round to find it, so each offer is the test's own.
"""

import uuid
from typing import Any

import pytest

from mallard_engine.core.model import RankedDriver, RoundRecord
from mallard_engine.ports import OfferPlan, PlannedJob
from tests.engine.gateway.conftest import MALL, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, DriverApp, open_app

FAR = {"lat": 33.66, "lon": -112.36}
VAN = {"kind": "van", "max_jobs": 3, "max_weight_g": 50_000, "max_volume_l": 300, "equipment": []}
Job = dict[str, Any]


@pytest.fixture
async def pooling(engine_node: NodeFactory) -> RunningNode:
    return await engine_node(max_run_jobs=3)


async def offer_run(node: RunningNode, driver: str, *jobs: Job) -> str:
    """Offer these jobs to this driver, as a round would."""
    gate = next(iter(node.node.places.mall(MALL).gates))
    ranked = (RankedDriver(driver, True, None, 1.0, (), 300, 2_000, gate),)
    planned = []
    for n, job in enumerate(jobs):
        attempt = (await node.node.store.jobs.get(job["id"])).attempt
        record = RoundRecord(job["id"], attempt + 1, 1, 1_000, False, ranked)
        etas = ((2_000_000_000_000, 2_000_000_000_000 + n * 1_000),)
        planned.append(PlannedJob(job["id"], attempt, record, etas if len(jobs) > 1 else ()))
    plan = OfferPlan(uuid.uuid4().hex, MALL, tuple(planned), ranked)
    return (await node.node.store.offers.make(plan)).verdict


async def offered_run(node: RunningNode, driver: DriverApp, count: int) -> tuple[list[Job], Job]:
    jobs = [await node.submit() for _ in range(count)]
    assert await offer_run(node, "d1", *jobs) == "offered"
    offer = await driver.receive("offer")
    await driver.send("offer_ack", offer=offer["offer"])
    return jobs, offer


@pytest.mark.parametrize("subprotocol", [MSGPACK, JSON])
async def test_run_is_accepted_and_delivered(pooling: RunningNode, subprotocol: str) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        jobs, offer = await offered_run(node, driver, 3)
        assert [short["job"] for short in offer["jobs"]] == [job["id"] for job in jobs]
        assert all(
            short["dropoff"].keys() == {"lat", "lon", "deadline_ms"} for short in offer["jobs"]
        )
        accepted = await driver.ask("accept", offer=offer["offer"])
        run = accepted["jobs"]
        assert accepted["state"] == "on_run"
        assert [full["job"] for full in run] == [job["id"] for job in jobs]
        assert [full["dropoff"]["name"] for full in run] == ["Ada"] * 3
        assert (await driver.ask("accept", offer=offer["offer"]))["jobs"] == run
        for step in ("at_mall", "picked_up"):
            for full in run:
                assert (await driver.progress(full, step))["job_state"] == step
        states = [(await driver.progress(full, "delivered"))["state"] for full in run]
        assert states == ["on_run", "on_run", "available"]
        for job in jobs:
            assert (await node.job(job["id"]))["state"] == "delivered"


async def test_welcome_has_the_run_in_drop_off_order(pooling: RunningNode) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        jobs, offer = await offered_run(node, driver, 3)
        await driver.ask("accept", offer=offer["offer"])
    async with open_app(node.ws, node.token("d1")) as driver:
        # It lost its socket at the counter: two unreported parcels are on board.
        holds = [{"job": job["id"], "attempt": 1, "state": "picked_up"} for job in jobs[:2]]
        welcome = await driver.hello(position=FAR, vehicle=VAN, holds=holds)
        assert [full["job"] for full in welcome["jobs"]] == [job["id"] for job in jobs]
        assert [full["state"] for full in welcome["jobs"]] == ["picked_up", "picked_up", "assigned"]
        assert welcome["state"] == "on_run"


async def test_welcome_has_an_offered_run(pooling: RunningNode) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        _, offer = await offered_run(node, driver, 2)
    async with open_app(node.ws, node.token("d1")) as driver:
        welcome = await driver.hello(position=FAR, vehicle=VAN)
        assert welcome["offer"]["jobs"] == offer["jobs"]


async def test_one_job_of_an_offered_run_is_cancelled(pooling: RunningNode) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        jobs, offer = await offered_run(node, driver, 3)
        await node.order(f"/v1/jobs/{jobs[1]['id']}/cancel", reason="changed my mind")
        closed = await driver.receive("offer_closed")
        assert (closed["offer"], closed["why"]) == (offer["offer"], "cancelled")
        states = [(await node.job(job["id"]))["state"] for job in jobs]
        assert states == ["queued", "cancelled", "queued"]
        assert (await driver.ask("accept", offer=offer["offer"]))["code"] == "offer_closed"


async def test_job_of_a_held_run_is_cancelled_alone(pooling: RunningNode) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        jobs, offer = await offered_run(node, driver, 3)
        run = (await driver.ask("accept", offer=offer["offer"]))["jobs"]
        await node.order(f"/v1/jobs/{jobs[0]['id']}/cancel", reason="changed my mind")
        received = await driver.receive("job")
        assert (received["job"], received["state"], received["reason"]) == (
            jobs[0]["id"],
            "cancelled",
            "cancelled",
        )
        given_up = await driver.progress(run[1], "give_up")
        assert (given_up["state"], given_up["job_state"]) == ("on_run", "queued")
        assert (await driver.progress(run[2], "picked_up"))["job_state"] == "picked_up"
        assert (await driver.ask("status", state="offline"))["code"] == "holds_jobs"


@pytest.mark.parametrize("answer", ["accept", "decline"])
async def test_add_on_job_is_offered_on_the_way(pooling: RunningNode, answer: str) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        jobs, offer = await offered_run(node, driver, 1)
        await driver.ask("accept", offer=offer["offer"])
        more = await node.submit()
        await offer_run(node, "d1", more)  # unless a round was faster
        add_on = await driver.receive("offer")
        assert [short["job"] for short in add_on["jobs"]] == [more["id"]]
        await driver.send("offer_ack", offer=add_on["offer"])
        reply = await driver.ask(answer, offer=add_on["offer"])
        assert reply["state"] == "on_run"
        record = (await node.node.store.drivers.snapshot("phoenix", "d1")).driver
        held = [job["id"] for job in (jobs if answer == "decline" else [*jobs, more])]
        assert sorted(held_job.job for held_job in record.jobs) == sorted(held)
        # Declining it has no cool-down.
        assert (record.cool_until_ms, record.declines) == (0, 0)


async def test_driver_who_gives_up_a_run_may_accept_its_offer(pooling: RunningNode) -> None:
    node = pooling
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=FAR, vehicle=VAN)
        _, offer = await offered_run(node, driver, 1)
        (full,) = (await driver.ask("accept", offer=offer["offer"]))["jobs"]
        more = await node.submit()
        await offer_run(node, "d1", more)  # unless a round was faster
        add_on = await driver.receive("offer")
        await driver.send("offer_ack", offer=add_on["offer"])
        given_up = await driver.progress(full, "give_up")
        assert given_up["state"] == "offered"
        accepted = await driver.ask("accept", offer=add_on["offer"])
        assert [job["job"] for job in accepted["jobs"]] == [more["id"]]
