"""The Python clients against a real node over a bad network."""

import asyncio
import signal
import time
import uuid
from collections.abc import Callable

import pytest

from mallard_client import DriverClient, Liveness, OrderClient, TokenTrouble
from tests.clients.fault_proxy import FaultProxy
from tests.clients.waits import Waits
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.support import GUARD_S, eventually


def _token(**claims: object) -> str:
    return make_token(f"client-{uuid.uuid4().hex[:12]}", "driver", market="phoenix", **claims)


@pytest.mark.finding("C17")
async def test_half_open_socket_is_replaced(node: Node, place: Place) -> None:
    async with (
        FaultProxy.to(node.port) as network,
        DriverClient(
            network.url, _token(), liveness=Liveness(answer_s=0.5, idle_s=60, pong_s=1)
        ) as app,
    ):
        lat, lon = place.north(0)
        app.location(lat, lon, acc_m=5)
        await app.status("available")
        network.set("freeze")
        reply = await asyncio.wait_for(app.status("paused"), 15)
        assert reply.state == "paused"
        assert network.accepted == 2


@pytest.mark.finding("C17")
async def test_node_answers_the_pings_of_an_idle_client(node: Node) -> None:
    async with (
        FaultProxy.to(node.port) as network,
        DriverClient(
            network.url, _token(), liveness=Liveness(answer_s=60, idle_s=0.1, pong_s=5)
        ) as app,
    ):
        await app.online()
        welcomed = network.to_app
        # The node has nothing to say to an idle driver within `ping_ms`: these are pongs.
        await eventually(lambda: network.to_app >= welcomed + 5)
        assert app.connected
        assert network.accepted == 1


@pytest.mark.finding("C16")
async def test_token_provider_is_not_called_in_a_loop(node: Node) -> None:
    token = _token(exp=time.time() + 50)
    asked = 0

    def provider() -> str:
        nonlocal asked
        asked += 1
        return token

    waits = Waits()
    waits.passing.clear()
    async with DriverClient(node.socket_url, provider, sleep=waits.sleep) as app:
        await app.online()
        # Every further call of the provider lies behind a wait; the node sends no other reminder.
        await eventually(lambda: any(seconds >= 0.5 for seconds in waits.seconds))
        for wish in ("paused", "offline", "paused"):
            await app.status(wish)
        assert asked == 1
        waits.passing.set()
        troubles = app.events(TokenTrouble)
        assert isinstance(await asyncio.wait_for(anext(troubles), GUARD_S), TokenTrouble)
        assert app.connected


@pytest.mark.finding("D13")
async def test_wait_continues_after_its_node_is_lost(
    node: Node, start: Callable[..., Node], place: Place
) -> None:
    going = start()
    async with (
        FaultProxy.to(going.port) as network,
        OrderClient(
            # Servers are asked in turn: the second call, the wait, is at the node that goes.
            [node.url, network.url.replace("ws:", "http:")],
            make_token(f"shop-{uuid.uuid4().hex[:12]}", "orders"),
        ) as orders,
    ):
        job = await orders.submit(place.order())
        asked = network.to_engine
        waiting = asyncio.create_task(orders.wait(job.id, for_end=True, timeout_s=2 * GUARD_S))
        await eventually(lambda: network.to_engine > asked)
        going.process.send_signal(signal.SIGTERM)
        await eventually(lambda: going.process.poll() is not None)
        assert not waiting.done()
        await orders.cancel(job.id)
        assert (await asyncio.wait_for(waiting, GUARD_S)).state == "cancelled"
