"""A node that shuts down disconnects all drivers in time and loses nothing."""

import asyncio
import contextlib
import itertools
import signal
from pathlib import Path
from typing import Any

import pytest
import structlog

from mallard_engine.config.settings import ConfigError, load_settings
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.membership.drain import reconnect_times_ms
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.raw_client import RawClient
from tests.support import GUARD_S, Standstill, eventually


async def test_drain_warns_and_closes_without_losing_jobs(
    engine_node: NodeFactory, standstill: Standstill
) -> None:
    leaving, staying = await engine_node(), await engine_node()
    async with contextlib.AsyncExitStack() as stack:
        drivers = [
            await stack.enter_async_context(open_app(leaving.ws, leaving.token(f"d{number}")))
            for number in range(12)
        ]
        job = await _drain(leaving, drivers, standstill)
    async with open_app(staying.ws, staying.token("d0")) as holder:
        welcome = await holder.hello(position=NEAR)
        (held,) = welcome["jobs"]
        assert held["job"] == job
        assert (await holder.progress(held, "picked_up"))["type"] == "reply"


async def _drain(leaving: RunningNode, drivers: list[DriverApp], standstill: Standstill) -> str:
    """Let one of the drivers accept a job before the drain; return the job."""
    for driver in drivers:
        await driver.hello(position=NEAR)
    holder = drivers[0]
    await holder.ask("status", state="available")
    job = await leaving.submit()
    offer = await holder.receive("offer")
    await holder.ask("accept", offer=offer["offer"])

    loop = asyncio.get_running_loop()
    began_s = loop.time()
    leaving.server.handle_exit(signal.SIGTERM, None)
    warnings = [(await driver.receive("drain"))["reconnect_after_ms"] for driver in drivers]
    assert len(set(warnings)) == len(drivers)
    assert (await leaving.http.get("/readyz")).status_code == 503
    assert [await driver.closed() for driver in drivers] == [4001] * len(drivers)
    await asyncio.wait_for(leaving.task, GUARD_S)
    assert loop.time() - began_s < 10 + standstill.ms / 1000
    return str(job["id"])


async def test_draining_node_refuses_sockets_and_answers_requests(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as early:
        await early.hello()
        job = await node.submit()
        waiting = asyncio.create_task(node.http.get("/livez"))
        node.server.begin_exit()
        await early.receive("drain")
        async with open_app(node.ws, node.token("d2")) as late:
            assert await late.closed() == 4001
        assert (await waiting).status_code == 200
        assert (await node.job(job["id"]))["id"] == job["id"]
        assert await early.closed() == 4001


async def test_drain_closes_sockets_before_their_hello(node: RunningNode) -> None:
    async with open_app(node.ws) as driver:
        await eventually(lambda: len(node.node.socket) == 1)
        node.server.begin_exit()
        assert await driver.closed() == 4001


async def test_second_signal_exits_at_once(node: RunningNode, standstill: Standstill) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        node.server.handle_exit(signal.SIGINT, None)
        await driver.receive("drain")
        clock = asyncio.get_running_loop().time
        node.server.handle_exit(signal.SIGINT, None)
        began_s = clock()
        await asyncio.wait_for(node.task, GUARD_S)
        assert clock() - began_s < 2 + standstill.ms / 1000
        assert await driver.closed() in {1012, 4001}


def test_drivers_get_different_reconnect_times() -> None:
    draw = itertools.cycle([0.0, 0.999, 0.5]).__next__
    for drivers in (1, 7, 1000, 5000):
        times = list(reconnect_times_ms(drivers, draw))
        assert len(set(times)) == drivers
        assert times == sorted(times)
        assert times[0] > 0
        assert times[-1] <= max(1000, drivers)


@pytest.mark.finding("B14")
async def test_refused_sockets_during_a_drain_share_a_log_line(node: RunningNode) -> None:
    node.node.services.draining = True
    with structlog.testing.capture_logs() as logs:
        for number in range(20):
            async with open_app(node.ws, node.token(f"d{number}")) as late:
                assert await late.closed() == 4001
        # One line at once and one per second, however slow the machine.
        await eventually(lambda: sum(line["reasons"]["draining"] for line in refused(logs)) == 20)
    assert len(refused(logs)) < 10
    assert await node.metric('mallard_ws_closed_total{code="4001"}') == 20


def refused(logs: list[Any]) -> list[Any]:
    return [line for line in logs if "draining" in line.get("reasons", ())]


@pytest.mark.finding("D13")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_drain_ends_waiting_requests(
    node: RunningNode,
    method: str,
    capfd: pytest.CaptureFixture[str],
    standstill: Standstill,
) -> None:
    job = (await node.submit())["id"]
    shop = node.bearer("shop", Role.ORDERS)
    if method == "GET":
        waiting = asyncio.create_task(node.http.get(f"/v1/jobs/{job}?wait_s=20", headers=shop))
    else:
        body = {
            "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
            "dropoff": HOME,
            "parcels": {"count": 1},
        }
        waiting = asyncio.create_task(
            node.http.post(
                "/v1/jobs?wait_s=20",
                json=body,
                headers={**shop, "Idempotency-Key": "wait"},
            )
        )
    # A request that only waits has given back its slot.
    limiter = node.node.limiter
    await eventually(lambda: limiter._waits.total() == 1 and not len(limiter.concurrency))
    clock = asyncio.get_running_loop().time
    began_s = clock()
    node.server.begin_exit()
    answer = await waiting
    assert clock() - began_s < 10 + standstill.ms / 1000
    assert answer.status_code == (200 if method == "GET" else 201)
    assert answer.json()["state"] == "queued"
    await asyncio.wait_for(node.task, GUARD_S)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.finding("D13")
async def test_request_that_outlasts_the_drain_is_answered_503(
    node: RunningNode,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    standstill: Standstill,
) -> None:
    async def never(_job: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(node.node.store.jobs, "get", never)
    path = "/v1/jobs/job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV"
    shop = node.bearer("shop", Role.ORDERS)
    waiting = asyncio.create_task(node.http.get(path, headers=shop))
    await eventually(lambda: node.server.server_state.tasks)
    clock = asyncio.get_running_loop().time
    began_s = clock()
    node.server.begin_exit()
    answer = await waiting
    assert clock() - began_s < 8 + standstill.ms / 1000
    assert answer.status_code == 503
    assert answer.json()["code"] == "draining"
    assert int(answer.headers["retry-after"]) > 0
    await asyncio.wait_for(node.task, GUARD_S)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.finding("D14")
async def test_unready_node_keeps_serving_for_the_linger(engine_node: NodeFactory) -> None:
    node = await engine_node(drain_linger_s=3)
    async with open_app(node.ws, node.token("d1")) as early:
        await early.hello()
        clock = asyncio.get_running_loop().time
        began_s = clock()
        node.server.begin_exit()
        await asyncio.sleep(0)
        assert (await node.http.get("/readyz")).status_code == 503
        # Orders, sockets and new connections are served as before.
        job = await node.submit()
        assert (await node.job(job["id"]))["id"] == job["id"]
        async with open_app(node.ws, node.token("d2")) as late:
            await late.hello()
            await late.receive("drain")
        assert clock() - began_s >= 2.9
        assert await early.closed() == 4001
    await asyncio.wait_for(node.task, GUARD_S)


@pytest.mark.finding("D14")
async def test_responses_of_a_leaving_node_close_connections(
    engine_node: NodeFactory,
) -> None:
    node = await engine_node(drain_linger_s=3)
    async with await RawClient.open(node.server.port) as client:
        get = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        assert "connection" not in (await client.ask(get)).headers
        node.server.begin_exit()
        await asyncio.sleep(0)
        assert (await client.ask(get)).headers["connection"] == "close"
        assert await client.rest() == b""


@pytest.mark.finding("D15", "A15")
async def test_keys_are_reloaded_completely_or_not_at_all(
    engine_node: NodeFactory, tmp_path: Path, places: Places
) -> None:
    secret = tmp_path / "secret-file"
    secret.write_text("1" * 64)
    node = await engine_node(secret=None, secret_file=str(secret))
    old = node.bearer("shop", Role.ORDERS)
    given = {"secret_file": str(secret), "data": str(tmp_path)}
    secret.write_text("2" * 64)
    await node.node.reload(lambda: (load_settings(given, {}), places))
    assert (await node.http.get("/v1/jobs", headers=old)).status_code == 401
    new = node.bearer("shop", Role.ORDERS)
    assert (await node.http.get("/v1/jobs", headers=new)).status_code == 200
    secret.write_text("")
    with pytest.raises(ConfigError):
        await node.node.reload(lambda: (load_settings(given, {}), places))
    assert (await node.http.get("/v1/jobs", headers=new)).status_code == 200
