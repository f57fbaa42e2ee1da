"""Hellos are served a few at a time, and sent away with a time if too many wait."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from mallard_client.driver.connection import _WELCOME_WITHIN_S
from mallard_engine.gateway.membership.drain import reconnect_times_ms
from mallard_engine.gateway.socket import connect_pace
from mallard_engine.gateway.socket.admission import Admission
from mallard_engine.gateway.socket.connect_pace import ConnectPace, NoTurn
from mallard_protocol.codes import Close
from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import GUARD_S, eventually


class Clock:
    now_s = 1.0

    def __call__(self) -> float:
        return self.now_s


async def test_hellos_are_served_a_few_at_a_time_in_order() -> None:
    pace, go_on = ConnectPace(), asyncio.Event()
    begun: list[int] = []

    async def hello(number: int) -> None:
        async with pace.turn():
            begun.append(number)
            await go_on.wait()

    hellos = [asyncio.create_task(hello(n)) for n in range(50)]
    await eventually(lambda: pace.waiting == 50 - connect_pace._AT_ONCE)
    assert begun == list(range(connect_pace._AT_ONCE))
    go_on.set()
    await asyncio.gather(*hellos)
    assert begun == list(range(50))
    assert pace.waiting == 0


async def test_driver_who_leaves_while_waiting_keeps_no_turn() -> None:
    pace, go_on = ConnectPace(), asyncio.Event()

    async def hello() -> None:
        async with pace.turn():
            await go_on.wait()

    hellos = [asyncio.create_task(hello()) for _ in range(connect_pace._AT_ONCE + 1)]
    await eventually(lambda: pace.waiting == 1)
    hellos[-1].cancel()
    await eventually(lambda: pace.waiting == 0)
    go_on.set()
    await asyncio.gather(*hellos[:-1])
    async with asyncio.timeout(GUARD_S), pace.turn():
        pass


async def test_advice_grows_with_the_load_and_is_spread() -> None:
    draws = iter([0.0, 1.0])
    pace = ConnectPace(draw=lambda: next(draws))
    assert not pace.is_full
    pace.waiting, pace.each_s = 5_000, 0.001
    assert not pace.is_full
    pace.each_s = 0.004
    assert pace.is_full
    assert pace.reconnect_after_ms() == 20_000
    assert pace.reconnect_after_ms() == 60_000


async def test_hello_whose_turn_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_pace, "_LONGEST_WAIT_S", 0.05)
    pace = ConnectPace()
    async with AsyncExitStack() as held:
        for _ in range(connect_pace._AT_ONCE):
            await held.enter_async_context(pace.turn())
        with pytest.raises(NoTurn):
            async with pace.turn():
                pass
        assert pace.waiting == 0
    async with asyncio.timeout(GUARD_S), pace.turn():
        pass


def test_hello_waits_for_its_turn_less_long_than_a_client() -> None:
    assert connect_pace._LONGEST_WAIT_S < _WELCOME_WITHIN_S


async def test_hellos_of_a_store_that_hangs_do_not_stretch_the_pace() -> None:
    clock = Clock()
    pace = ConnectPace(clock)
    for _ in range(200):
        clock.now_s += 2.0
        pace._note(is_busy=True)
    assert pace.each_s <= 0.05


async def test_pace_learns_from_hellos_that_waited() -> None:
    clock = Clock()
    pace = ConnectPace(clock)
    for _ in range(200):
        clock.now_s += 0.003
        pace._note(is_busy=True)
    assert 0.0025 < pace.each_s <= 0.003
    clock.now_s += 500
    pace._note(is_busy=False)
    assert pace.each_s <= 0.003


def test_drain_spreads_drivers_by_what_a_connect_takes() -> None:
    times = list(reconnect_times_ms(2_000, lambda: 0.5, 0.004))
    assert times[-1] >= 1_999 * 4
    assert list(reconnect_times_ms(2_000, lambda: 0.5))[-1] <= 2_001


async def test_hello_that_would_wait_long_is_sent_away_with_a_time(node: RunningNode) -> None:
    pace = node.node.services.pace
    pace.waiting, pace.each_s = 2_000, 0.01
    async with open_app(node.ws, node.token("d1")) as app:
        await app.send("hello", position=NEAR)
        assert (await app.receive("drain"))["reconnect_after_ms"] >= 20_000
        assert await app.closed() == Close.DRAINING
    assert b"mallard_hellos_postponed_total 1.0" in node.node.metrics.render()
    pace.waiting = 0
    async with open_app(node.ws, node.token("d1")) as app:
        assert (await app.hello(position=NEAR))["driver"] == "d1"


async def test_waiting_driver_is_sent_away_and_counts_as_authenticated(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_pace, "_LONGEST_WAIT_S", 1.0)
    pace, connections = node.node.services.pace, node.node.services.connections
    async with AsyncExitStack() as held:
        for _ in range(connect_pace._AT_ONCE):
            await held.enter_async_context(pace.turn())
        async with open_app(node.ws, node.token("d1")) as app:
            await app.send("hello", position=NEAR)
            await eventually(lambda: pace.waiting == 1)
            assert not connections._unauthenticated
            assert (await app.receive("drain"))["reconnect_after_ms"] > 1_000
            assert await app.closed() == Close.DRAINING
    assert pace.waiting == 0


async def test_token_revoked_while_its_hello_waits_ends_the_socket(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = node.node.services.pace
    async with AsyncExitStack() as held:
        for _ in range(connect_pace._AT_ONCE):
            await held.enter_async_context(pace.turn())
        async with open_app(node.ws, node.token("d1")) as app:
            await app.send("hello", position=NEAR)
            await eventually(lambda: pace.waiting == 1)
            monkeypatch.setattr(Admission, "is_revoked", lambda *_: True)
            for session in list(node.node.services.hub.sessions()):
                session.end_if_revoked()
            assert await app.closed() == Close.BAD_TOKEN


async def test_storm_of_drivers_is_served_whole(node: RunningNode) -> None:
    async def connects(number: int) -> bool:
        async with open_app(node.ws, node.token(f"storm{number}")) as app:
            return bool((await app.hello(position=NEAR))["state"] == "offline")

    assert all(await asyncio.gather(*map(connects, range(3 * connect_pace._AT_ONCE))))
    assert node.node.services.pace.waiting == 0
