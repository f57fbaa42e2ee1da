"""An HTTP server that hears deliveries and answers as a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

import msgspec
from standardwebhooks import Webhook

from tests.support import eventually

Answer = Callable[["Heard"], Awaitable[bytes]]


@dataclass(frozen=True)
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """The event, if the signature is good; else it raises."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def always(text: bytes) -> Answer:
    async def reply(_heard: Heard) -> bytes:
        return text

    return reply


@dataclass
class Receiver:
    """What was heard, in order. `reply` answers; it may be replaced at any time."""

    port: int = 0
    scheme: str = "http"
    reply: Answer = field(default_factory=lambda: always(answer(204)))
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    @property
    def types(self) -> list[str]:
        return [it.event["type"] for it in self.heard]

    async def hears(self, count: int, timeout_s: float = 20.0) -> list[Heard]:
        await eventually(lambda: len(self.heard) >= count, timeout_s)
        return self.heard

    async def close_all(self) -> None:
        """Close the connections that are open."""
        for writer in self.writers:
            writer.close()
            await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                pairs = (line.split(": ", 1) for line in lines[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.heard.append(Heard(lines[0].split(" ")[1], headers, body))
                writer.write(await self.reply(self.heard[-1]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def receiving(tls: SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on loopback."""
    receiver = Receiver(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
