"""Offers over real sockets, as seen by an app written from the contract."""

import time

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, open_app
from tests.support import Standstill, eventually


@pytest.mark.parametrize("subprotocol", [MSGPACK, JSON])
async def test_app_accepts_an_offer_and_delivers(node: RunningNode, subprotocol: str) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        welcome = await driver.go_online(position=NEAR, app={"name": "test", "version": "1"})
        assert (welcome["driver"], welcome["market"]) == ("d1", "phoenix")
        assert (welcome["ping_ms"], welcome["location_ms"]) == (25_000, 4_000)
        assert (welcome["state"], welcome["offer"], welcome["jobs"]) == ("offline", None, [])
        job = await node.submit(pay={"amount_minor": 1150, "currency": "USD"})

        offer = await driver.receive("offer")
        (short,) = offer["jobs"]
        assert (short["job"], offer["mall"]["id"], offer["attempt"]) == (job["id"], MALL, 1)
        assert offer["expires_ms"] > offer["server_time_ms"]
        assert offer["pay"] == short["pay"] == {"amount_minor": 1150, "currency": "USD"}
        assert short["dropoff"].keys() == {"lat", "lon", "deadline_ms"}
        assert short["dropoff"]["lat"] == 33.32
        assert "external_id" not in short
        await driver.send("offer_ack", offer=offer["offer"])

        accepted = await driver.ask("accept", offer=offer["offer"])
        (full,) = accepted["jobs"]
        assert accepted["state"] == "on_run"
        assert (full["dropoff"]["lat"], full["dropoff"]["name"]) == (HOME["lat"], "Ada")
        assert full["external_id"] == job["external_id"]
        for step in ("at_mall", "picked_up", "delivered"):
            reply = await driver.progress(full, step)
            assert (reply["type"], reply["job_state"]) == ("reply", step)
        assert reply["state"] == "available"
        assert (await node.job(job["id"]))["state"] == "delivered"


async def test_repeated_accept_gets_the_first_answer(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        await node.submit()
        offer = (await driver.receive("offer"))["offer"]
        first = await driver.ask("accept", offer=offer)
        again = await driver.ask("accept", offer=offer)
        assert first["jobs"] == again["jobs"]


async def test_declined_job_is_offered_to_the_next_driver_at_once(
    node: RunningNode, standstill: Standstill
) -> None:
    async with (
        open_app(node.ws, node.token("near")) as near,
        open_app(node.ws, node.token("far")) as far,
    ):
        await near.go_online(position=NEAR)
        await far.go_online(position={"lat": 33.36, "lon": -111.90})
        job = await node.submit()
        offer = await near.receive("offer")
        declined = await near.ask("decline", offer=offer["offer"], reason="too far")
        assert (declined["type"], declined["state"]) == ("reply", "available")
        declined_s = time.monotonic()
        onward = await far.receive("offer")
        assert time.monotonic() - declined_s < 1 + standstill.ms / 1000
        assert onward["jobs"][0]["job"] == job["id"]
        assert onward["attempt"] > offer["attempt"]
        assert (await near.ask("accept", offer=offer["offer"]))["code"] == "offer_closed"


async def test_unanswered_offer_expires_and_is_offered_again(engine_node: NodeFactory) -> None:
    node = await engine_node(offer_timeout_ms=300)
    async with (
        open_app(node.ws, node.token("near")) as near,
        open_app(node.ws, node.token("far")) as far,
    ):
        await near.go_online(position=NEAR)
        await far.go_online(position={"lat": 33.36, "lon": -111.90})
        await node.submit()
        offer = await near.receive("offer")
        await near.send("offer_ack", offer=offer["offer"])
        closed = await near.receive("offer_closed")
        assert (closed["offer"], closed["why"]) == (offer["offer"], "expired")
        assert closed["seq"] == offer["seq"] + 1
        await far.receive("offer")


async def test_unacknowledged_offer_is_withdrawn_until_the_next_frame(
    engine_node: NodeFactory,
) -> None:
    node = await engine_node(offer_ack_timeout_ms=150, unreachable_s=0.2, retry_s=0.3)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        closed = await driver.receive("offer_closed")
        assert (closed["offer"], closed["why"]) == (offer["offer"], "withdrawn")
        assert (await driver.receive("state"))["why"] == "unreachable"
        await node.job_in(job["id"], "queued")

        await driver.send("pong")
        again = await driver.receive("offer")
        assert again["offer"] != offer["offer"]


async def test_reconnect_restores_offer_and_job(node: RunningNode) -> None:
    token = node.token("d1")
    async with open_app(node.ws, token) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        await driver.send("offer_ack", offer=offer["offer"])
        driver.socket.transport.abort()
    async with open_app(node.ws, token) as driver:
        welcome = await driver.hello(position=NEAR)
        assert welcome["state"] == "offered"
        assert welcome["offer"]["offer"] == offer["offer"]
        assert welcome["seq"] >= offer["seq"]
        await driver.ask("accept", offer=offer["offer"])
    async with open_app(node.ws, token) as driver:
        welcome = await driver.hello(holds=[{"job": job["id"], "attempt": 1, "state": "assigned"}])
        assert (welcome["state"], welcome["offer"]) == ("on_run", None)
        assert welcome["jobs"][0]["job"] == job["id"]


async def test_parcel_on_board_is_claimed_with_hello(node: RunningNode) -> None:
    token = node.token("d1")
    async with open_app(node.ws, token) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
    await node.order(f"/v1/jobs/{job['id']}/unassign", reason="silent for long")
    async with (
        open_app(node.ws, token) as driver,
        open_app(node.ws, node.token("d2")) as other,
    ):
        await other.go_online(position=NEAR)
        taken = await other.receive("offer")
        await other.ask("accept", offer=taken["offer"])
        held = {"job": job["id"], "attempt": 1, "state": "picked_up"}
        nonsense = {"job": "job_phoenix.none", "attempt": 1, "state": "picked_up"}
        welcome = await driver.hello(position=NEAR, holds=[nonsense, held])
        (full,) = welcome["jobs"]
        assert (full["job"], full["state"]) == (job["id"], "picked_up")
        assert full["attempt"] > taken["attempt"]
        collected = await other.receive("job")
        assert (collected["job"], collected["reason"]) == (job["id"], "collected")
        assert (await driver.progress(full, "delivered"))["job_state"] == "delivered"


async def test_job_of_an_operator_has_its_detail(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
        job = await node.submit()
        await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        pushed = await driver.receive("job")
        assert (pushed["job"], pushed["state"], pushed["reason"]) == (
            job["id"],
            "assigned",
            "assigned",
        )
        assert pushed["detail"]["dropoff"]["name"] == "Ada"
        assert (await driver.progress(pushed, "give_up", reason="flat tyre"))["type"] == "reply"
        await node.job_in(job["id"], "queued")


async def test_status_is_refused_without_its_preconditions(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        assert (await driver.ask("status", state="available"))["code"] == "no_position"
        now_ms = node.node.store.now_ms()
        await driver.send("location", fixes=[[now_ms, NEAR["lat"], NEAR["lon"], 5, None, None]])
        # The status is handled after the earlier fix, although fixes are batched.
        assert (await driver.ask("status", state="available"))["state"] == "available"
        assert (await driver.ask("status", state="paused"))["state"] == "paused"
        assert (await driver.ask("status", state="available", until_ms=1))["code"] == "bad_field"
        await driver.ask("status", state="available")
        await node.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        refused = await driver.ask("status", state="offline")
        assert (refused["code"], refused["retry"]) == ("holds_jobs", False)


async def test_going_offline_declines_a_live_offer(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        assert (await driver.ask("status", state="offline"))["state"] == "offline"
        assert (await driver.ask("accept", offer=offer["offer"]))["code"] == "offer_closed"
        await node.job_in(job["id"], "queued")


async def test_offers_and_jobs_of_others_are_not_yours(node: RunningNode) -> None:
    async with (
        open_app(node.ws, node.token("d1")) as owner,
        open_app(node.ws, node.token("thief")) as thief,
        open_app(node.ws, node.token("vegas", market="las-vegas")) as elsewhere,
    ):
        await owner.go_online(position=NEAR)
        await thief.hello()
        await elsewhere.hello()
        job = await node.submit()
        offer = (await owner.receive("offer"))["offer"]
        for other in (thief, elsewhere):
            refused = await other.ask("accept", offer=offer)
            assert (refused["type"], refused["code"]) == ("error", "not_yours")
            for named in (job["id"], "job_phoenix.none", "nonsense"):
                step = {"job": named, "attempt": 1}
                assert (await other.progress(step, "picked_up"))["code"] == "not_yours"
        assert (await owner.ask("accept", offer=offer))["type"] == "reply"


async def test_fixes_are_counted_by_verdict(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
        now_ms = node.node.store.now_ms()
        lat, lon = NEAR["lat"], NEAR["lon"]
        # Newer than the fix of `hello`, also on a busy machine.
        await driver.send(
            "location",
            fixes=[
                [now_ms + 500, lat, lon, 5, 90, 10],
                [now_ms + 60_000, lat, lon, 5, None, None],
                [now_ms + 520, 0.0, 0.0, 5, None, None],
                [now_ms + 530, 91, lon, 5, None, None],
            ],
        )

        async def counted() -> dict[str, float]:
            return {
                result: await node.metric(f'mallard_location_fixes_total{{result="{result}"}}')
                for result in ("ok", "future", "outside", "malformed")
            }

        async def all_counted() -> bool:
            return all((await counted()).values())

        await eventually(all_counted)
        assert set((await counted()).values()) == {1.0}


async def test_job_of_a_silent_holder_goes_to_an_earlier_driver(engine_node: NodeFactory) -> None:
    node = await engine_node(break_after_s=0.3, offer_timeout_ms=5_000)
    async with open_app(node.ws, node.token("near")) as near:
        async with open_app(node.ws, node.token("far")) as far:
            await far.go_online(position={"lat": 33.42, "lon": -111.90})
            job = await node.submit()
            offer = await far.receive("offer")
            (held,) = (await far.ask("accept", offer=offer["offer"]))["jobs"]
            await near.go_online(position=NEAR)
        # Its socket is lost, and another driver is nearer before its resume time ends.
        better = await near.receive("offer")
        assert better["jobs"][0]["job"] == job["id"]
        assert better["attempt"] == held["attempt"] + 2
        async with open_app(node.ws, node.token("far")) as back:
            assert (await back.hello())["jobs"] == []
            late = await back.progress(held, "at_mall")
            assert (late["type"], late["code"]) == ("error", "stale_attempt")
        accepted = await near.ask("accept", offer=better["offer"])
        assert [each["job"] for each in accepted["jobs"]] == [job["id"]]
        shop = node.bearer("shop", Role.ORDERS)
        asked = (await node.http.get(f"/v1/jobs/{job['id']}/explain", headers=shop)).json()
        assert [turn["outcome"] for turn in asked["asked"]] == ["accepted", "silent", "accepted"]
