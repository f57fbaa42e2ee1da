"""Whole nodes on Sentinel and on a cluster: failovers, a lost shard, a market's slot that moves."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.workload.redis_groups import ClusterGroup, SentinelGroup, kill
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import DriverApp, Frame, open_app
from tests.support import GUARD_S, Standstill, eventually

KEY = "mallard:{phoenix}:due"
VEGAS_HOME = {"lat": 36.1280, "lon": -115.1710}
VEGAS_MALL = "fashion-show-las-vegas"


@pytest.fixture(params=["sentinel", "cluster"])
def group(
    request: pytest.FixtureRequest, redis_binary: Path | None
) -> Iterator[SentinelGroup | ClusterGroup]:
    kind = SentinelGroup if request.param == "sentinel" else ClusterGroup
    with kind(binary=redis_binary) as group:
        yield group


@pytest.fixture
def cluster(redis_binary: Path | None) -> Iterator[ClusterGroup]:
    with ClusterGroup(replicas=0, binary=redis_binary) as group:
        yield group


@pytest.fixture(autouse=True)
def patience() -> None:
    """Leave the limits as they are: these tests are about a Redis that is away."""


def kill_master(group: SentinelGroup | ClusterGroup) -> None:
    kill(group.master() if isinstance(group, SentinelGroup) else group.primary_of(KEY))


def exchange_master(group: SentinelGroup | ClusterGroup) -> None:
    if isinstance(group, SentinelGroup):
        group.fail_over()
    else:
        group.fail_over(group.primary_of(KEY))


async def post(node: RunningNode, number: int, mall: str = MALL) -> Any:
    home = HOME if mall == MALL else VEGAS_HOME
    body = {
        "pickup": {"mall": mall, "stores": [{"store": "lego"}]},
        "dropoff": {**home, "name": "Ada", "address": "1 Main St", "contact": "555"},
        "parcels": {"count": 1, "weight_g": 800, "volume_l": 4},
    }
    headers = {**node.bearer("shop", Role.ORDERS), "Idempotency-Key": f"order-{number}"}
    return await node.http.post("/v1/jobs", json=body, headers=headers)


async def receive_offer(app: DriverApp, job: str) -> Frame:
    """Receive the offer of a job; answer a welcome as an app does.

    A welcome may bring the offer. The app says hello again when it is asked to, and repeats its
    wish when a failover has forgotten it.
    """

    def is_of_job(offer: Frame) -> bool:
        return job in {each["job"] for each in offer["jobs"]}

    deadline = time.monotonic() + GUARD_S
    while time.monotonic() < deadline:
        with suppress(TimeoutError):
            offer = await app.receive("offer", within_s=0.5)
            if is_of_job(offer):
                return offer
        with suppress(TimeoutError):
            welcome = await app.receive("welcome", within_s=0.05)
            if welcome.get("offer") and is_of_job(welcome["offer"]):
                brought: Frame = welcome["offer"]
                return brought
            if welcome.get("say_hello"):
                await app.send("hello", position=NEAR)
            if welcome["state"] == "offline":
                await app.ask("status", state="available")
    raise AssertionError(f"no offer of {job}")


@pytest.mark.slow
@pytest.mark.parametrize("fail", [kill_master, exchange_master])
async def test_failover_keeps_the_sockets_and_the_matching(
    group: SentinelGroup | ClusterGroup,
    engine_node: NodeFactory,
    fail: Callable[[SentinelGroup | ClusterGroup], None],
) -> None:
    node = await engine_node(redis_url=group.url)
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR)
        opening = node.node.store.runner.opening(PHOENIX)
        await asyncio.to_thread(fail, group)
        await eventually(lambda: node.node.store.runner.opening(PHOENIX) > opening)
        await eventually(lambda: node.node.store.outage_of(PHOENIX) is None)

        async def is_taken() -> Any:
            answer = await post(node, 1)
            assert answer.status_code in {201, 503}, answer.text
            return answer.json() if answer.status_code == 201 else None

        job = await eventually(is_taken)
        offer = await receive_offer(app, job["id"])
        assert (await app.ask("accept", offer=offer["offer"]))["jobs"]
    assert (await node.http.get("/readyz")).status_code == 200


async def test_lost_shard_stops_its_own_market_only(
    cluster: ClusterGroup, engine_node: NodeFactory, standstill: Standstill
) -> None:
    node = await engine_node(redis_url=cluster.url)
    kill(cluster.primary_of(KEY))
    await eventually(lambda: node.node.store.outage_of(PHOENIX))
    began = time.monotonic()
    refused = await post(node, 1)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert time.monotonic() - began < 5 + standstill.ms / 1000
    taken = await post(node, 2, VEGAS_MALL)
    assert taken.status_code == 201, taken.text
    ready = await node.http.get("/readyz")
    assert ready.status_code == 200
    (warning,) = [it for it in ready.json()["warnings"] if "no work" in it]
    assert warning.startswith("no work in phoenix: the store at 127.0.0.1:")
    assert await node.metric("mallard_store_ready") == 1
    cluster.revive()
    await eventually(lambda: node.node.store.outage_of(PHOENIX) is None)

    async def is_taken() -> bool:
        return bool((await post(node, 3)).status_code == 201)

    await eventually(is_taken)


@pytest.mark.slow
async def test_slot_moves_while_orders_arrive(
    cluster: ClusterGroup, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=cluster.url)
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR)
        answers: list[tuple[int, float]] = []
        ended = asyncio.Event()

        async def order() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                began = time.monotonic()
                while (answer := await post(node, number)).status_code == 503:
                    await asyncio.sleep(0.02)
                answers.append((answer.status_code, time.monotonic() - began))
                await asyncio.sleep(0.02)

        ordering = asyncio.create_task(order())
        for server in (*cluster.servers[1:], cluster.servers[0]):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(cluster.migrate, KEY, server)
        await asyncio.sleep(0.5)
        ended.set()
        await ordering
        assert {status for status, _ in answers} == {201}
        assert max(took for _, took in answers) < 5
        # No driver was asked anything: nothing was lost.
        assert await app.received("welcome") == []
        assert (await app.receive("offer"))["jobs"]
