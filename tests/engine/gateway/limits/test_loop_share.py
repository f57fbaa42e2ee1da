"""Unauthenticated clients share a part of each event-loop iteration."""

import asyncio
import itertools
from typing import Any

import msgpack
import pytest
from websockets.frames import Frame, Opcode

from mallard_engine.gateway.http.transport.framing import Framing
from mallard_engine.gateway.limits.loop_share import LoopShare
from mallard_engine.gateway.socket.transport import protocol as socket_protocol
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.raw_client import HANDSHAKE, RawClient
from tests.support import eventually


async def test_work_beyond_the_share_waits() -> None:
    clock = itertools.count(0, 0.001)  # each piece of work takes 1 ms
    share = LoopShare(0.002, clock=lambda: next(clock))
    done: list[int] = []
    turns: list[int] = []
    for number in range(10):
        share.run("a", lambda number=number: done.append(number))  # type: ignore[misc]
    while len(done) < 10:
        turns.append(len(done))
        await asyncio.sleep(0)
    assert done == list(range(10))
    assert turns == [2, 4, 6, 8]


async def test_addresses_are_served_round_robin() -> None:
    share = LoopShare(0.0001, clock=itertools.count().__next__)
    done: list[str] = []
    share.charge(1.0)
    for address in ("a", "a", "a", "a", "b"):
        share.later(address, lambda address=address: done.append(address))  # type: ignore[misc]
    share.charge(-1.0)
    share._share_s = 100.0
    await eventually(lambda: len(done) == 5)
    assert done.index("b") == 1


async def test_overrun_is_deducted_from_later_iterations() -> None:
    share = LoopShare(0.002)
    share.charge(0.02)
    done: list[str] = []
    share.run("a", lambda: done.append("a"))
    turns = 0
    while not done:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 9


async def test_failing_work_does_not_stop_the_rest() -> None:
    share = LoopShare()
    done: list[str] = []

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        share.run("a", fail)
    share.run("a", lambda: done.append("a"))
    await eventually(lambda: done == ["a"])


@pytest.mark.finding("A6")
async def test_first_frames_of_many_sockets_share_the_budget(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen unauthenticated clients send frames at once; a driver's frame is handled between."""
    done: list[str] = []
    original = socket_protocol.DriverSocketProtocol._take

    def noted(self: Any, message: bytes | str) -> None:
        done.append("unauthenticated" if len(message) > 100 else "driver")
        original(self, message)

    monkeypatch.setattr(socket_protocol.DriverSocketProtocol, "_take", noted)
    sockets = [await RawClient.open(node.server.port) for _ in range(16)]
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello()
        for raw in sockets:
            raw.send(HANDSHAKE + b"\r\n")
            await raw.reader.readuntil(b"\r\n\r\n")
        monkeypatch.setattr(
            node.node.connections._share_of_known, "_share_s", 1e-6
        )  # at most one per iteration
        done.clear()
        hostile = Frame(Opcode.BINARY, msgpack.packb({"type": "pong", "x": "y" * 200}))
        for raw in sockets:
            raw.writer.transport.write(hostile.serialize(mask=True))
        frame = Frame(Opcode.BINARY, msgpack.packb({"type": "pong"})).serialize(mask=True)
        app.socket.transport.write(frame)
        await eventually(lambda: len(done) == 17)
        assert done.index("driver") <= 3
    for raw in sockets:
        raw.writer.transport.abort()


@pytest.mark.finding("A1", "A2")
async def test_tiny_chunks_are_read_in_many_slices(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mallard_engine.gateway.http.transport.protocol.SLICE_S", 0.0)
    taken: list[int] = []
    original = Framing.body

    def noted(self: Framing, data: bytes) -> tuple[int, bool]:
        answer = original(self, data)
        taken.append(answer[0])
        return answer

    monkeypatch.setattr(Framing, "body", noted)
    async with await RawClient.open(node.server.port) as raw:
        body = b"1\r\nz\r\n" * 1_000 + b"0\r\n\r\n"
        head = b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await raw.ask(head + body)
        assert answer.status == 405
        await eventually(lambda: sum(taken) == len(body))
        assert max(taken) <= 64 * 6
        again = await raw.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert again.status == 200
