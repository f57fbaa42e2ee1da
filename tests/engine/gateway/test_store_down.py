"""A node during an outage of Redis: it reports it, keeps its sockets for a while, and recovers."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import structlog

from mallard_engine.storage.client.errors import DataFolderInUse
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import Standstill, eventually


@pytest.fixture(autouse=True)
def patience() -> None:
    """Leave the limits as they are: these tests are about a Redis that is away."""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that only this test's node uses, and that may be killed."""
    with EmbeddedServer(tmp_path / "own", tcp=True) as server:
        yield server


async def ready(node: RunningNode) -> bool:
    return (await node.http.get("/readyz")).status_code == 200


async def not_ready(node: RunningNode) -> bool:
    return not await ready(node)


def kill(server: EmbeddedServer) -> None:
    process = server._process
    assert process is not None
    process.kill()
    process.wait()


async def test_requests_get_503_until_the_store_is_back(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=own_server.url)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        kill(own_server)
        await eventually(lambda: not_ready(node))
        assert (await node.http.get("/livez")).status_code == 200
        assert (await node.http.get("/metrics")).status_code == 200
        await driver.send("status", id=7, state="paused")
        async with open_app(node.ws, node.token("d2")) as newcomer:
            await newcomer.send("hello")
            refused = await newcomer.receive("error")
            assert (refused["id"], refused["code"]) == (None, "store_unavailable")
            assert await newcomer.closed() == 4006
        refused = await driver.receive("error")
        assert (refused["id"], refused["code"], refused["retry"]) == (7, "store_unavailable", True)

        own_server.revive()
        await eventually(lambda: ready(node))
        # Its socket stayed open and gets a welcome.
        assert (await driver.receive("welcome"))["say_hello"]
        assert (await driver.ask("status", state="paused"))["state"] == "paused"


async def test_long_outage_closes_all_sockets(
    # Redis is stopped before the node, which must not delay the node's shutdown.
    engine_node: NodeFactory,
    own_server: EmbeddedServer,
) -> None:
    node = await engine_node(redis_url=own_server.url, store_down_close_s=0.2)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        kill(own_server)
        assert await driver.closed() == 4006


async def test_embedded_server_is_restarted_with_its_data(
    own_server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=own_server.url)
    node.node._storage_server = own_server
    job = await node.submit()
    opening = node.node.store.runner.opening("phoenix")
    kill(own_server)
    await eventually(lambda: own_server.running)
    await eventually(lambda: node.node.store.runner.opening("phoenix") > opening)
    await eventually(lambda: ready(node))
    assert (await node.job(job["id"]))["state"] in {"queued", "offered"}


@pytest.mark.finding("B2")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_orders_are_refused_at_once_during_an_outage(
    own_server: EmbeddedServer,
    engine_node: NodeFactory,
    how: signal.Signals,
    standstill: Standstill,
) -> None:
    """80 orders of one mall: none waits for another, and each may be retried soon."""
    node = await engine_node(redis_url=own_server.url)
    await node.submit()
    os.kill(own_server.pid, how)
    try:
        await eventually(lambda: not_ready(node))
        began = time.monotonic()
        answers = await asyncio.gather(*(post(node, f"away-{n}") for n in range(80)))
        took_s = time.monotonic() - began
        assert {(each.status_code, each.json()["code"]) for each in answers} == {
            (503, "store_unavailable")
        }
        assert all(int(each.headers["retry-after"]) >= 1 for each in answers)
        # One after another, each with its own timeout, they would take 20 times as long.
        assert took_s < 4 + standstill.ms / 1000
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
        own_server.revive()
    await eventually(lambda: ready(node))
    assert (await post(node, "away-0")).status_code == 201


@pytest.mark.finding("B2")
async def test_running_orders_are_refused_soon_in_an_outage(
    own_server: EmbeddedServer, engine_node: NodeFactory, standstill: Standstill
) -> None:
    node = await engine_node(redis_url=own_server.url)
    await node.submit()
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = await asyncio.gather(*(post(node, f"stopped-{n}") for n in range(40)))
        assert {each.status_code for each in answers} == {503}
        assert time.monotonic() - began < 4 + standstill.ms / 1000
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    await eventually(lambda: ready(node))


async def post(node: RunningNode, key: str) -> httpx2.Response:
    return await node.http.post(
        "/v1/jobs",
        json={
            "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
            "dropoff": {**HOME, "name": "Ada", "address": "1 Main St", "contact": "555"},
        },
        headers={**node.bearer("shop", Role.ORDERS), "Idempotency-Key": key},
    )


@pytest.mark.finding("B8")
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "log deleted"])
async def test_deleted_data_folder_makes_the_node_unready(
    own_server: EmbeddedServer, engine_node: NodeFactory, tmp_path: Path, how: str
) -> None:
    node = await engine_node(redis_url=own_server.url)
    node.node._storage_server = own_server
    assert (await post(node, "before")).status_code == 201
    folder = tmp_path / "own"
    with structlog.testing.capture_logs() as logs:
        if how == "log deleted":
            for file in (folder / "server/appendonlydir").iterdir():
                file.unlink()
        elif how == "deleted":
            shutil.rmtree(folder)
        else:
            folder.rename(tmp_path / "elsewhere")
        if how == "replaced":
            shutil.copytree(tmp_path / "elsewhere", folder, ignore=shutil.ignore_patterns("*.sock"))
        await eventually(lambda: not_ready(node))
    why = (await node.http.get("/readyz")).json()["detail"]
    assert how.rsplit(maxsplit=1)[-1] in why
    assert (await post(node, "after")).status_code == 503
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert why == line["reason"]


@pytest.mark.finding("B8")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")
def test_deleted_data_folder_cannot_be_started_twice(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "own")
    with pytest.raises(DataFolderInUse):
        EmbeddedServer(tmp_path / "own").start()
    assert own_server.running
    own_server.stop()
    with EmbeddedServer(tmp_path / "own") as again:
        assert again.running
