"""How soon a node works on an endpoint."""

from collections.abc import Sequence
from functools import partial

import pytest

from mallard_engine.gateway.webhooks import worker
from mallard_engine.ports import Leased
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


async def test_node_without_endpoints_only_reads_their_version(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, work = node.node.store.webhooks, node.node.webhooks
    beats: list[int] = []
    beat = store.beat

    async def counted(name: str, markets: Sequence[str]) -> Leased:
        beats.append(len(markets))
        return await beat(name, markets)

    monkeypatch.setattr(store, "beat", counted)
    await work._beat()
    assert not beats
    made = await create(node, receiver.url)
    await eventually(partial(has_leased, node, 1))
    await node.http.delete(f"/v1/webhooks/{made['id']}", headers=node.bearer("shop", Role.ORDERS))
    # It gives up what it had, and is at rest again.
    await work._beat()
    assert await has_leased(node, 0)
    beats.clear()
    await work._beat()
    assert not beats


async def test_endpoint_that_another_node_has_stored_is_leased_with_the_next_beat(
    engine_node: NodeFactory, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_BEAT_S", 3_600)
    node, other = [await engine_node(webhook_allow=(LOOPBACK,)) for _ in range(2)]
    for each in (other, node):
        await each.node.webhooks._beat()
    made = await create(node, receiver.url)
    await node.node.webhooks.stop()
    await other.node.webhooks._beat()
    assert set(other.node.webhooks.deliveries._endpoints) == {made["id"]}


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
