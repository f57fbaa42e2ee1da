"""A closed socket is freed by its reference count; and the tuning of the garbage collector."""

import asyncio
import ctypes
import gc
import weakref
from collections import Counter

import pytest

from mallard_engine.contract.reading.strict import parse_msgpack
from mallard_engine.gateway.gc_tuning import (
    MemoryRelease,
    memory_bytes,
    release_free_memory,
    tune_gc,
)
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


class Process:
    """A process whose time, CPU time and memory a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0
        self.bytes = 100 << 20
        self.released_s: list[float] = []
        self.tuned = MemoryRelease(
            lambda: self.now_s, lambda: self.cpu_s, lambda: self.bytes, self._release
        )

    def _release(self) -> None:
        self.released_s.append(self.now_s)
        self.bytes -= 1 << 20

    def run(self, seconds: int, *, share: float = 0.1) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.cpu_s += share
            self.tuned.look()


def test_memory_is_released_once_the_node_is_calm_after_a_burst() -> None:
    process = Process()
    process.run(40)
    process.run(60, share=0.9)
    assert process.released_s == []
    process.run(100)
    assert process.released_s == [103.0]


def test_memory_is_released_after_growth_without_work() -> None:
    process = Process()
    process.run(40)
    process.bytes += 3 << 20
    process.run(40)
    assert process.released_s == []
    process.bytes += 1 << 20
    process.run(40)
    assert process.released_s == [81.0]


def test_memory_is_released_at_most_every_10_s() -> None:
    process = Process()
    for _ in range(12):
        process.run(1, share=0.9)
        process.run(4)
    assert process.released_s == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]


async def test_tuning_looks_whether_to_release_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[None] = []
    monkeypatch.setattr("mallard_engine.gateway.gc_tuning._EVERY_S", 0.001)
    monkeypatch.setattr(MemoryRelease, "look", lambda _: looked.append(None))
    task = asyncio.create_task(tune_gc(lambda: 0))
    try:
        await eventually(lambda: len(looked) > 2)
    finally:
        task.cancel()
        await asyncio.wait({task})
        gc.unfreeze()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_release_reduces_the_resident_memory() -> None:
    blocks = [bytearray(1_000) for _ in range(60_000)]
    # glibc itself returns only what is free at the end of its heap.
    ends = blocks[::600]
    del blocks
    before = memory_bytes()
    release_free_memory()
    assert len(ends) == 100
    assert memory_bytes() < before - (20 << 20)
