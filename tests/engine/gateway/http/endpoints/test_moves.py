"""Streams of `job.driver_moved`: who hears where a driver is, and when."""

import asyncio
import itertools
import time
from functools import partial
from typing import Any

import msgspec
import pytest

from mallard_engine.dispatch.etas import live_etas
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.events.sse import stream
from tests.support import eventually

EVENTS = "/v1/events"
OPS: dict[str, Any] = {"sub": "ops", "role": Role.OPERATOR}


async def test_driver_is_followed_while_it_drives_to_the_job(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_etas, "MOVED_EVERY_S", 0)
    moved = "job.driver_moved"
    async with (
        open_app(node.ws, node.token("driver-ann")) as driver,
        stream(node, EVENTS, market=PHOENIX, types=moved) as own,
        stream(node, EVENTS, sub="other", market=PHOENIX, types=moved) as other,
        stream(node, EVENTS, **OPS, market=PHOENIX, types=moved) as every,
        stream(node, EVENTS, market=PHOENIX, types="job.assigned") as assigned,
    ):
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        (taken,) = await assigned.events(1)
        at_ms = node.node.store.now_ms()
        await driver.send("location", fixes=[[at_ms, 33.31001, -111.9, 5, 90, 1]])
        (mine,), (theirs,) = await own.events(1), await every.events(1)
        assert (mine["job"], mine["driver"]) == (job["id"], taken["driver"])
        assert theirs["driver"] == "driver-ann"
        assert mine["data"].keys() == {"lat", "lon", "heading_deg", "at", "eta"}
        assert (mine["data"]["lat"], mine["data"]["heading_deg"]) == (33.31001, 90)
        assert mine["data"]["eta"]["dropoff"] is not None
        assert mine["id"] != taken["id"]
        assert mine["sequence"] != taken["sequence"]
        assert await other.nothing()
    # It is not replayed, and a client that resumes after it misses nothing.
    async with stream(node, f"/v1/jobs/{job['id']}/events") as story:
        assert moved not in await story.types(3)
    async with stream(node, EVENTS, market=PHOENIX, last=mine["id"]) as resumed:
        second = await node.submit()
        heard = await resumed.rest_until("job.created")
        assert heard[-1]["job"] == second["id"]


async def test_job_behind_another_stop_hears_no_move(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_etas, "MOVED_EVERY_S", 0)
    async with (
        open_app(node.ws, node.token("d1")) as driver,
        stream(node, EVENTS, market=PHOENIX, types="job.driver_moved") as moves,
        stream(node, EVENTS, market=PHOENIX, types="job.assigned") as assigned,
    ):
        await driver.go_online(position=NEAR)
        await node.submit()
        offer = await driver.receive("offer")
        (behind,) = (await driver.ask("accept", offer=offer["offer"]))["jobs"]
        await driver.progress(behind, "picked_up")
        job = await node.submit()
        await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        await assigned.events(2)
        for number in range(1, 4):
            at_ms = time.time_ns() // 1_000_000  # the node's clock may go back a little
            await driver.send("location", fixes=[[at_ms, 33.31 + number / 1e5, -111.9, 5, 0, 1]])
            (event,) = await moves.events(1)
            assert event["job"] == job["id"]
        assert await moves.nothing()


async def test_stream_shows_no_move_from_before_it_began(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node had read the moves of the market for an earlier stream."""
    monkeypatch.setattr(live_etas, "MOVED_EVERY_S", 0)
    store = node.node.store
    numbers = itertools.count(1)

    async def move(driver: DriverApp) -> float:
        lat = round(33.31 + next(numbers) / 1e5, 5)
        at_ms = time.time_ns() // 1_000_000  # the node's clock may go back a little
        await driver.send("location", fixes=[[at_ms, lat, -111.9, 5, 0, 1]])
        return lat

    async def keep_moving(driver: DriverApp) -> None:
        while True:
            await move(driver)
            await asyncio.sleep(0.05)

    async def is_stored(lat: float) -> bool:
        key = store.runner.keys[PHOENIX].key("moves")
        ((_, (_, entry)),) = await store.runner.link.call("XREVRANGE", key, "+", "-", "COUNT", 1)
        return bool(msgspec.msgpack.decode(entry)["lat"] == lat)

    async with open_app(node.ws, node.token("ann")) as driver:
        await driver.go_online(position=NEAR)
        await node.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        missed = 0.0
        for _ in range(2):
            async with stream(node, EVENTS, market=PHOENIX, types="job.driver_moved") as own:
                moving = asyncio.create_task(keep_moving(driver))
                (event,) = await own.events(1)
                moving.cancel()
                assert event["data"]["lat"] > missed
            await eventually(lambda: not node.node.event_tail._followers)
            missed = await move(driver)
            await eventually(partial(is_stored, missed))


async def test_moves_are_sent_rarely(node: RunningNode) -> None:
    async with (
        open_app(node.ws, node.token("ann")) as driver,
        stream(node, EVENTS, market=PHOENIX, types="job.driver_moved") as own,
    ):
        await driver.go_online(position=NEAR)
        await node.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        for number in range(10):
            at_ms = node.node.store.now_ms()
            await driver.send("location", fixes=[[at_ms, 33.311 + number / 1e5, -111.9, 5, 0, 1]])
            await asyncio.sleep(0.1)
        assert len(await own.events(1)) == 1
        assert await own.nothing()
