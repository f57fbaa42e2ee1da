"""Pushes between a hello and its welcome are neither lost nor sent twice."""

import asyncio
from typing import Any

import pytest

from mallard_engine.ports import DriverSnapshot, JobRef
from tests.engine.gateway.conftest import MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import eventually


async def test_newer_hello_during_registration_replaces_the_socket(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second socket registers before the first one gets Redis's reply."""
    dispatcher = node.node.dispatcher
    hello = dispatcher.drivers.hello
    registered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> Any:
        answer = await hello(*args, **kwargs)
        if not registered.is_set():
            registered.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(dispatcher.drivers, "hello", slow)
    async with (
        open_app(node.ws, node.token("d1")) as first,
        open_app(node.ws, node.token("d1")) as new,
    ):
        await first.send("hello")
        await registered.wait()
        await new.hello()
        go_on.set()
        assert await first.closed() == 4507
        assert (await new.ask("status", state="paused"))["state"] == "paused"


@pytest.mark.parametrize("call", ["hello", "snapshot"])
async def test_push_before_welcome_is_sent_once(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Pushed after the hello script, or after the snapshot that a hello with parcels needs."""
    job = await node.submit()
    owner: Any = (node.node.dispatcher if call == "hello" else node.node.store).drivers
    original = getattr(owner, call)

    async def then_assigned(*args: Any, **kwargs: Any) -> Any:
        answer = await original(*args, **kwargs)
        await node.node.dispatcher.orders.assign(JobRef(job["id"], MALL), "d1", "ops")
        return answer

    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
    monkeypatch.setattr(owner, call, then_assigned)
    async with open_app(node.ws, node.token("d1")) as driver:
        held = {"job": job["id"], "attempt": 1, "state": "assigned"}
        more = {"holds": [held]} if call == "snapshot" else {}
        welcome = await driver.hello(position=NEAR, **more)
        assert welcome["jobs"] == []
        pushed = await driver.receive("job")
        assert (pushed["job"], pushed["seq"]) == (job["id"], welcome["seq"] + 1)
        assert await driver.received("job") == []


async def ask_hello(node: RunningNode) -> None:
    """Ask the only app for another hello, as after lost writes."""
    (session,) = node.node.hub.sessions()
    session._owes_hello = True  # type: ignore[attr-defined]
    await session.ask_hello()


@pytest.mark.finding("B3")
async def test_push_before_a_further_welcome_follows_it(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The welcome shows the state before the push, and the app believes it."""
    job = await node.submit()
    ref, orders = JobRef(job["id"], MALL), node.node.dispatcher.orders
    drivers = node.node.store.drivers
    snapshot = drivers.snapshot

    async def then_cancelled(market: str, driver: str) -> DriverSnapshot:
        found = await snapshot(market, driver)
        await orders.cancel(ref, "shop", "enough")
        return found

    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
        await orders.assign(ref, "d1", "ops")
        await driver.receive("job")
        await ask_hello(node)
        assert (await driver.receive("welcome"))["say_hello"]
        monkeypatch.setattr(drivers, "snapshot", then_cancelled)
        await driver.send("hello")
        welcome = await driver.receive("welcome")
        assert [held["job"] for held in welcome["jobs"]] == [job["id"]]
        assert not driver._kept
        pushed = await driver.receive("job")
        assert (pushed["reason"], pushed["seq"]) == ("cancelled", welcome["seq"] + 1)


async def test_welcome_after_the_end_of_its_socket_keeps_nothing(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await node.submit()
    drivers = node.node.store.drivers
    read, go_on = asyncio.Event(), asyncio.Event()
    snapshot = drivers.snapshot

    async def slow(market: str, driver: str) -> DriverSnapshot:
        found = await snapshot(market, driver)
        read.set()
        await go_on.wait()
        return found

    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
        await node.node.dispatcher.orders.assign(JobRef(job["id"], MALL), "d1", "ops")
        await driver.receive("job")
        monkeypatch.setattr(drivers, "snapshot", slow)
        asking = asyncio.create_task(ask_hello(node))
        await read.wait()
    await eventually(lambda: not node.node.hub.markets)
    go_on.set()
    await asking
    assert len(node.node.dispatcher._plans.live) == 0


@pytest.mark.finding("B3")
async def test_lost_push_causes_a_welcome(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        first = await driver.hello(position=NEAR)
        job = await node.submit()
        lost: list[object] = []
        with monkeypatch.context() as deaf:
            deaf.setattr(node.node.store.runner, "deliver", lambda _, pushes: lost.extend(pushes))
            await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
            await eventually(lambda: lost)
        await node.order(f"/v1/jobs/{job['id']}/unassign", reason="mistake")
        again = await driver.receive("welcome")
        assert (again["jobs"], again["seq"] > first["seq"]) == ([], True)
        assert "say_hello" not in again
        assert (await driver.ask("status", state="paused"))["state"] == "paused"
