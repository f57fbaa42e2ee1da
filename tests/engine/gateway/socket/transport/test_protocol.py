"""Slow and greedy connections."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import msgpack
import pytest
from websockets.frames import Frame, Opcode

from mallard_engine.gateway.http.transport import protocol as http_protocol
from mallard_engine.gateway.socket.transport import protocol as socket_protocol
from mallard_engine.ports import Push, PushKind
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import GUARD_S, eventually


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_WITHIN_S", "BODY_WITHIN_S", "SLOW_READER_S"):
        monkeypatch.setattr(http_protocol, name, 0.2)
    monkeypatch.setattr(socket_protocol, "SLOW_READER_S", 0.2)


@pytest.fixture
async def raw(
    node: RunningNode, in_a_hurry: None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
    yield reader, writer
    writer.close()


Raw = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ended(reader: asyncio.StreamReader, within_s: float = GUARD_S) -> bytes:
    """Return everything received until the connection ends in any way."""
    received = b""
    async with asyncio.timeout(within_s):
        try:
            while chunk := await reader.read(4096):
                received += chunk
        except ConnectionResetError:
            pass
    return received


async def test_idle_connection_is_closed(raw: Raw) -> None:
    assert await ended(raw[0]) == b""


async def test_endless_head_closes_the_connection(raw: Raw) -> None:
    reader, writer = raw
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    trickle = asyncio.create_task(_trickle(writer))
    assert await ended(reader) == b""
    trickle.cancel()


async def test_endless_body_closes_the_connection(raw: Raw) -> None:
    reader, writer = raw
    writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert b"HTTP/1.1 201" not in await ended(reader)


async def test_second_request_has_its_deadline_too(raw: Raw) -> None:
    reader, writer = raw
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).endswith(b"200 OK\r\n")
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
    assert b"HTTP/1.1" not in await ended(reader)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_head_over_16_kib_is_refused(raw: Raw, end: bytes) -> None:
    reader, writer = raw
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(
        b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(20)
    )
    writer.write(head.removesuffix(b"\r\n") + end)
    # The connection is reset if part of the head was still being sent.
    assert (await ended(reader))[:13] in {b"HTTP/1.1 431 ", b""}


@pytest.mark.parametrize(
    "headers", [b"".join(b"X-%d: y\r\n" % n for n in range(300)), b"X: %s\r\n" % (b"y" * 9000)]
)
async def test_handshake_refused_by_one_parser_is_answered(
    node: RunningNode, headers: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
    writer.write(
        b"GET /v1/driver HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        + headers
        + b"\r\n"
    )
    assert (await ended(reader)).startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_request_in_pieces_is_answered(raw: Raw) -> None:
    reader, writer = raw
    for piece in (b"GET /li", b"vez HTTP/1.1\r\nHo", b"st: x\r\nConnection: close\r\n", b"\r\n"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"ok\n")


async def test_client_that_does_not_read_is_disconnected(
    node: RunningNode, in_a_hurry: None
) -> None:
    async with open_app(node.ws, node.token("d1"), max_queue=1) as driver:
        await driver.hello()
        driver.socket.transport.pause_reading()
        raw_socket = driver.socket.transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        seq = 0
        while len(node.node.hub):
            seq += 1
            node.node.hub.deliver("phoenix", [_wordy_push(seq)])
            await asyncio.sleep(0)
            assert seq < 50_000, "the client was given far too much"
        await eventually(lambda: len(node.node.socket) == 0)
    # Kernel buffers, transport and outbox together: less than a megabyte for one bad client.
    assert seq * 700 < 8_000_000
    assert not node.server.server_state.connections


async def test_ping_flood_is_closed(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        for _ in range(210):
            await driver.socket.ping()
        assert await driver.closed() == 4004


async def test_message_in_too_many_fragments_is_closed(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        await driver.socket.send([b""] * 300)
        assert await driver.closed() == 4004


async def test_fragments_of_a_message_too_large_are_closed(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        await driver.socket.send([b"x" * 4000] * 5)
        assert await driver.closed() == 1009


async def test_compression_is_not_negotiated(node: RunningNode) -> None:
    async with open_app(
        node.ws,
        node.token("d1"),
        headers={"Sec-WebSocket-Extensions": "permessage-deflate"},
    ) as driver:
        assert driver.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in driver.socket.response.headers


async def test_unmasked_frame_is_a_protocol_error(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        driver.socket.transport.write(b"\x82\x01x")
        assert await driver.closed() == 1002


async def test_frames_of_one_segment_are_handled_in_order(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        here = [node.node.store.now_ms(), 33.30, -111.90, 5.0, None, None]
        frames = [
            {"type": "location", "fixes": [here]},
            {"type": "status", "id": 1, "state": "available"},
            {"type": "pong"},
            {"type": "nonsense", "id": 2},
            {"type": "status", "id": 3, "state": "paused"},
            {"type": "nonsense", "id": 4},
        ]
        driver.socket.transport.write(
            b"".join(
                Frame(Opcode.BINARY, msgpack.packb(frame)).serialize(mask=True) for frame in frames
            )
        )
        answers = [msgpack.unpackb(await driver.socket.recv()) for _ in range(4)]
        # A frame that needs no awaiting does not overtake one that does.
        assert [(answer["id"], answer["type"]) for answer in answers] == [
            (1, "reply"),
            (2, "error"),
            (3, "reply"),
            (4, "error"),
        ]


async def test_failing_handler_ends_the_socket(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(
            "mallard_engine.gateway.socket.connection.DriverConnection._take", broken
        )
        await driver.send("pong")
        assert await driver.closed() == 1006
        await eventually(lambda: len(node.node.hub) == 0)


async def test_lost_connection_is_counted_as_1006(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        raw_socket = driver.socket.transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        driver.socket.transport.abort()

        async def counted() -> bool:
            return await node.metric('mallard_ws_closed_total{code="1006"}') == 1

        await eventually(counted)


def _wordy_push(seq: int) -> Push:
    return Push("d1", seq, PushKind.STATE, state="available", why="x" * 700)


async def _trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"y")
        await asyncio.sleep(0.02)
