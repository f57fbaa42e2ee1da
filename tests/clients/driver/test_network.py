"""How a driver client finds an engine again: bad addresses, waits between tries, hints, pings."""

import asyncio
import ssl

import pytest

from mallard_client import Connecting, Disconnected, Event, Liveness, NoAnswer
from mallard_protocol.lifecycle import Wish
from tests.clients.conftest import UPTIME_MS, MakeApp
from tests.clients.counterpart import Counterpart
from tests.clients.waits import Waits, settled
from tests.support import GUARD_S, eventually


@pytest.mark.finding("C11")
async def test_untrusted_server_is_tried_again(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    secure = engine.url.replace("ws://", "wss://")
    app = app_of(url=[secure, engine.url], tls=None)
    await (await engine.accepted()).welcome()
    await asyncio.wait_for(app.online(), GUARD_S)
    assert len(waits.seconds) == 1


@pytest.mark.finding("C11")
async def test_host_that_does_not_resolve_is_tried_again(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of(url=["ws://nowhere.invalid:1", f"ws://{'a' * 80}.invalid:1", engine.url])
    events = app.events(Disconnected)
    await (await engine.accepted()).welcome()
    await asyncio.wait_for(app.online(), GUARD_S)
    assert isinstance(await anext(events), Disconnected)


@pytest.mark.finding("C11")
async def test_wrong_tls_context_is_not_reported_as_silence(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of(tls=ssl.create_default_context())  # of no use for ws://
    events = app.events(Disconnected)
    event = await asyncio.wait_for(anext(events), GUARD_S)
    assert isinstance(event, Disconnected)
    assert "ssl" in event.reason
    assert not app.connected


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


async def test_drain_in_place_of_a_welcome_says_when_to_reconnect(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    waits.passing.clear()
    app = app_of()
    socket = await engine.accepted()
    await socket.read("hello")
    await socket.send("drain", reconnect_after_ms=12_000)
    await socket.close(4001)
    await eventually(lambda: app.reconnecting_in == 12.0)
    waits.passing.set()
    await (await engine.accepted()).welcome()
    await app.online()


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
async def test_repeated_hints_do_not_cause_a_reconnect_storm(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of(url="ws://127.0.0.1:9", sleep=asyncio.sleep)
    tries = app.events(Connecting)
    for _ in range(200):
        app.network_is_back()
        await asyncio.sleep(0.001)
    await app.stop()
    assert len([event async for event in tries]) < 8


@pytest.mark.finding("C17")
async def test_socket_that_answers_pings_is_kept(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of(liveness=Liveness(answer_s=0.05, idle_s=0.05, pong_s=20), request_timeout_s=0.5)
    socket = await engine.accepted()
    await socket.welcome()
    with pytest.raises(NoAnswer):
        await app.status(Wish.AVAILABLE)
    assert app.connected
    await socket.reply(await socket.read("status"))
    await eventually(lambda: app.state == "available")


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
            refused: Event = await asyncio.wait_for(anext(refusals), GUARD_S)
            assert isinstance(refused, Disconnected)
            assert refused.http_status == 307
        assert engine._sockets.empty()
