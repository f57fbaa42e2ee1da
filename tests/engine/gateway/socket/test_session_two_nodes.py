"""Two nodes on one Redis act as one engine; a driver's newer socket replaces the older."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import pytest

from mallard_engine.ports import PushEntry, StoreUnavailable
from tests.engine.gateway.conftest import MALL, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import eventually


async def test_job_of_one_node_is_offered_on_the_other(
    engine_node: NodeFactory,
) -> None:
    one, other = await engine_node(), await engine_node()
    async with open_app(one.ws, one.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await other.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        assert (await other.job(job["id"]))["state"] == "assigned"
        await other.order(f"/v1/jobs/{job['id']}/cancel", reason="no longer wanted")
        gone = await driver.receive("job")
        assert (gone["state"], gone["reason"]) == ("cancelled", "cancelled")
        # The driver's pushes are numbered without a gap, whichever node sent them.
        assert gone["seq"] == offer["seq"] + 1


async def test_operator_on_another_node_assigns_a_job(
    engine_node: NodeFactory,
) -> None:
    one, other = await engine_node(), await engine_node()
    gate = next(iter(one.node.places.mall(MALL).gates.values()))

    async def stand_at_the_gate() -> None:
        await driver.send("location", fixes=[[next(times), gate.lat, gate.lon, 5.0, None, None]])
        await driver.ask("status", state="paused")  # it takes effect after the fix

    times = itertools.count(int(time.time() * 1000) - 60_000, 1_000)
    async with open_app(one.ws, one.token("d1")) as driver:
        await driver.hello()
        # The other node sees the driver, without jobs.
        await stand_at_the_gate()
        job = await other.submit()
        await other.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        received = await driver.receive("job")
        assert (received["state"], received["reason"]) == ("assigned", "assigned")
        await stand_at_the_gate()
        arrived = await driver.receive("job")
        assert (arrived["state"], arrived["reason"]) == ("at_mall", "arrived")


async def test_newer_socket_on_the_same_node_replaces_the_older(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as old:
        await old.go_online(position=NEAR)
        async with open_app(node.ws, node.token("d1")) as new:
            welcome = await new.hello()
            assert welcome["state"] == "available"
            assert await old.closed() == 4507
            await node.submit()
            await new.receive("offer")


async def test_newer_socket_on_another_node_replaces_the_older(engine_node: NodeFactory) -> None:
    one, other = await engine_node(), await engine_node()
    async with open_app(one.ws, one.token("d1")) as old:
        await old.go_online(position=NEAR)
        async with open_app(other.ws, other.token("d1")) as new:
            await new.hello()
            assert await old.closed() == 4507
            await eventually(lambda: len(one.node.hub) == 0)
            # The late close of the old socket does not remove the driver from matching.
            await one.submit()
            await new.receive("offer")


async def test_many_hellos_at_once_leave_one_socket(node: RunningNode) -> None:
    async with AsyncExitStack() as open_sockets:
        opening = (
            open_sockets.enter_async_context(open_app(node.ws, node.token("d1"))) for _ in range(8)
        )
        apps = await asyncio.gather(*opening)
        await asyncio.gather(*(app.send("hello") for app in apps))
        closing = {asyncio.create_task(app.closed()): app for app in apps}
        await eventually(lambda: sum(each.done() for each in closing) == 7)
        (last,) = (each for each in closing if not each.done())
        last.cancel()
        await asyncio.wait([last])
        assert {each.result() for each in closing if each is not last} == {4507}
        assert (await closing[last].ask("status", state="paused"))["type"] == "reply"


async def test_push_trimmed_before_it_is_read_causes_a_welcome(
    engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await engine_node(), await engine_node()
    store, may_read = one.node.store, asyncio.Event()
    read = store.pushes.read

    async def late(cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        await may_read.wait()
        return await read(cursors, block_ms)

    monkeypatch.setattr(store.pushes, "read", late)
    async with open_app(one.ws, one.token("d1")) as driver:
        first = await driver.hello(position=NEAR)
        job = await other.submit()
        await other.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        key = store.runner.keys["phoenix"].pushes(one.node.id)
        assert await store.runner.link.call("DEL", key) == 1
        may_read.set()
        await one.order(f"/v1/jobs/{job['id']}/unassign", reason="mistake")
        again = await driver.receive("welcome")
        assert (again["jobs"], again["seq"] > first["seq"]) == ([], True)


async def test_pushes_of_two_nodes_arrive_in_order_though_one_is_late(
    engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await engine_node(), await engine_node()
    read, is_late = one.node.store.pushes.read, asyncio.Event()

    async def late(cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        entries = await read(cursors, block_ms)
        if entries:
            await is_late.wait()
        return entries

    monkeypatch.setattr(one.node.store.pushes, "read", late)
    async with open_app(one.ws, one.token("d1")) as driver:
        welcome = await driver.hello(position=NEAR)
        job = await other.submit()
        await other.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        await one.order(f"/v1/jobs/{job['id']}/unassign", reason="mistake")
        assert await driver.received("job") == []
        is_late.set()
        pushes = [await driver.receive("job") for _ in range(2)]
        assert [push["seq"] - welcome["seq"] for push in pushes] == [1, 2]
        assert await driver.received("welcome") == []


async def test_node_reads_no_pushes_of_another_nodes_drivers(
    engine_node: NodeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await engine_node(), await engine_node()
    names: set[str] = set()
    read = other.node.store.pushes.read

    async def noted(cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        entries = await read(cursors, block_ms)
        names.update(entry.push.driver for entry in entries)
        return entries

    monkeypatch.setattr(other.node.store.pushes, "read", noted)
    async with (
        open_app(one.ws, one.token("d1")) as here,
        open_app(other.ws, other.token("d2")) as d2,
    ):
        await here.go_online(position=NEAR)
        await d2.hello(position=NEAR)
        await one.submit()
        offer = await here.receive("offer")
        await here.ask("accept", offer=offer["offer"])
        job = await one.submit()
        await one.order(f"/v1/jobs/{job['id']}/assign", driver="d2")
        await d2.receive("job")
    assert names == {"d2"}


@pytest.mark.parametrize("loss", ["broken link", "cancelled call"])
async def test_push_of_a_lost_reply_causes_a_welcome(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    """The driver is not asked to say hello, and nobody else gets a welcome."""
    runner = node.node.store.runner
    async with open_app(node.ws, node.token("d1")) as d1, open_app(node.ws, node.token("d2")) as d2:
        await d1.hello(position=NEAR)
        await d2.hello(position=NEAR)
        job = await node.submit()
        lost: list[object] = []
        with monkeypatch.context() as deaf:
            deaf.setattr(runner, "deliver", lambda _, pushes: lost.extend(pushes))
            await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        assert lost
        if loss == "broken link":
            wire = runner.link.primaries()[0]._wire
            assert wire is not None
            wire.cut(StoreUnavailable("a test"))
        else:
            call = asyncio.create_task(node.node.store.deadlines.driver_due("phoenix", "d2"))
            await asyncio.sleep(0)
            call.cancel()
        again = await d1.receive("welcome")
        assert [held["job"] for held in again["jobs"]] == [job["id"]]
        assert "say_hello" not in again
        assert await d2.received("welcome") == []
