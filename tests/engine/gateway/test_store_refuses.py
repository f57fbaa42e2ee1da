"""A node whose store can be reached and yet refuses: full, unable to save, no longer the master."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from engine.store.embedded import EmbeddedServer
from protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NodeFactory, RunningNode
from tests.support import eventually


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server whose snapshots fail for as long as there is a folder of the snapshot's name."""
    options = {"save": "3600 1000000", "dbfilename": "dump.rdb", "enable-debug-command": "yes"}
    with EmbeddedServer(tmp_path / "own", tcp=True, options=options) as server:
        yield server


async def post(node: RunningNode, key: str) -> tuple[int, Any]:
    answer = await node.http.post(
        "/v1/jobs",
        json={
            "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
            "dropoff": {**HOME, "name": "Ada", "address": "1 Main St", "contact": "555"},
        },
        headers={**node.bearer("shop", Role.ORDERS), "Idempotency-Key": key},
    )
    return answer.status_code, answer.json()


async def unready(node: RunningNode) -> str:
    """Why the node is not ready; empty while it is."""
    answer = await node.http.get("/readyz")
    return "" if answer.status_code == 200 else str(answer.json()["detail"])


async def ready(node: RunningNode) -> bool:
    return not await unready(node)


def save(server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.bgsave()


@pytest.mark.finding("B7")
async def test_a_store_that_cannot_save_makes_the_node_unready(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=own_server.url)
    obstacle = own_server.folder / "dump.rdb"
    (obstacle / "in the way").mkdir(parents=True)
    with structlog.testing.capture_logs() as logs:
        save(own_server)
        why = await eventually(lambda: unready(node))
        assert "MISCONF" in why
        status, problem = await post(node, "unsaved")
        assert (status, problem["code"]) == (503, "store_unavailable")
        lines = [line for line in logs if line["event"] == "the store refuses writes"]
        assert 1 <= len(lines) <= 3
        assert {(line["log_level"], line["code"]) for line in lines} == {("error", "MISCONF")}
    assert await node.figure('mallard_store_refusals_total{code="MISCONF"}') > 0
    assert await node.figure("mallard_store_ready") == 0
    (obstacle / "in the way").rmdir()
    obstacle.rmdir()
    save(own_server)
    await eventually(lambda: ready(node))
    assert (await post(node, "saved"))[0] == 201
    assert await node.figure("mallard_store_ready") == 1


@pytest.mark.finding("B12")
async def test_a_master_that_became_a_replica_makes_the_node_unready(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=own_server.url)
    with redis.Redis.from_url(own_server.url) as client:
        client.replicaof("127.0.0.1", 1)
        assert "replica" in (await eventually(lambda: unready(node)))
        assert (await post(node, "k"))[0] == 503
        client.replicaof("NO", "ONE")
    await eventually(lambda: ready(node))
    assert (await post(node, "k"))[0] == 201


@pytest.mark.finding("B7")
async def test_a_store_blocked_by_a_script_makes_the_node_unready(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=own_server.url)
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("busy-reply-threshold", 1)
        spinning = asyncio.create_task(asyncio.to_thread(spin, own_server.url))
        await eventually(lambda: unready(node))
        assert (await post(node, "k"))[0] == 503
        client.script_kill()
    await spinning
    await eventually(lambda: ready(node))
    assert (await post(node, "k"))[0] == 201


def spin(url: str) -> None:
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ResponseError):
        client.eval("while true do end", 0)
