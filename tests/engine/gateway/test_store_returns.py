"""After an outage or lost writes sockets stay open and are resynchronised."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from mallard_engine.core.model import Device
from mallard_engine.gateway import driver_recovery
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.engine.gateway.conftest import NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import DriverApp, Frame, open_app
from tests.proxy import Proxy
from tests.support import GUARD_S, eventually

# A little longer than a lease.
OUTAGE_S = 1.8


@pytest.fixture
def long_leases() -> None:
    """Leave the leases as they are: these tests are about leases that end."""


@pytest.fixture(autouse=True)
def patience() -> None:
    """Leave the limits as they are: these tests are about a Redis that is away."""


@pytest.fixture
def server(tmp_path: Path, redis_binary: Path | None) -> Iterator[EmbeddedServer]:
    """A server that only this test's nodes use, and that may be killed."""
    with EmbeddedServer(tmp_path / "own", tcp=True, binary=redis_binary) as server:
        yield server


@pytest.fixture
def replica(
    server: EmbeddedServer, tmp_path: Path, redis_binary: Path | None
) -> Iterator[EmbeddedServer]:
    options = {
        "replicaof": server.url.removeprefix("redis://").removesuffix("/0").replace(":", " ")
    }
    with EmbeddedServer(
        tmp_path / "replica", tcp=True, binary=redis_binary, options=options
    ) as replica:
        with redis.Redis.from_url(replica.url) as client:
            deadline = time.monotonic() + GUARD_S
            while client.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield replica


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.url) as proxy:
        yield proxy


def shorten_timeouts(node: RunningNode) -> RunningNode:
    """Shorten the timeout of calls to Redis."""
    for link in (node.node.store.runner.link, node.node.store.tail):
        link._deadline_s = 0.6
    return node


def kill(server: EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    assert server._process is not None
    server._process.wait()


async def is_offered(node: RunningNode, driver: DriverApp) -> Frame:
    """Whether a new job reaches the driver at once."""
    job = await node.submit()
    offer = await driver.receive("offer")
    assert offer["jobs"][0]["job"] == job["id"]
    return offer


async def is_back(node: RunningNode) -> bool:
    return (await node.http.get("/readyz")).status_code == 200


async def are_to_be_asked(node: RunningNode) -> bool:
    """Whether the node has its drivers back and still has to ask their apps for a hello."""
    return all(session.owes_hello for session in node.node.hub.sessions("phoenix"))


@pytest.mark.finding("B3")
@pytest.mark.slow
async def test_sockets_stay_open_while_the_store_is_restarted(
    server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    one = shorten_timeouts(await engine_node(redis_url=server.url))
    other = shorten_timeouts(await engine_node(redis_url=server.url))
    async with (
        open_app(one.ws, one.token("d1")) as d1,
        open_app(other.ws, other.token("d2")) as d2,
    ):
        first = await d1.go_online(position=NEAR)
        await d2.go_online(position=NEAR)
        for _ in range(2):
            kill(server)
            refused = await d1.ask("status", state="available")
            assert (refused["code"], refused["retry"]) == ("store_unavailable", True)
            await asyncio.sleep(OUTAGE_S)
            server.revive()
            for driver in (d1, d2):
                again = await driver.receive("welcome")
                assert (again["state"], again["say_hello"]) == ("available", True)
                await driver.send("hello")
                last = await driver.receive("welcome")
                assert "say_hello" not in last
        assert again["session"] != first["session"]
        offers = [await other.submit(), await one.submit()]
        offers_received = [await d.receive("offer") for d in (d1, d2)]
        assert {t["jobs"][0]["job"] for t in offers_received} == {job["id"] for job in offers}


@pytest.mark.finding("B3")
async def test_requested_hello_replaces_the_device(
    server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = shorten_timeouts(await engine_node(redis_url=server.url))

    async def stored() -> object:
        return (await node.node.store.drivers.snapshot(PHOENIX, "d1")).driver.device

    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello(position=NEAR, device={"kind": "fcm", "token": "old"})
        for sent_token, kept in (("new", "new"), (None, "new"), ("newer", "newer")):
            kill(server)
            server.revive()
            assert (await app.receive("welcome"))["say_hello"]
            device = {"device": {"kind": "apns", "token": sent_token}} if sent_token else {}
            await app.send("hello", **device)
            await app.receive("welcome")
            assert await stored() == Device("apns", kept)
        # An unrequested hello changes nothing.
        await app.send("hello", device={"kind": "fcm", "token": "other"})
        assert (await app.receive("error"))["code"] == "wrong_state"
        assert await stored() == Device("apns", "newer")


@pytest.mark.finding("B3")
async def test_jobs_are_offered_before_idle_apps_are_asked(
    server: EmbeddedServer, engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_recovery, "_ASK_AFTER_S", 4.0)
    monkeypatch.setattr(driver_recovery, "_ASK_BATCH", 1)
    node = shorten_timeouts(await engine_node(redis_url=server.url))
    async with (
        open_app(node.ws, node.token("d1")) as d1,
        open_app(node.ws, node.token("d2")) as d2,
        open_app(node.ws, node.token("d3")) as d3,
    ):
        await d1.go_online(position=NEAR)
        await d2.hello(position=NEAR)
        await d3.hello()
        kill(server)
        await asyncio.sleep(OUTAGE_S)
        server.revive()
        await eventually(lambda: is_back(node))
        # An offer made while its driver is being restored comes with a welcome.
        await eventually(lambda: are_to_be_asked(node))
        await node.submit()
        offer = await d1.receive("offer")
        assert await d1.received("welcome") == []
        (job,) = (await d1.ask("accept", offer=offer["offer"]))["jobs"]
        welcomes = [await each.receive("welcome") for each in (d1, d2, d3)]
        assert all(welcome["say_hello"] for welcome in welcomes)
        assert [held["job"] for held in welcomes[0]["jobs"]] == [job["job"]]


@pytest.mark.finding("B3", "B5")
async def test_idle_app_reports_its_parcel_after_lost_writes(
    server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    """Neither Redis nor the node knows of the parcel; the same after a second loss."""
    node = shorten_timeouts(await engine_node(redis_url=server.url))
    job = await node.submit()
    async with open_app(node.ws, node.token("d1")) as d1:
        await d1.hello(position=NEAR)
        for holds in ([], [{"job": job["id"], "attempt": 1, "state": "picked_up"}]):
            kill(server)
            server.revive()
            assert (await d1.receive("welcome"))["say_hello"]
            await d1.send("hello", holds=holds)
            last = await d1.receive("welcome")
        assert [(held["job"], held["state"]) for held in last["jobs"]] == [(job["id"], "picked_up")]


@pytest.mark.finding("B3")
async def test_short_outage_sends_nothing_to_apps(proxy: Proxy, engine_node: NodeFactory) -> None:
    node = await engine_node(redis_url=proxy.url)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        proxy.cut()
        await eventually(lambda: is_back(node))
        await is_offered(node, driver)
        assert await driver.received("welcome") == []


@pytest.mark.finding("B1")
async def test_delivery_reported_during_an_outage_frees_the_driver(
    server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    """Redis executes requests while it is silent, and its replies are lost."""
    one = shorten_timeouts(await engine_node(redis_url=server.url))
    shorten_timeouts(await engine_node(redis_url=server.url))
    async with open_app(one.ws, one.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        offer = await is_offered(one, driver)
        accepted = await driver.ask("accept", offer=offer["offer"])
        (job,) = accepted["jobs"]
        await driver.progress(job, "picked_up")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            refused = await driver.progress(job, "delivered")
            assert refused["code"] == "store_unavailable"
            await asyncio.sleep(OUTAGE_S)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await eventually(lambda: is_back(one))
        await one.job_in(job["job"], "delivered")
        assert (await driver.progress(job, "delivered"))["job_state"] == "delivered"
        await is_offered(one, driver)


@pytest.mark.finding("B3")
async def test_partitioned_node_restores_its_drivers(
    server: EmbeddedServer, proxy: Proxy, engine_node: NodeFactory
) -> None:
    """As after a freeze: another node has removed this node's drivers from matching."""
    cut_off = await engine_node(redis_url=proxy.url)
    other = await engine_node(redis_url=server.url)
    async with (
        open_app(cut_off.ws, cut_off.token("d1")) as stays,
        open_app(cut_off.ws, cut_off.token("d2")) as moves,
    ):
        await stays.go_online(position=NEAR)
        await moves.go_online(position=NEAR)
        await asyncio.sleep(OUTAGE_S)  # a node that has just started considers no other as dead
        proxy.stall()
        await eventually(lambda: _is_out(other, "d1"))
        async with open_app(other.ws, other.token("d2")) as moved:
            assert (await moved.hello(position=NEAR))["state"] == "available"
            proxy.go_on()
            welcome = await stays.receive("welcome")
            assert (welcome["state"], welcome.get("say_hello")) == ("available", None)
            assert await moves.closed() == 4507
            jobs = {(await other.submit())["id"] for _ in range(2)}
            offers_received = [await each.receive("offer") for each in (stays, moved)]
            assert {offer["jobs"][0]["job"] for offer in offers_received} == jobs


async def test_clock_that_was_set_is_told_to_open_sockets(
    server: EmbeddedServer, engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an app's fixes would be too old, or from the future, until it reconnects."""
    node = await engine_node(redis_url=server.url)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        monkeypatch.setattr(
            node.node.store.runner,
            "_virtual_now_ms",
            lambda: time.time_ns() // 1_000_000 + 3_600_000,
        )
        welcome = await driver.receive("welcome")
        ahead_ms = welcome["server_time_ms"] - time.time() * 1000
        assert ahead_ms == pytest.approx(3_600_000, abs=60_000)
        assert welcome.get("say_hello") is None
        fix = [welcome["server_time_ms"], *NEAR.values(), None, None, None]
        await driver.send("location", fixes=[fix])
        await is_offered(node, driver)


async def _is_out(node: RunningNode, driver: str) -> bool:
    return not (await node.node.store.drivers.snapshot("phoenix", driver)).driver.connected


@pytest.mark.finding("B4")
async def test_emptied_store_gets_the_drivers_back(
    server: EmbeddedServer, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=server.url)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR, vehicle={"kind": "van", "max_jobs": 3})
        await driver.ask("decline", offer=(await is_offered(node, driver))["offer"])
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        welcome = await driver.receive("welcome")
        assert (welcome["seq"], welcome["state"], welcome["say_hello"]) == (0, "available", True)
        known = (await node.node.store.drivers.snapshot("phoenix", "d1")).driver
        assert (known.vehicle.kind, known.vehicle.max_jobs) == ("van", 3)
        offer = await is_offered(node, driver)
        assert offer["seq"] == 1


@pytest.mark.finding("B4")
@pytest.mark.slow
async def test_failover_to_a_replica_without_the_last_pushes(
    server: EmbeddedServer, replica: EmbeddedServer, proxy: Proxy, engine_node: NodeFactory
) -> None:
    node = await engine_node(redis_url=proxy.url)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        await _replicated(server, replica)
        _promote(replica)  # from here on the replica misses all writes
        offer = await is_offered(node, driver)
        await node.order(f"/v1/jobs/{offer['jobs'][0]['job']}/cancel", reason="other")
        closed = await driver.receive("offer_closed")
        kill(server)
        proxy.lead_to(replica.url)
        welcome = await driver.receive("welcome")
        assert welcome["seq"] < closed["seq"]
        assert (welcome["say_hello"], welcome["offer"]) == (True, None)
        offer = await is_offered(node, driver)
        assert offer["seq"] == welcome["seq"] + 1


@pytest.mark.finding("B5")
@pytest.mark.slow
async def test_parcel_on_board_survives_a_lost_accept(
    server: EmbeddedServer, replica: EmbeddedServer, proxy: Proxy, engine_node: NodeFactory
) -> None:
    """The failover loses the accept and the pickup; a second driver is near."""
    node = await engine_node(redis_url=proxy.url)
    async with open_app(node.ws, node.token("d1")) as d1:
        await d1.go_online(position=NEAR)
        offer = await is_offered(node, d1)
        await _replicated(server, replica)
        _promote(replica)
        (job,) = (await d1.ask("accept", offer=offer["offer"]))["jobs"]
        assert (await d1.progress(job, "picked_up"))["job_state"] == "picked_up"
        kill(server)
        proxy.lead_to(replica.url)
        assert (await d1.receive("welcome"))["say_hello"]
        held = {"job": job["job"], "attempt": job["attempt"], "state": "picked_up"}
        await d1.send("hello", holds=[held])
        (mine,) = (await d1.receive("welcome"))["jobs"]
        assert (mine["job"], mine["state"]) == (job["job"], "picked_up")
        async with open_app(node.ws, node.token("d2")) as d2:
            await d2.go_online(position=NEAR)
            assert await d2.received("offer") == await d1.received("offer") == []
        delivered = await d1.progress(mine, "delivered")
        assert delivered["job_state"] == "delivered"
        raised = 'mallard_alerts_total{kind="custody_after_lost_writes"}'
        assert await node.metric(raised) == 1


@pytest.mark.finding("C10")
async def test_delivery_is_reported_by_hello(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as d1:
        await d1.go_online(position=NEAR)
        offer = await is_offered(node, d1)
        (job,) = (await d1.ask("accept", offer=offer["offer"]))["jobs"]
        await d1.progress(job, "picked_up")
    held = {"job": job["job"], "attempt": job["attempt"], "state": "delivered", "at_ms": 1}
    async with open_app(node.ws, node.token("d1")) as d1:
        assert (await d1.hello(holds=[held]))["jobs"] == []
    assert (await node.job(job["job"]))["state"] == "delivered"


@pytest.mark.finding("B5")
async def test_job_unknown_to_the_store_raises_an_alert(node: RunningNode) -> None:
    held = {"job": "job_phoenix.none", "attempt": 1, "state": "picked_up"}
    async with open_app(node.ws, node.token("d1")) as d1:
        assert (await d1.hello(holds=[held]))["jobs"] == []
    assert await node.metric('mallard_alerts_total{kind="unknown_job_held"}') == 1


async def _replicated(server: EmbeddedServer, replica: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url) as master, redis.Redis.from_url(replica.url) as copy:
        offset = master.info("replication")["master_repl_offset"]
        await eventually(lambda: copy.info("replication")["slave_repl_offset"] >= offset)


def _promote(replica: EmbeddedServer) -> None:
    with redis.Redis.from_url(replica.url) as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
