"""An app learns its own state, why it gets no offers, and its complete jobs."""

import asyncio
from typing import Any

import pytest

from mallard_engine.ports import Push, PushKind
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, DriverApp, open_app
from tests.support import eventually

CODECS = pytest.mark.parametrize("subprotocol", [MSGPACK, JSON])


async def on_run(node: RunningNode, driver: DriverApp) -> dict[str, Any]:
    """Let the driver accept a new job; return the complete job."""
    await node.submit()
    offer = await driver.receive("offer")
    accepted = await driver.ask("accept", offer=offer["offer"])
    assert (accepted["state"], accepted["barred"]) == ("on_run", None)
    job: dict[str, Any] = accepted["jobs"][0]
    return job


@pytest.mark.finding("C7")
@CODECS
async def test_cancelled_job_leaves_its_driver_available(
    node: RunningNode, subprotocol: str
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        await driver.go_online(position=NEAR)
        job = await on_run(node, driver)
        await node.order(f"/v1/jobs/{job['job']}/cancel", reason="customer")
        push = await driver.receive("job")
        assert (push["reason"], push["driver_state"]) == ("cancelled", "available")


@pytest.mark.finding("C8", "D17")
@CODECS
async def test_suspended_driver_is_informed_on_reconnect(
    node: RunningNode, subprotocol: str
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        welcome = await driver.go_online(position=NEAR)
        assert welcome["barred"] is None
        await node.order("/v1/markets/phoenix/drivers/d1/suspend", reason="complaint")
        assert (await driver.receive("state"))["why"] == "suspended"
        paused = await driver.ask("status", state="paused")
        assert paused["barred"] == {"why": "suspended", "until_ms": None}
        await driver.ask("status", state="available")
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        welcome = await driver.hello(position=NEAR)
        assert welcome["state"] == "available"
        assert welcome["barred"] == {"why": "suspended", "until_ms": None}
        drivers = await node.http.get(
            "/v1/markets/phoenix/drivers", headers=node.bearer("ops", Role.OPERATOR)
        )
        (seen,) = drivers.json()["items"]
        assert (seen["state"], seen["barred"]["why"]) == ("available", "suspended")
        resumed = await node.order("/v1/markets/phoenix/drivers/d1/resume")
        assert resumed["barred"] is None


@pytest.mark.finding("C8")
async def test_decline_reports_the_end_of_the_cool_down(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        await node.submit()
        offer = await driver.receive("offer")
        declined = await driver.ask("decline", offer=offer["offer"])
        assert (declined["state"], declined["barred"]["why"]) == ("available", "cooling_down")
        until_ms = declined["barred"]["until_ms"]
        assert 0 < until_ms - offer["server_time_ms"] <= 60_000
    async with open_app(node.ws, node.token("d1")) as driver:
        welcome = await driver.hello(position=NEAR)
        assert welcome["barred"] == {"why": "cooling_down", "until_ms": until_ms}


@pytest.mark.finding("C8")
async def test_expired_offer_reports_the_end_of_the_cool_down(engine_node: NodeFactory) -> None:
    node = await engine_node(offer_timeout_ms=200)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        await node.submit()
        offer = await driver.receive("offer")
        await driver.send("offer_ack", offer=offer["offer"])
        state = await driver.receive("state")
        assert (state["state"], state["why"]) == ("available", "cooling_down")
        assert state["until_ms"] > offer["expires_ms"]


@pytest.mark.finding("C8")
async def test_driver_without_a_position_is_informed(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        assert (await driver.hello())["barred"]["why"] == "no_position"
        assert (await driver.ask("status", state="available"))["code"] == "no_position"


@pytest.mark.finding("C8")
async def test_block_over_is_the_reason_until_the_next_status(
    engine_node: NodeFactory,
) -> None:
    node = await engine_node()
    async with open_app(node.ws, node.token("d1")) as driver:
        welcome = await driver.go_online(position=NEAR)
        until_ms = node.node.store.now_ms() + 2_500
        assert welcome["server_time_ms"] < until_ms
        await driver.ask("status", state="available", until_ms=until_ms)
        assert (await driver.receive("state"))["why"] == "block_over"
    async with open_app(node.ws, node.token("d1")) as driver:
        assert (await driver.hello(position=NEAR))["barred"]["why"] == "block_over"
        assert (await driver.ask("status", state="available"))["barred"] is None


@pytest.mark.finding("C8")
async def test_reply_to_auth_says_why_the_driver_is_barred(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        await node.order("/v1/markets/phoenix/drivers/d1/suspend", reason="complaint")
        reply = await driver.ask("auth", token=node.token("d1", ttl_s=7200))
        assert (reply["state"], reply["barred"]["why"]) == ("available", "suspended")


@pytest.mark.finding("C9")
@CODECS
async def test_custody_claim_returns_the_complete_job(node: RunningNode, subprotocol: str) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        await driver.go_online(position=NEAR)
        job = await on_run(node, driver)
        await node.order(f"/v1/jobs/{job['job']}/unassign", reason="mistake")
        push = await driver.receive("job")
        assert (push["reason"], push["driver_state"]) == ("unassigned", "available")

        won = await driver.progress(job, "picked_up")
        assert (won["state"], won["job_state"]) == ("on_run", "picked_up")
        assert won["attempt"] > job["attempt"]
        detail = won["detail"]
        assert (detail["job"], detail["attempt"]) == (job["job"], won["attempt"])
        assert (detail["state"], detail["dropoff"]) == ("picked_up", job["dropoff"])
        again = await driver.progress(job, "picked_up")
        # When it arrives is known soon after.
        assert again["detail"] | {"eta": detail["eta"]} == detail
        assert "detail" not in await driver.progress(detail, "picked_up")
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        (kept,) = (await driver.hello(position=NEAR))["jobs"]
        assert (kept["job"], kept["attempt"]) == (job["job"], won["attempt"])
        assert kept["dropoff"] == job["dropoff"]


@pytest.mark.finding("C9")
async def test_job_assigned_by_an_operator_is_complete(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
        job = await node.submit()
        await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        push = await driver.receive("job")
        assert (push["reason"], push["driver_state"]) == ("assigned", "on_run")
        assert push["detail"]["dropoff"]["name"] == "Ada"
        await asyncio.sleep(0)
        assert await eventually(lambda: node.node.hub.sessions()[0].shown == "on_run")


@pytest.mark.finding("C8")
async def test_driver_far_from_every_mall_reports_less_often(
    node: RunningNode,
) -> None:
    far = {"lat": 33.75, "lon": -112.6}
    async with open_app(node.ws, node.token("d1")) as driver:
        welcome = await driver.hello(position=far)
        assert welcome["location_ms"] == 4_000
        fix = [welcome["server_time_ms"] + 1, far["lat"], far["lon"], 5.0, None, None]
        await driver.send("location", fixes=[fix])
        assert (await driver.receive("pace"))["location_ms"] == 20_000
        job = await node.submit()
        await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        assert (await driver.receive("pace"))["location_ms"] == 4_000


@pytest.mark.finding("C8")
async def test_repeated_welcome_resets_the_interval(node: RunningNode) -> None:
    far = {"lat": 33.75, "lon": -112.6}
    async with open_app(node.ws, node.token("d1")) as driver:
        welcome = await driver.hello(position=far)
        for n in (1, 2):
            fix = [welcome["server_time_ms"] + n, far["lat"], far["lon"], 5.0, None, None]
            await driver.send("location", fixes=[fix])
            assert (await driver.receive("pace"))["location_ms"] == 20_000
            if n == 1:
                (session,) = node.node.hub.sessions()
                session.push(Push("d1", welcome["seq"] + 9, PushKind.STATE))
                assert (await driver.receive("welcome"))["location_ms"] == 4_000
