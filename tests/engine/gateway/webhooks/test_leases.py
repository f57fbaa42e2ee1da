"""How soon a node works on an endpoint."""

from functools import partial

import pytest

from mallard_engine.gateway.webhooks import worker
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.webhooks.conftest import LOOPBACK
from tests.engine.gateway.webhooks.receiver import Receiver
from tests.engine.gateway.webhooks.support import create
from tests.support import eventually


@pytest.fixture
async def node(engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch) -> RunningNode:
    """A node whose leases are renewed once, at its start."""
    monkeypatch.setattr(worker, "_BEAT_S", 3_600)
    return await engine_node(webhook_allow=(LOOPBACK,))


async def has_leased(node: RunningNode, count: int) -> bool:
    lines = (await node.http.get("/metrics")).text.splitlines()
    return f"mallard_webhooks {float(count)}" in lines


async def test_node_that_stores_an_endpoint_leases_it_at_once(
    node: RunningNode, receiver: Receiver
) -> None:
    await create(node, receiver.url)
    job = await node.submit()
    (heard,) = await receiver.hears(1)
    assert heard.event["job"] == job["id"]


async def test_endpoint_that_is_enabled_is_leased_at_once(
    node: RunningNode, receiver: Receiver
) -> None:
    made = await create(node, receiver.url)
    for state, count in (("disabled", 0), ("enabled", 1)):
        await node.http.patch(
            f"/v1/webhooks/{made['id']}",
            json={"state": state},
            headers=node.bearer("shop", Role.ORDERS),
        )
        await eventually(partial(has_leased, node, count))
    await node.submit()
    await receiver.hears(1)
