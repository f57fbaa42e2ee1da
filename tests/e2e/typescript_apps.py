"""What tests of the TypeScript clients against a real node share."""

import asyncio
import time
import uuid
from typing import Any

from tests.clients.apps import TokenProvider
from tests.clients.typescript.agents import Agent
from tests.clients.typescript.node_app import NodeApp
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.support import GUARD_S


class OneToken(TokenProvider):
    """The real token of a new driver, the same each time."""

    def __init__(self) -> None:
        super().__init__()
        name = f"typescript-{uuid.uuid4().hex[:12]}"
        self._real = make_token(name, "driver", market="phoenix")

    def __call__(self) -> str:
        self.given += 1
        return self._real


def clients_setup(node: Node, place: Place) -> dict[str, Any]:
    """Return the setup of an order service, an operator and the shop of `place`."""
    shop = {"mall": place.mall, "store": place.stores[0]}
    return {
        "clients": {
            "orders": [node.url, make_token(f"shop-{uuid.uuid4().hex[:12]}", "orders")],
            "operator": [node.url, make_token("boss", "operator")],
            "store": [node.url, make_token("counter", "store", **shop), *shop.values()],
        }
    }


async def call(agent: Agent, of: str, name: str, *given: Any) -> Any:
    """Call one of the clients, and return what it gives."""
    return await asyncio.wait_for(agent.ask("call", of=of, name=name, given=given), GUARD_S)


async def available(app: NodeApp, place: Place) -> None:
    """Make a driver available near the mall."""
    app.location(*place.north(50))
    await asyncio.wait_for(app.status("available"), GUARD_S)


async def report(app: NodeApp, job: str, step: str) -> Any:
    """Report a step, and return the reply."""
    at_ms = time.time_ns() // 1_000_000
    return await asyncio.wait_for(app.progress(job, step, at_ms), GUARD_S)


async def accept(app: NodeApp, job: str) -> None:
    """Take the next offer, which is of this job."""
    offer = await asyncio.wait_for(app.next_offer(), GUARD_S)
    jobs = await asyncio.wait_for(app.accept(offer), GUARD_S)
    assert [held["job"] for held in jobs] == [job]


async def deliver(app: NodeApp, place: Place, callers: Agent, job: str) -> None:
    """Take the next offer and carry it to its customer; the shop hands it over by code."""
    await accept(app, job)
    detail = await app.agent.ask("job", job=job)
    app.location(*place.gate)
    await report(app, job, "at_mall")
    handed = await call(callers, "store", "handOver", job, detail["handover_code"])
    assert handed["id"] == job
    app.location(*place.north(2_000))
    await report(app, job, "at_door")
    reply = await report(app, job, "delivered")
    assert reply["job_state"] == "delivered"


async def shows(app: NodeApp, name: str, value: Any) -> bool:
    """Whether the client shows this value now."""
    return (await app.shown([name])) == {name: value}


async def leave(app: NodeApp) -> None:
    """Take the driver offline and end its app."""
    await asyncio.gather(app.status("offline"), return_exceptions=True)
    await app.stop()
