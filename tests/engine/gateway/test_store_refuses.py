"""A reachable Redis that refuses writes: full, unable to save, no longer the master."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
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
    """Why the node is not ready; empty if it is."""
    answer = await node.http.get("/readyz")
    return "" if answer.status_code == 200 else str(answer.json()["detail"])


async def ready(node: RunningNode) -> bool:
    return not await unready(node)


def save(server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.bgsave()


@pytest.mark.finding("B7")
async def test_store_that_cannot_save_makes_the_node_unready(
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
        assert {(line["log_level"], line["error"]) for line in lines} == {("error", "MISCONF")}
    assert await node.metric('mallard_store_refusals_total{code="MISCONF"}') > 0
    assert await node.metric("mallard_store_ready") == 0
    (obstacle / "in the way").rmdir()
    obstacle.rmdir()
    save(own_server)
    await eventually(lambda: ready(node))
    assert (await post(node, "saved"))[0] == 201
    assert await node.metric("mallard_store_ready") == 1


@pytest.mark.finding("B12")
async def test_master_that_became_a_replica_makes_the_node_unready(
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
async def test_store_blocked_by_a_script_makes_the_node_unready(
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


@pytest.mark.finding("B6")
async def test_full_store_refuses_only_new_work(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    """Restart while Redis is full: drivers with a job can reconnect."""
    before = await engine_node(redis_url=own_server.url)
    async with open_app(before.ws, before.token("holder")) as driver:
        await driver.go_online(position=NEAR)
        held = await before.submit()
        offer = await driver.receive("offer")
        assert (await driver.ask("accept", offer=offer["offer"]))["type"] == "reply"
    queued = await before.submit()
    fill(own_server)
    after = await engine_node(redis_url=own_server.url)
    async with open_app(after.ws, after.token("holder")) as driver:
        welcome = await driver.hello(position=NEAR)
        (job,) = welcome["jobs"]
        assert job["job"] == held["id"]
        for step in ("at_mall", "picked_up", "delivered"):
            assert (await driver.progress(job, step))["type"] == "reply", step
    async with open_app(after.ws, after.token("newcomer")) as newcomer:
        await newcomer.send("hello")
        assert (await newcomer.receive("error"))["code"] == "store_unavailable"
        assert await newcomer.closed() == 4006
    status, problem = await post(after, "new")
    assert (status, problem["code"]) == (503, "store_full")
    assert (await after.job(held["id"]))["state"] == "delivered"
    cancelled = await after.http.post(
        f"/v1/jobs/{queued['id']}/cancel", json={}, headers=after.bearer("shop", Role.ORDERS)
    )
    assert cancelled.json()["state"] == "cancelled"
    assert await ready(after)
    assert await after.metric('mallard_store_refusals_total{code="OOM"}') > 0
    fill(own_server, 0)
    assert (await post(after, "new"))[0] == 201


@pytest.mark.finding("B6")
async def test_driver_with_an_offer_may_answer_a_full_store(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=own_server.url)
    async with open_app(node.ws, node.token("d")) as driver:
        await driver.go_online(position=NEAR)
        first, second = await node.submit(), await node.submit()
        fill(own_server)
        offer = await driver.receive("offer")
        assert (await driver.ask("decline", offer=offer["offer"]))["type"] == "reply"
        await driver.ask("status", state="available")
        offered = {offer["jobs"][0]["job"]}
        assert offered < {first["id"], second["id"]}
        # Rounds are stored for `explain` only; the next offer does not depend on them.
        for job in (first, second):
            answer = await node.http.get(
                f"/v1/jobs/{job['id']}/explain", headers=node.bearer("shop", Role.ORDERS)
            )
            assert answer.status_code == 200
    fill(own_server, 0)


@pytest.mark.finding("B6")
async def test_full_store_takes_a_pause_for_all_nodes(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    one, other = [await engine_node(redis_url=own_server.url) for _ in range(2)]
    operator = one.bearer("ann", Role.OPERATOR)
    fill(own_server)
    pause = await one.http.post("/v1/markets/phoenix/pause", json={}, headers=operator)
    assert (pause.status_code, pause.json()["paused"]) == (200, True)

    async def is_known() -> bool:
        shown = await other.http.get("/v1/markets/phoenix", headers=operator)
        return bool(shown.json()["paused"])

    await eventually(is_known)
    fill(own_server, 0)


async def test_command_of_a_script_that_the_user_lacks_is_a_refusal(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.acl_setuser("engine", enabled=True, passwords="+word", keys=["*"], channels=["*"],
                           categories=["+@all"], commands=["-xadd"])  # fmt: skip
    node = await engine_node(redis_url=own_server.url.replace("//", "//engine:word@"))
    with structlog.testing.capture_logs() as logs:
        status, problem = await post(node, "refused")
    assert (status, problem["code"]) == (503, "store_unavailable")
    lines = [line for line in logs if line["event"] == "the store refuses writes"]
    assert {(line["log_level"], line["error"]) for line in lines} == {("error", "NOPERM")}
    assert all("script" in line["reason"] for line in lines)
    assert "request failed" not in {line["event"] for line in logs}


def fill(server: EmbeddedServer, maxmemory: int = 1) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", maxmemory)
