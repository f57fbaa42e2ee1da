"""The TypeScript clients, in Node, against a real node."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.clients.apps import TokenProvider
from tests.clients.fault_proxy import FaultProxy
from tests.clients.typescript.agents import Agent, NodeLink, needs_node
from tests.clients.typescript.node_app import NodeApp
from tests.e2e.app import PNG
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.support import eventually

pytestmark = needs_node

Hire = Callable[..., Any]


class OneToken(TokenProvider):
    """A real token, the same each time."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._real = token

    def __call__(self) -> str:
        self.given += 1
        return self._real


@pytest.fixture
async def hire(node: Node) -> AsyncIterator[Hire]:
    """Start apps of new drivers; they leave with the test."""
    async with AsyncExitStack() as stack:

        async def hire(
            subprotocol: str = "mallard.v1.msgpack", url: str = node.socket_url, **options: Any
        ) -> NodeApp:
            name = f"node-{uuid.uuid4().hex[:12]}"
            token = OneToken(make_token(name, "driver", market="phoenix"))
            app = NodeApp(url, token, {"location_every_ms": 50, **options}, subprotocol)
            await app.start()
            stack.push_async_callback(_leave, app)
            return app

        yield hire


async def _leave(app: NodeApp) -> None:
    await asyncio.gather(app.status("offline"), return_exceptions=True)
    await app.stop()


@pytest.fixture
async def callers(node: Node, place: Place) -> AsyncIterator[Agent]:
    """The clients of an order service, an operator and the shop of `place`."""
    name = f"shop-{uuid.uuid4().hex[:12]}"
    shop = {"mall": place.mall, "store": place.stores[0]}
    agent = Agent(lambda: "")
    clients = {
        "orders": [node.url, make_token(name, "orders")],
        "operator": [node.url, make_token("boss", "operator")],
        "store": [node.url, make_token("counter", "store", **shop), *shop.values()],
    }
    agent.linked(await NodeLink.start(agent), {"clients": clients})
    yield agent
    await agent.end()


async def _call(agent: Agent, of: str, name: str, *given: Any) -> Any:
    return await asyncio.wait_for(agent.ask("call", of=of, name=name, given=given), 30)


async def _available(app: NodeApp, place: Place) -> None:
    app.location(*place.north(50))
    await asyncio.wait_for(app.status("available"), 15)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _deliver(app: NodeApp, place: Place, callers: Agent, job: str) -> None:
    """Take the next offer and carry it to its customer."""
    offer = await asyncio.wait_for(app.next_offer(), 15)
    jobs = await asyncio.wait_for(app.accept(offer), 15)
    assert [held["job"] for held in jobs] == [job]
    detail = await app.agent.ask("job", job=job)
    app.location(*place.gate)
    await asyncio.wait_for(app.progress(job, "at_mall", _now_ms()), 15)
    handed = await _call(callers, "store", "handOver", job, detail["handover_code"])
    assert handed["id"] == job
    app.location(*place.north(2_000))
    await asyncio.wait_for(app.progress(job, "at_door", _now_ms()), 15)
    reply = await asyncio.wait_for(app.progress(job, "delivered", _now_ms()), 15)
    assert reply["job_state"] == "delivered"


@pytest.mark.parametrize("subprotocol", ["mallard.v1.msgpack", "mallard.v1.json"])
async def test_order_is_delivered(
    hire: Hire, callers: Agent, place: Place, subprotocol: str
) -> None:
    app = await hire(subprotocol)
    await _available(app, place)
    job = await _call(callers, "orders", "submit", place.order())
    events = callers.ask("collect", of="orders", name="jobEvents", given=[job["id"]])
    await _deliver(app, place, callers, job["id"])
    ended = await _call(callers, "orders", "wait", job["id"], {"forEnd": True})
    assert ended["state"] == "delivered"
    types = [event["type"] for event in await asyncio.wait_for(events, 20)]
    assert types[0] == "job.created"
    assert types[-1] == "job.delivered"
    assert {"job.assigned", "job.collected", "job.picked_up"} <= set(types)
    assert await app.shown(["jobs", "unreported"]) == {"jobs": {}, "unreported": 0}


async def test_order_is_delivered_over_http_while_the_socket_is_suspended(
    hire: Hire, callers: Agent, place: Place
) -> None:
    app = await hire()
    await _available(app, place)
    job = await _call(callers, "orders", "submit", place.order())
    offer = await asyncio.wait_for(app.next_offer(), 15)
    app.agent.tell("suspend")
    await eventually(lambda: _shows(app, "over", "http"), 15)
    assert [held["job"] for held in await asyncio.wait_for(app.accept(offer), 15)] == [job["id"]]
    app.location(*place.gate)
    for step in ("at_mall", "picked_up", "at_door"):
        await asyncio.wait_for(app.progress(job["id"], step, _now_ms()), 15)
    with pytest.raises(Exception, match="never_heard_of"):
        await asyncio.wait_for(app.progress("never_heard_of", "at_mall", _now_ms()), 15)
    app.agent.tell("resume")
    await eventually(lambda: _shows(app, "over", "socket"), 15)
    assert await app.shown(["jobs"]) == {"jobs": {job["id"]: "picked_up"}}
    reply = await asyncio.wait_for(app.progress(job["id"], "delivered", _now_ms()), 15)
    assert reply["job_state"] == "delivered"


async def test_http_stands_in_where_no_socket_can_be_had(
    hire: Hire, node: Node, place: Place
) -> None:
    async with FaultProxy.to(node.port) as network:
        app = await hire(url=network.url, http_after_s=0.2)
        await eventually(lambda: _shows(app, "connected", True), 15)
        # From now on a firewall lets no upgrade through.
        network.refuse_upgrades = True
        network.reset()
        await eventually(lambda: _shows(app, "over", "http"), 15)
        await _available(app, place)
        # The wish is kept; a driver without a socket is offered nothing.
        assert await app.shown(["state"]) == {"state": "offline"}
        network.refuse_upgrades = False
        app.hint()
        await eventually(lambda: _shows(app, "over", "socket"), 15)
        await eventually(lambda: _shows(app, "state", "available"), 15)


async def test_half_open_socket_is_replaced(hire: Hire, node: Node, place: Place) -> None:
    async with FaultProxy.to(node.port) as network:
        app = await hire(url=network.url)
        await _available(app, place)
        network.set("freeze")
        reply = await asyncio.wait_for(app.status("paused"), 15)
        assert reply["state"] == "paused"
        assert network.accepted == 2


async def test_refusals_have_their_code(hire: Hire, place: Place) -> None:
    app = await hire()
    with pytest.raises(Exception, match="no_position") as caught:
        await asyncio.wait_for(app.status("available"), 15)
    assert type(caught.value).__name__ == "RequestRefused"
    proof = await asyncio.wait_for(app.agent.ask("upload", image=list(PNG)), 15)
    assert proof


async def test_operator_and_order_service_call_the_engine(
    hire: Hire, callers: Agent, place: Place
) -> None:
    app = await hire()
    await _available(app, place)
    order = place.order()
    quote = await _call(callers, "orders", "quote", order)
    assert quote["would_match"]
    first = await _call(callers, "orders", "submit", order, {"key": "k1"})
    again = await _call(callers, "orders", "submit", order, {"key": "k1"})
    assert again["id"] == first["id"]
    with pytest.raises(Exception, match="422 idempotency_mismatch"):
        await _call(callers, "orders", "submit", place.order(), {"key": "k1"})
    listed = callers.ask(
        "collect", of="orders", name="jobs", given=[{"state": ["queued", "offered"]}]
    )
    assert [job["id"] for job in await asyncio.wait_for(listed, 15)] == [first["id"]]
    drivers = await _call(callers, "operator", "drivers", "phoenix")
    assert any(driver["state"] in {"available", "offered"} for driver in drivers)
    pickups = callers.ask("collect", of="store", name="pickups", given=[])
    assert first["id"] in [pickup["id"] for pickup in await asyncio.wait_for(pickups, 15)]
    cancelled = await _call(callers, "orders", "cancel", first["id"], "customer")
    assert cancelled["cancel_reason"] == "customer"
    policy = await _call(callers, "operator", "policy", "phoenix")
    assert policy["effective"]


async def _shows(app: NodeApp, name: str, value: Any) -> bool:
    return (await app.shown([name])) == {name: value}
