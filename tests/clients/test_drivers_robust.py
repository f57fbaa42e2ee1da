"""A driver client never dies silently: it goes on and logs, or it stops and says so to everyone."""

import asyncio
import ssl
from typing import Any

import pytest

from clients import (
    Connected,
    Connecting,
    Disconnected,
    DriverChanged,
    DriverClient,
    Ended,
    Event,
    JobsChanged,
    Liveness,
    NoAnswer,
    Offer,
    QueueFull,
    ReportSettled,
    Stopped,
    TokenTrouble,
    Welcome,
)
from clients.session import AppSession
from clients.tokens import TokenSource
from protocol.lifecycle import Step, Wish
from tests.clients.conftest import CLOCK_MS, UPTIME_MS, MakeApp
from tests.clients.counterpart import SERVER_TIME_MS, Counterpart, a_job, an_offer
from tests.clients.waits import Waits, settled
from tests.support import eventually

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
async def test_listener_that_raises_harms_nobody_else(
    engine: Counterpart, app_of: MakeApp, caplog: pytest.LogCaptureFixture, listener: Any
) -> None:
    app = app_of()
    heard: list[object] = []
    app.listen(listener)
    app.listen(heard.append, Welcome, Offer)
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    assert (await asyncio.wait_for(anext(app.offers()), 5)).offer == "o1"
    await eventually(lambda: len(heard) == 2)
    assert app.connected
    await eventually(lambda: "a listener failed" in caplog.text)


@pytest.mark.finding("C11")
@pytest.mark.parametrize("loop", ["send_fixes", "send_reports", "restate_wish"])
async def test_loop_that_fails_ends_everything_with_the_reason(
    engine: Counterpart,
    app_of: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loop: str,
) -> None:
    fails = asyncio.Event()

    async def broken(*_: object) -> None:
        await fails.wait()
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(AppSession, loop, broken)
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
            await asyncio.wait_for(waiting, 5)
    assert "a fault of ours" in str(await asyncio.wait_for(closed, 5))
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
        await asyncio.wait_for(waiting, 5)
    app.start()
    await (await engine.accepted()).welcome()
    await asyncio.wait_for(app.online(), 5)


@pytest.mark.finding("C11")
async def test_message_that_the_client_fails_with_costs_a_socket(
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
    assert (await asyncio.wait_for(anext(app.offers()), 5)).offer == "o1"


@pytest.mark.finding("C11")
async def test_untrusted_server_is_tried_again(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    secure = engine.url.replace("ws://", "wss://")
    app = app_of(url=[secure, engine.url], tls=None)
    await (await engine.accepted()).welcome()
    await asyncio.wait_for(app.online(), 5)
    assert len(waits.seconds) == 1


@pytest.mark.finding("C11")
async def test_host_that_does_not_resolve_is_tried_again(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of(url=["ws://nowhere.invalid:1", f"ws://{'a' * 80}.invalid:1", engine.url])
    events = app.events(Disconnected)
    await (await engine.accepted()).welcome()
    await asyncio.wait_for(app.online(), 5)
    assert isinstance(await anext(events), Disconnected)


@pytest.mark.finding("C11")
async def test_wrong_tls_context_is_no_silence(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of(tls=ssl.create_default_context())  # of no use for ws://
    events = app.events(Disconnected)
    event = await asyncio.wait_for(anext(events), 5)
    assert isinstance(event, Disconnected)
    assert "ssl" in event.reason
    assert not app.connected


@pytest.mark.finding("C11")
@pytest.mark.parametrize("given", [None, b"bytes", 7, ""])
async def test_provider_that_gives_no_token_is_asked_again(
    engine: Counterpart, app_of: MakeApp, given: object
) -> None:
    answers = iter([given, "a-token"])
    app = app_of(lambda: next(answers))
    troubles = app.events(TokenTrouble)
    assert (await (await engine.accepted()).welcome())["token"] == "a-token"
    assert isinstance(await anext(troubles), TokenTrouble)


@pytest.mark.finding("C11")
async def test_provider_that_is_cancelled_inside_is_asked_again(
    engine: Counterpart, app_of: MakeApp
) -> None:
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return "a-token"

    app_of(provider)
    assert (await (await engine.accepted()).welcome())["token"] == "a-token"


async def test_nothing_waits_for_a_client_that_was_not_started(engine: Counterpart) -> None:
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
        await asyncio.wait_for(asking, 5)
    assert (await asyncio.wait_for(closed, 5)).by_app
    assert isinstance([event async for event in events][-1], Ended)
    assert [event async for event in app.events()] == []


@pytest.mark.finding("C19")
async def test_lifecycle_is_told_in_order(engine: Counterpart, app_of: MakeApp) -> None:
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
    told = [event async for event in events]
    assert [type(event).__name__ for event in told] == [
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
    assert [event.attempt for event in told if isinstance(event, Connecting)] == [1, 1]
    (lost,) = (event for event in told if isinstance(event, Disconnected))
    assert (lost.code, lost.http_status) == (4002, None)


@pytest.mark.finding("C19")
async def test_reconnecting_in_counts_down(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of()
    assert app.reconnecting_in is None
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    waits.passing.clear()
    await socket.send("drain", reconnect_after_ms=4_000)
    await socket.close(4001)
    await eventually(lambda: app.reconnecting_in == 4.0)
    waits.passing.set()
    await (await engine.accepted()).welcome()
    await app.online()
    assert app.reconnecting_in is None


@pytest.mark.finding("C19")
async def test_slow_reader_of_events_costs_bounded_memory(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    events = app.events()
    for number in range(1_500):
        app._announcer.tell(TokenTrouble(str(number)))
    assert events.dropped >= 500
    first = await anext(events)
    assert isinstance(first, TokenTrouble)
    assert int(first.reason) >= 500


@pytest.mark.finding("C17")
async def test_hint_cuts_the_wait_but_not_a_drains(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    uptime_ms = UPTIME_MS
    app = app_of(uptime=lambda: uptime_ms)
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    waits.passing.clear()
    socket.abort()
    await eventually(lambda: app.reconnecting_in is not None)
    app.network_is_back()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()

    await socket.send("drain", reconnect_after_ms=4_000)
    await socket.close(4001)
    await eventually(lambda: app.reconnecting_in is not None)
    uptime_ms += 2_000  # a hint right after another one counts for nothing
    app.network_is_back()
    await settled()
    assert app.reconnecting_in == 2.0


@pytest.mark.finding("C17")
async def test_hints_in_a_row_make_no_storm(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of(url="ws://127.0.0.1:9", sleep=asyncio.sleep)
    tries = app.events(Connecting)
    for _ in range(200):
        app.network_is_back()
        await asyncio.sleep(0.001)
    await app.stop()
    assert len([event async for event in tries]) < 8


@pytest.mark.finding("C17")
async def test_socket_that_answers_pings_is_kept(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of(liveness=Liveness(answer_s=0.05, idle_s=0.05, pong_s=2), request_timeout_s=0.5)
    socket = await engine.accepted()
    await socket.welcome()
    with pytest.raises(NoAnswer):
        await app.status(Wish.AVAILABLE)
    assert app.connected
    await socket.reply(await socket.read("status"))
    await eventually(lambda: app.state == "available")


@pytest.mark.finding("C16")
async def test_provider_is_asked_ever_more_rarely_when_useless() -> None:
    waited: list[float] = []
    calls = 0

    class Clock:
        now_ms = 0

        def uptime_ms(self) -> int:
            return self.now_ms

    clock = Clock()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.now_ms += round(seconds * 1000)

    def provider() -> str:
        nonlocal calls
        calls += 1
        return "the same"

    source = TokenSource(provider, clock, sleep)  # type: ignore[arg-type]
    while clock.now_ms < 18_000:
        await source.fresh()
    assert calls <= 6
    for _ in range(8):
        await source.fresh()
    assert waited[:5] == [1, 2, 4, 8, 16]
    assert max(waited) == 30


@pytest.mark.finding("C16")
async def test_expired_token_given_again_is_said_and_not_sent(
    engine: Counterpart, app_of: MakeApp
) -> None:
    answers = iter(["old", "old", "old", "new"])
    app = app_of(lambda: next(answers))
    troubles = app.events(TokenTrouble)
    socket = await engine.accepted()
    assert (await socket.welcome())["token"] == "old"
    await socket.close(4005)
    assert (await (await engine.accepted()).welcome())["token"] == "new"
    for _ in range(2):
        trouble = await anext(troubles)
        assert isinstance(trouble, TokenTrouble)
        assert "expired token again" in trouble.reason


@pytest.mark.finding("C19")
async def test_words_do_for_steps_and_wishes(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    events = app.events(ReportSettled)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    going = asyncio.create_task(app.status("paused"))
    await socket.reply(await socket.read("status"), state="on_run")
    await going
    report = app.progress(JOB, "picked_up")
    request = await socket.read("progress")
    assert request["step"] == "picked_up"
    await socket.reply(request, state="on_run", job=JOB, job_state="picked_up", attempt=1)
    await report
    settled = await anext(events)
    assert isinstance(settled, ReportSettled)
    assert (settled.job, settled.step, settled.refusal) == (JOB, Step.PICKED_UP, None)


@pytest.mark.finding("C11")
@pytest.mark.parametrize(
    "wrong",
    [{"step": "flown"}, {"reason": "x" * 501}, {"reason": 7}, {"attempt": -1}, {"proof": "photo"}],
)
async def test_report_that_no_engine_takes_is_refused_at_once(
    engine: Counterpart, app_of: MakeApp, wrong: dict[str, Any]
) -> None:
    app = app_of()
    await (await engine.accepted()).welcome(state="on_run", jobs=[a_job()])
    await app.online()
    with pytest.raises(ValueError, match=r".+"):
        app.progress(JOB, **{"step": "at_mall", **wrong})
    assert app.unreported == 0


async def test_reports_are_bounded_and_none_is_dropped(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    for _ in range(1_000):
        app.progress(JOB, "at_mall", attempt=1)
    with pytest.raises(QueueFull):
        app.progress(JOB, "at_mall", attempt=1)
    assert app.unreported == 1_000


@pytest.mark.finding("C2")
async def test_unknown_heading_speed_and_accuracy_cost_no_place(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    nan, inf = float("nan"), float("inf")
    assert app.location(33.3, -111.9, acc_m=65, heading_deg=-1, speed_mps=-1, at_ms=CLOCK_MS + 0.9)
    assert app.location(33.3, -111.9, acc_m=5, heading_deg=nan, speed_mps=inf)
    assert app.location(33.3, -111.9, acc_m=-1, heading_deg=361, speed_mps=1_001)
    assert app.location(33.3, -111.9)
    for lat, lon in ((nan, 0), (91, 0), (0, -181), (inf, 0)):
        assert not app.location(lat, lon, acc_m=5)
    assert app.fixes_dropped == 4
    socket = await engine.accepted()
    await socket.welcome()
    fixes = (await socket.read("location"))["fixes"]
    assert [fix[1:] for fix in fixes] == [
        [33.3, -111.9, 65, None, None],
        [33.3, -111.9, 5, None, None],
        [33.3, -111.9, None, None, None],
        [33.3, -111.9, None, None, None],
    ]
    assert all(isinstance(fix[0], int) for fix in fixes)


@pytest.mark.finding("C13")
async def test_reading_from_the_future_counts_as_now(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    app.location(33.3, -111.9, acc_m=5, at_ms=CLOCK_MS + 3_600_000)
    socket = await engine.accepted()
    await socket.welcome()
    assert (await socket.read("location"))["fixes"][0][0] == SERVER_TIME_MS


@pytest.mark.finding("C13")
async def test_seconds_left_are_by_the_servers_clock(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer(expires_ms=SERVER_TIME_MS + 12_000))
    offer = await anext(app.offers())
    assert app.seconds_left(offer) == 12
    # A later stamp shows that the phone slept meanwhile.
    fields = an_offer("o2", 2, server_time_ms=SERVER_TIME_MS + 5_000)
    await socket.send("offer", **{**fields, "expires_ms": SERVER_TIME_MS + 12_000})
    assert app.seconds_left(await anext(app.offers())) == 7
    assert app.seconds_left(offer) == 0


@pytest.mark.finding("C19")
async def test_pace_ends_the_wait_for_the_next_fix(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(location_ms=20_000)
    await app.online()
    waits.passing.clear()
    app.location(33.3, -111.9, acc_m=5)
    await socket.read("location")
    app.location(33.4, -111.9, acc_m=5)
    await socket.send("pace", location_ms=2_000)
    await eventually(lambda: app.location_ms == 2_000)
    assert (await socket.read("location"))["fixes"][0][1] == 33.4


@pytest.mark.finding("C11")
async def test_redirect_is_not_followed_with_the_token(
    engine: Counterpart, app_of: MakeApp
) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n"
        writer.write(f"{head}Location: {engine.url}/v1/driver\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        app = app_of(url=f"ws://127.0.0.1:{port}")
        refusals = app.events(Disconnected)
        for _ in range(3):
            refused: Event = await asyncio.wait_for(anext(refusals), 5)
            assert isinstance(refused, Disconnected)
            assert refused.http_status == 307
        assert engine._sockets.empty()
