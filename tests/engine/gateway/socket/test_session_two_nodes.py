"""Two nodes on one Redis act as one engine; a driver's newer socket replaces the older."""

import asyncio
import itertools
import time

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
        offer = await driver.receive("offer", within_s=2)
        await driver.ask("accept", offer=offer["offer"])
        assert (await other.job(job["id"]))["state"] == "assigned"
        await other.order(f"/v1/jobs/{job['id']}/cancel", reason="no longer wanted")
        gone = await driver.receive("job", within_s=2)
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
        received = await driver.receive("job", within_s=2)
        assert (received["state"], received["reason"]) == ("assigned", "assigned")
        await stand_at_the_gate()
        arrived = await driver.receive("job", within_s=2)
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
    async def connect() -> int:
        async with open_app(node.ws, node.token("d1")) as driver:
            await driver.send("hello")
            return await driver.closed(within_s=1)

    codes = await asyncio.gather(*(connect() for _ in range(8)), return_exceptions=True)
    assert codes.count(4507) == 7
    assert sum(isinstance(code, TimeoutError) for code in codes) == 1
