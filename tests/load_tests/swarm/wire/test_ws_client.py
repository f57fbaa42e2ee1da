"""Against a server of the `websockets` library, which is strict about what it is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from load_tests.frames import SUBPROTOCOL
from load_tests.swarm.wire.ws_client import ABNORMAL, SocketWire
from tests.support import eventually


class Log:
    """Records what a wire reports."""

    def __init__(self) -> None:
        self.opened = 0
        self.received: list[bytes] = []
        self.lost: list[int] = []

    def wire(self, port: int) -> SocketWire:
        def opened() -> None:
            self.opened += 1

        return SocketWire(
            f"127.0.0.1:{port}",
            "/v1/driver",
            opened=opened,
            received=self.received.append,
            lost=self.lost.append,
        )


@asynccontextmanager
async def connected(
    handler: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[tuple[SocketWire, Log]]:
    async with serve(handler, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        log = Log()
        wire = log.wire(port)
        await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
        await eventually(lambda: log.opened)
        try:
            yield wire, log
        finally:
            wire.abort()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        assert isinstance(message, bytes)
        await connection.send(message)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 4000, 65_535])
async def test_frames_of_every_size_come_back(size: int) -> None:
    async with connected(echo) as (wire, log):
        payload = bytes(number % 251 for number in range(size))
        wire.send(payload)
        await eventually(lambda: log.received)
        assert log.received == [payload]


async def test_many_frames_in_one_read_are_separated() -> None:
    async with connected(echo) as (wire, log):
        sent = [bytes([number]) * (number * 7) for number in range(100)]
        for payload in sent:
            wire.send(payload)
        await eventually(lambda: len(log.received) == len(sent))
        assert log.received == sent


async def test_close_code_of_the_server_is_reported() -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.close(4507, "replaced")

    async with connected(leave) as (_, log):
        await eventually(lambda: log.lost)
        assert log.lost == [4507]


async def test_pings_are_answered() -> None:
    answered = asyncio.Event()

    async def ping(connection: ServerConnection) -> None:
        await (await connection.ping(b"there?"))
        answered.set()
        await connection.wait_closed()

    async with connected(ping):
        await asyncio.wait_for(answered.wait(), 5)


async def test_broken_connection_is_reported_as_1006() -> None:
    async def cut(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with connected(cut) as (wire, log):
        await eventually(lambda: log.lost)
        assert log.lost == [ABNORMAL]
        wire.send(b"into the void")


async def test_text_frame_closes_the_connection() -> None:
    async def chat(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.wait_closed()

    async with connected(chat) as (_, log):
        await eventually(lambda: log.lost)
        assert log.received == []


async def test_server_without_an_upgrade_is_disconnected() -> None:
    left = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        left.set()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        log = Log()
        wire = log.wire(port)
        await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
        await eventually(lambda: log.lost)
        await left.wait()
        assert (log.opened, log.lost) == (0, [ABNORMAL])
