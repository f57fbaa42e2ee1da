"""One connection: calls are written at once, and replies keep their order."""

import asyncio

import pytest

from mallard_engine.storage.client.connection import Wire
from tests.support import GUARD_S


class _Transport(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


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
