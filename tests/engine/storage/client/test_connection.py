"""One connection: calls are written at once or together, and replies keep their order."""

import asyncio
from typing import Any

import pytest

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.connection import Wire
from mallard_engine.tasks import turn
from tests.support import GUARD_S, eventually


class _Transport(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        """Nothing is sent."""


@pytest.mark.finding("A9")
async def test_call_on_a_busy_connection_is_written_at_once() -> None:
    wire, transport = Wire(lambda *_: None), _Transport()
    wire.connection_made(transport)
    deadline_s = asyncio.get_running_loop().time() + GUARD_S
    calls = [wire.send(("ECHO", text), deadline_s) for text in ("a", "b", "c")]
    assert b"".join(transport.written).count(b"ECHO") == 3
    wire.data_received(b"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n")
    assert await asyncio.gather(*calls) == [b"a", b"b", b"c"]
    wire.connection_lost(None)


async def test_collected_calls_share_a_write() -> None:
    wire, transport = Wire(lambda *_: None), _Transport()
    wire.connection_made(transport)
    deadline_s = asyncio.get_running_loop().time() + GUARD_S
    wire.collect()
    calls = [wire.send(("ECHO", text), deadline_s) for text in ("a", "b")]
    assert not transport.written
    wire.flush()
    wire.flush()
    calls.append(wire.send(("ECHO", "c"), deadline_s))
    assert [written.count(b"ECHO") for written in transport.written] == [2, 1]
    wire.data_received(b"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n")
    assert await asyncio.gather(*calls) == [b"a", b"b", b"c"]
    wire.connection_lost(None)


async def test_collected_calls_of_a_lost_connection_fail() -> None:
    wire, transport = Wire(lambda *_: None), _Transport()
    wire.connection_made(transport)
    wire.collect()
    call = wire.send(("ECHO", "a"), asyncio.get_running_loop().time() + GUARD_S)
    wire.cut(StoreUnavailable("away"))
    wire.flush()
    assert not transport.written
    wire.connection_lost(None)
    with pytest.raises(StoreUnavailable):
        await call


class _Noted:
    """Remembers what is written to a transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._transport.write(data)


async def test_calls_of_a_turn_share_a_write_and_replace_its_ping(redis_url: str) -> None:
    link = Link(redis_url, heartbeat_s=0.25)
    await link.connect()
    wire: Any = link._wire
    noted = wire._transport = _Noted(wire._transport)

    async def call(text: str) -> Any:
        await turn(0.25)
        await asyncio.sleep(0)
        return await link.call("ECHO", text)

    assert [*await asyncio.gather(call("a"), call("b"))] == [b"a", b"b"]
    (calls,) = noted.written
    assert (calls.count(b"ECHO"), calls.count(b"PING")) == (2, 0)
    await eventually(lambda: any(b"PING" in each for each in noted.written))
    await link.close()
