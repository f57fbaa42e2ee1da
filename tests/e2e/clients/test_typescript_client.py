"""The TypeScript clients, in Node, against a real node."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.fault_proxy import FaultProxy
from tests.clients.typescript.agents import Agent, NodeLink, needs_node
from tests.clients.typescript.node_app import NodeApp
from tests.e2e.app import PNG
from tests.e2e.conftest import Node, make_token, start_node
from tests.e2e.places import Place, read_place
from tests.e2e.typescript_apps import (
    OneToken,
    available,
    call,
    clients_setup,
    deliver,
    leave,
    report,
    shows,
)
from tests.support import GUARD_S, eventually

pytestmark = needs_node

Hire = Callable[..., Any]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose offers live longer than a busy machine takes to answer them over HTTP."""
    settings = {"MALLARD_OFFER_TIMEOUT_MS": "30000", "MALLARD_OFFER_ACK_TIMEOUT_MS": "15000"}
    settings |= {"MALLARD_WEBHOOK_ALLOW": "127.0.0.1/32"}
    node = start_node(tmp_path_factory.mktemp("node"), None, **settings)
    yield node
    node.stop()


@pytest.fixture(scope="module")
def place(node: Node) -> Place:
    return read_place(node.url, make_token("places", "operator"), "phoenix")


@pytest.fixture
async def hire(node: Node) -> AsyncIterator[Hire]:
    """Start apps of new drivers; they leave with the test."""
    async with AsyncExitStack() as stack:

        async def hire(
            subprotocol: str = "mallard.v1.msgpack", url: str = node.socket_url, **options: Any
        ) -> NodeApp:
            app = NodeApp(url, OneToken(), {"location_every_ms": 50, **options}, subprotocol)
            await app.start()
            stack.push_async_callback(leave, app)
            return app

        yield hire


@pytest.fixture
async def callers(node: Node, place: Place) -> AsyncIterator[Agent]:
    """The clients of an order service, an operator and the shop of `place`."""
    agent = Agent(lambda: "")
    agent.linked(await NodeLink.start(agent), clients_setup(node, place))
    yield agent
    await agent.end()


@pytest.mark.parametrize("subprotocol", ["mallard.v1.msgpack", "mallard.v1.json"])
async def test_order_is_delivered(
    hire: Hire, callers: Agent, place: Place, subprotocol: str
) -> None:
    app = await hire(subprotocol)
    await available(app, place)
    job = await call(callers, "orders", "submit", place.order())
    events = callers.ask("collect", of="orders", name="jobEvents", given=[job["id"]])
    await deliver(app, place, callers, job["id"])
    ended = await call(callers, "orders", "wait", job["id"], {"forEnd": True})
    assert ended["state"] == "delivered"
    types = [event["type"] for event in await asyncio.wait_for(events, GUARD_S)]
    assert types[0] == "job.created"
    assert types[-1] == "job.delivered"
    assert {"job.assigned", "job.collected", "job.picked_up"} <= set(types)
    assert await app.shown(["jobs", "unreported"]) == {"jobs": {}, "unreported": 0}


async def test_order_is_delivered_over_http_while_socket_is_suspended(
    hire: Hire, callers: Agent, place: Place
) -> None:
    app = await hire()
    await available(app, place)
    job = await call(callers, "orders", "submit", place.order())
    offer = await asyncio.wait_for(app.next_offer(), GUARD_S)
    app.agent.tell("suspend")
    await eventually(lambda: shows(app, "over", "http"))
    assert [held["job"] for held in await asyncio.wait_for(app.accept(offer), GUARD_S)] == [
        job["id"]
    ]
    app.location(*place.gate)
    for step in ("at_mall", "picked_up", "at_door"):
        await report(app, job["id"], step)
    with pytest.raises(Exception, match="never_heard_of"):
        await report(app, "never_heard_of", "at_mall")
    app.agent.tell("resume")
    await eventually(lambda: shows(app, "over", "socket"))
    assert await app.shown(["jobs"]) == {"jobs": {job["id"]: "picked_up"}}
    reply = await report(app, job["id"], "delivered")
    assert reply["job_state"] == "delivered"


async def test_http_stands_in_where_no_socket_can_be_had(
    hire: Hire, node: Node, place: Place
) -> None:
    async with FaultProxy.to(node.port) as network:
        app = await hire(url=network.url, http_after_s=0.2)
        await eventually(lambda: shows(app, "connected", True))
        # From now on a firewall lets no upgrade through.
        network.refuse_upgrades = True
        network.reset()
        await eventually(lambda: shows(app, "over", "http"))
        await available(app, place)
        # The wish is kept; a driver without a socket is offered nothing.
        assert await app.shown(["state"]) == {"state": "offline"}
        network.refuse_upgrades = False
        app.hint()
        await eventually(lambda: shows(app, "over", "socket"))
        await eventually(lambda: shows(app, "state", "available"))


async def test_half_open_socket_is_replaced(hire: Hire, node: Node, place: Place) -> None:
    async with FaultProxy.to(node.port) as network:
        app = await hire(url=network.url)
        await available(app, place)
        network.set("freeze")
        reply = await asyncio.wait_for(app.status("paused"), GUARD_S)
        assert reply["state"] == "paused"
        assert network.accepted == 2


async def test_refusals_have_their_code(hire: Hire, place: Place) -> None:
    app = await hire()
    with pytest.raises(Exception, match="no_position") as caught:
        await asyncio.wait_for(app.status("available"), GUARD_S)
    assert type(caught.value).__name__ == "RequestRefused"
    proof = await asyncio.wait_for(app.agent.ask("upload", image=list(PNG)), GUARD_S)
    assert proof


async def test_operator_and_order_service_call_the_engine(
    hire: Hire, callers: Agent, place: Place
) -> None:
    app = await hire()
    await available(app, place)
    order = place.order()
    quote = await call(callers, "orders", "quote", order)
    assert quote["would_match"]
    first = await call(callers, "orders", "submit", order, {"key": "k1"})
    again = await call(callers, "orders", "submit", order, {"key": "k1"})
    assert again["id"] == first["id"]
    with pytest.raises(Exception, match="422 idempotency_mismatch"):
        await call(callers, "orders", "submit", place.order(), {"key": "k1"})
    listed = callers.ask(
        "collect", of="orders", name="jobs", given=[{"state": ["queued", "offered"]}]
    )
    assert [job["id"] for job in await asyncio.wait_for(listed, GUARD_S)] == [first["id"]]
    drivers = await call(callers, "operator", "drivers", "phoenix")
    assert any(driver["state"] in {"available", "offered"} for driver in drivers)
    pickups = callers.ask("collect", of="store", name="pickups", given=[])
    assert first["id"] in [pickup["id"] for pickup in await asyncio.wait_for(pickups, GUARD_S)]
    cancelled = await call(callers, "orders", "cancel", first["id"], "customer")
    assert cancelled["cancel_reason"] == "customer"
    policy = await call(callers, "operator", "policy", "phoenix")
    assert policy["effective"]


async def test_wait_continues_after_its_node_is_lost(
    place: Place, tmp_path: Path, nodes_redis: str
) -> None:
    staying, going = (start_node(tmp_path, nodes_redis) for _ in range(2))
    agent = Agent(lambda: "")
    try:
        async with FaultProxy.to(going.port) as network:
            # Servers are asked in turn: the second call, the wait, is at the node that goes.
            urls = [staying.url, network.url.replace("ws:", "http:")]
            token = make_token(f"shop-{uuid.uuid4().hex[:12]}", "orders")
            setup = {"clients": {"orders": [urls, token]}}
            agent.linked(await NodeLink.start(agent), setup)
            job = await call(agent, "orders", "submit", place.order())
            asked = network.to_engine
            options = {"forEnd": True, "timeoutS": 60}
            waiting = agent.ask("call", of="orders", name="wait", given=[job["id"], options])
            await eventually(lambda: network.to_engine > asked)
            going.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(going.process.wait)
            assert not waiting.done()
            await call(agent, "orders", "cancel", job["id"], "customer")
            assert (await asyncio.wait_for(waiting, 60))["state"] == "cancelled"
    finally:
        await agent.end()
        for each in (staying, going):
            each.stop()


async def test_webhooks_are_managed(callers: Agent) -> None:
    async def orders(name: str, *given: Any) -> Any:
        return await call(callers, "orders", name, *given)

    async with FaultProxy.to(9) as shop:
        shop.mode, shop.canned = "answer", b"HTTP/1.1 204 No Content\r\n\r\n"
        url = shop.url.replace("ws:", "http:") + "/hook"
        made = await orders("createWebhook", url, {"types": ["job.delivered"]})
        assert made["secret"].startswith("whsec_")
        endpoint = made["id"]
        assert (await orders("webhook", endpoint))["types"] == ["job.delivered"]
        page = await orders("webhooksPage", {"limit": 1})
        assert [it["id"] for it in page["items"]] == [endpoint]
        changed = await orders("changeWebhook", endpoint, {"description": "of the shop"})
        assert (changed["description"], changed["types"]) == ("of the shop", ["job.delivered"])
        assert (await orders("testWebhook", endpoint))["outcome"] == "delivered"
        assert (await orders("rotateWebhook", endpoint))["secret"] != made["secret"]
        since = "2026-01-01T00:00:00Z"
        assert (await orders("replayWebhook", endpoint, since))["id"] == endpoint
        # A test is no delivery of an event.
        deliveries = await orders("webhookDeliveries", endpoint, {"limit": 5})
        assert deliveries == {"items": [], "next_cursor": None}
        await orders("deleteWebhook", endpoint)
        with pytest.raises(Exception, match="not_found"):
            await orders("webhook", endpoint)
