"""A closed socket is freed by its reference count; and the tuning of the garbage collector."""

import asyncio
import gc
import weakref
from collections import Counter

import pytest

from mallard_engine.contract.reading.strict import parse_msgpack
from mallard_engine.gateway.gc_tuning import tune_gc
from mallard_engine.gateway.http.transport.protocol import TimeoutHttpProtocol
from mallard_engine.gateway.socket.connection import DriverConnection
from mallard_engine.gateway.socket.session import Session
from mallard_engine.gateway.socket.transport.protocol import DriverSocketProtocol
from mallard_protocol.codes import Close
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import eventually

KINDS = (DriverConnection, TimeoutHttpProtocol, Session, DriverSocketProtocol)


def alive() -> Counter[type]:
    return Counter(type(it) for it in gc.get_objects() if type(it) in KINDS)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("goodbye", ["app closes", "node closes", "line breaks", "no hello"])
async def test_closed_socket_leaves_no_objects(node: RunningNode, goodbye: str) -> None:
    before = alive()
    async with open_app(node.ws, node.token("ann")) as ann:
        if goodbye != "no hello":
            await ann.hello()
            assert alive()[DriverConnection] == before[DriverConnection] + 1
        if goodbye == "node closes":
            await node.node.hub.end_all(Close.DRAINING)
        if goodbye == "line breaks":
            ann.socket.transport.abort()
    await eventually(lambda: len(node.node.socket) == 0)
    await eventually(lambda: not alive() - before)


@pytest.mark.usefixtures("no_collector")
def test_strict_parse_leaves_no_reference_cycles() -> None:
    gc.collect()
    assert parse_msgpack(b"\x82\xa1a\x92\x01\x02\xa1b\x80", max_depth=4, max_containers=9) == {
        "a": [1, 2],
        "b": {},
    }
    assert gc.collect() == 0


async def test_survivors_are_frozen_until_no_socket_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    monkeypatch.setattr("mallard_engine.gateway.gc_tuning._EVERY_S", 0.001)
    monkeypatch.setattr("gc.freeze", lambda: done.append("freeze"))
    monkeypatch.setattr("gc.unfreeze", lambda: done.append("unfreeze"))
    open_sockets = iter([2, 0, 0])
    looked = asyncio.Event()

    def sockets() -> int:
        number = next(open_sockets, None)
        if number is None:
            looked.set()
        return number or 0

    task = asyncio.create_task(tune_gc(sockets))
    await looked.wait()
    task.cancel()
    await asyncio.wait({task})
    assert done[:4] == ["freeze", "unfreeze", "freeze", "freeze"]


class Cycle:
    def __init__(self) -> None:
        self.itself = self
        self.ballast = b"x" * (1 << 20)


@pytest.mark.finding("A3")
async def test_frozen_cycles_are_freed_when_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mallard_engine.gateway.gc_tuning._EVERY_S", 0.01)
    monkeypatch.setattr("mallard_engine.gateway.gc_tuning._MEASURE_EVERY_S", 0.05, raising=False)
    monkeypatch.setattr("mallard_engine.gateway.gc_tuning._GROWTH_BYTES", 1 << 20, raising=False)
    monkeypatch.setattr("mallard_engine.gateway.gc_tuning._GROWTH_SHARE", 0.0, raising=False)
    task = asyncio.create_task(tune_gc(lambda: 1))
    try:
        await asyncio.sleep(0)
        cycles = [Cycle() for _ in range(20)]
        seen = weakref.ref(cycles[0])
        gc.collect()
        gc.freeze()  # as the tuning does after a second
        del cycles
        await eventually(lambda: seen() is None)
    finally:
        task.cancel()
        await asyncio.wait({task})
        gc.unfreeze()
