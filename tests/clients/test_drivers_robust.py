"""A driver client never dies silently: it continues and logs, or it stops and reports why."""

import asyncio
from typing import Any

import pytest

from mallard_client import (
    Connected,
    Connecting,
    Disconnected,
    DriverChanged,
    DriverClient,
    Ended,
    JobsChanged,
    Offer,
    Stopped,
    TokenTrouble,
    Welcome,
)
from mallard_client.driver.reporting.fix_sender import FixSender
from mallard_client.driver.session import AppSession
from mallard_protocol.lifecycle import Step, Wish
from tests.clients.conftest import MakeApp
from tests.clients.counterpart import Counterpart, a_job, an_offer
from tests.support import GUARD_S, eventually

JOB = "job_phoenix.1"


async def _next_offer(app: DriverClient) -> Offer:
    return await anext(app.offers())


def _raise(_event: object) -> None:
    raise RuntimeError("a fault of the app's")


def _cancelled(_event: object) -> None:
    raise asyncio.CancelledError


async def _raise_later(_event: object) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("a fault of the app's")


@pytest.mark.finding("C11")
@pytest.mark.parametrize("listener", [_raise, _cancelled, _raise_later])
async def test_failing_listener_does_not_affect_others(
    engine: Counterpart, app_of: MakeApp, caplog: pytest.LogCaptureFixture, listener: Any
) -> None:
    app = app_of()
    received: list[object] = []
    app.listen(listener)
    app.listen(received.append, Welcome, Offer)
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    assert (await asyncio.wait_for(anext(app.offers()), GUARD_S)).offer == "o1"
    await eventually(lambda: len(received) == 2)
    assert app.connected
    await eventually(lambda: "a listener failed" in caplog.text)


@pytest.mark.finding("C11")
@pytest.mark.parametrize(
    ("part", "loop"),
    [(FixSender, "run"), (AppSession, "send_reports"), (AppSession, "restate_wish")],
)
async def test_loop_that_fails_ends_everything_with_the_reason(
    engine: Counterpart,
    app_of: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: type,
    loop: str,
) -> None:
    fails = asyncio.Event()

    async def broken(*_: object) -> None:
        await fails.wait()
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(part, loop, broken)
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    await app.online()
    offers = asyncio.create_task(_next_offer(app))
    asking = asyncio.create_task(app.status(Wish.PAUSED))
    reporting = app.progress(JOB, Step.AT_MALL)
    events = app.events()
    closed = asyncio.create_task(app.closed())
    await eventually(lambda: app.unreported == 1)
    fails.set()

    for waiting in (offers, asking, reporting):
        with pytest.raises(Stopped, match="a fault of ours"):
            await asyncio.wait_for(waiting, GUARD_S)
    assert "a fault of ours" in str(await asyncio.wait_for(closed, GUARD_S))
    last = [event async for event in events][-1]
    assert isinstance(last, Ended)
    with pytest.raises(Stopped, match="a fault of ours"):
        await app.online()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.finding("C11")
async def test_cancelled_from_outside_ends_everything(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    await (await engine.accepted()).welcome()
    await app.online()
    waiting = asyncio.create_task(_next_offer(app))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task.get_name() == "driver-connection":
            task.cancel()
    with pytest.raises(Stopped):
        await asyncio.wait_for(waiting, GUARD_S)
    app.start()
    await (await engine.accepted()).welcome()
    await asyncio.wait_for(app.online(), GUARD_S)


@pytest.mark.finding("C11")
async def test_failure_on_a_message_ends_the_socket(
    engine: Counterpart, app_of: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    with monkeypatch.context() as patch:
        patch.setattr(AppSession, "received", lambda *_: 1 / 0)
        await socket.send("offer", **an_offer())
        await socket.closed()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    assert (await asyncio.wait_for(anext(app.offers()), GUARD_S)).offer == "o1"


async def test_client_that_was_not_started_blocks_no_caller(engine: Counterpart) -> None:
    app = DriverClient(engine.url, "a-token")
    with pytest.raises(Stopped, match="not started"):
        await app.online()
    assert [offer async for offer in app.offers()] == []


@pytest.mark.finding("C11")
async def test_stop_ends_requests_events_and_closed(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    await (await engine.accepted()).welcome()
    await app.online()
    events = app.events()
    asking = asyncio.create_task(app.status(Wish.AVAILABLE))
    closed = asyncio.create_task(app.closed())
    await asyncio.sleep(0)
    await app.stop()
    with pytest.raises(Stopped):
        await asyncio.wait_for(asking, GUARD_S)
    assert (await asyncio.wait_for(closed, GUARD_S)).by_app
    assert isinstance([event async for event in events][-1], Ended)
    assert [event async for event in app.events()] == []


@pytest.mark.finding("C19")
async def test_lifecycle_events_are_in_order(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    events = app.events(Connecting, Connected, Disconnected, DriverChanged, JobsChanged, Ended)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    await app.online()
    await socket.close(4002)
    socket = await engine.accepted()
    await socket.welcome(state="available")
    await app.online()
    await socket.close(4501, "who are you")
    received = [event async for event in events]
    assert [type(event).__name__ for event in received] == [
        "Connecting",
        "DriverChanged",
        "JobsChanged",
        "Connected",
        "Disconnected",
        "Connecting",
        "DriverChanged",
        "JobsChanged",
        "Connected",
        "Ended",
    ]
    assert [event.attempt for event in received if isinstance(event, Connecting)] == [1, 1]
    (lost,) = (event for event in received if isinstance(event, Disconnected))
    assert (lost.code, lost.http_status) == (4002, None)


@pytest.mark.finding("C19")
async def test_slow_reader_of_events_costs_bounded_memory(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    events = app.events()
    for number in range(1_500):
        app._announcer.emit(TokenTrouble(str(number)))
    assert events.dropped >= 500
    first = await anext(events)
    assert isinstance(first, TokenTrouble)
    assert int(first.reason) >= 500
