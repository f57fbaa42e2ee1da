"""A raw TCP client, as a hostile client would use."""

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import msgpack

from tests.support import GUARD_S

HANDSHAKE = (
    b"GET /v1/driver HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mallard.v1.msgpack\r\n"
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class RawClient:
    """A TCP connection to a node. A small receive buffer suits a client that does not read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int | None = None) -> Self:
        raw = socket.socket()
        raw.setblocking(False)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=raw))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise ConnectionResetError("the node has closed the connection")
        self.writer.write(data)

    def read_no_more(self) -> None:
        """Stop reading, as a stuck client does."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def answer(self, *, head: bool = False, within_s: float = GUARD_S) -> Answer:
        """Read one response."""
        async with asyncio.timeout(within_s):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = text.strip().split("\r\n")
            headers = {key.lower(): it for key, _, it in (line.partition(": ") for line in lines)}
            size = 0 if head else int(headers.get("content-length", 0))
            return Answer(int(status.split()[1]), headers, await self.reader.readexactly(size))

    async def ask(self, data: bytes) -> Answer:
        self.send(data)
        return await self.answer()

    async def rest(self, within_s: float = GUARD_S) -> bytes:
        """Return everything received until the connection ends in any way."""
        received = b""
        async with asyncio.timeout(within_s):
            try:
                while chunk := await self.reader.read(65_536):
                    received += chunk
            except ConnectionError:
                pass
        return received

    async def pump(self, piece: bytes, limit: int, within_s: float = 20) -> int:
        """Send a piece repeatedly until the connection ends, stalls or reaches the limit."""
        sent = 0
        try:
            async with asyncio.timeout(within_s):
                while sent < limit and not self.writer.is_closing():
                    self.send(piece)
                    await asyncio.wait_for(self.writer.drain(), 1.0)
                    sent += len(piece)
        except (ConnectionError, TimeoutError):
            pass
        return sent


def client_frame(payload: bytes, first: int = 0x82) -> bytes:
    """A masked frame of at most 125 bytes."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + mask + masked


def packed_frame(message: Mapping[str, object]) -> bytes:
    """A masked frame of any size with the message."""
    payload: bytes = msgpack.packb(message)
    if len(payload) < 126:
        return client_frame(payload)
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
