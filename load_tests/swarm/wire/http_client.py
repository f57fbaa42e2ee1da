"""A keep-alive HTTP/1.1 client for POSTs of JSON, several connections to one node.

Each connection carries one request at a time. If all are busy another is opened, up to a limit;
then requests wait, which counts as latency, as it starts when they were due.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

MAX_CONNECTIONS: Final = 256
LOST: Final = 0
"""The status of a request whose connection was lost, or never made."""

Done = Callable[[int, bytes], None]
"""Takes the status and the body of an answer."""


class HttpNode:
    """A bounded pool of connections to a node."""

    def __init__(self, url: str, token: str, connections: int = MAX_CONNECTIONS) -> None:
        self._connections = connections
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if is_tls else 80)
        self._tls = ssl.create_default_context() if is_tls else None
        self._head = (
            f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._free: list[_Line] = []
        self._waiting: deque[tuple[bytes, Done, bool]] = deque()
        self._lines: set[_Line] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def post(self, path: str, key: str, body: bytes, done: Done) -> None:
        """Send a request with an idempotency key.

        A request whose connection is lost is sent once more: the server may just have closed an
        idle connection, and the key makes the repetition safe.
        """
        head = f"POST {path}{self._head}{len(body)}\r\nIdempotency-Key: {key}\r\n\r\n"
        self._send(head.encode("ascii") + body, done, is_again=False)

    async def warm(self, connections: int) -> None:
        """Have that many connections open beforehand. Raises `OSError`."""
        missing = min(connections, self._connections) - len(self._lines)
        await asyncio.gather(*(self._connect() for _ in range(missing)))

    def close(self) -> None:
        """Close all connections; open requests get no answer."""
        self._is_closed = True
        for task in self._opening:
            task.cancel()
        for line in self._lines:
            line.hang_up()

    def _send(self, request: bytes, done: Done, *, is_again: bool) -> None:
        if self._free:
            self._free.pop().ask(request, done, is_again=is_again)
            return
        self._waiting.append((request, done, is_again))
        if len(self._lines) + len(self._opening) < self._connections:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            await self._connect()
        except OSError:
            if self._waiting:
                _, done, _ = self._waiting.popleft()
                done(LOST, b"")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        line = _Line(self)
        await loop.create_connection(lambda: line, self._host, self._port, ssl=self._tls)
        self._lines.add(line)
        self.freed(line)

    def freed(self, line: "_Line") -> None:
        """Send the next request that waits on this connection."""
        if self._waiting:
            request, done, is_again = self._waiting.popleft()
            line.ask(request, done, is_again=is_again)
        else:
            self._free.append(line)

    def lost(self, line: "_Line", asked: tuple[bytes, Done, bool] | None) -> None:
        """Handle the end of a connection and of the request that it carried."""
        self._lines.discard(line)
        if line in self._free:
            self._free.remove(line)
        if asked is None or self._is_closed:
            return
        request, done, is_again = asked
        if is_again:
            done(LOST, b"")
        else:
            self._send(request, done, is_again=True)


class _Line(asyncio.Protocol):
    """One connection. An answer must have a Content-Length, or be without a body."""

    def __init__(self, node: HttpNode) -> None:
        self._node = node
        self._transport: asyncio.Transport | None = None
        self._asked: tuple[bytes, Done, bool] | None = None
        self._buffer = b""

    def ask(self, request: bytes, done: Done, *, is_again: bool) -> None:
        """Send a request."""
        self._asked = (request, done, is_again)
        if self._transport is None or self._transport.is_closing():
            return  # `connection_lost` is on its way, and sends it elsewhere
        self._transport.write(request)

    def hang_up(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read an answer, which may come in pieces."""
        data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        size = _content_length(data[:end]) if end >= 0 else None
        if size is None and end >= 0:
            self.hang_up()
            return
        if size is None or len(data) < end + 4 + size:
            self._buffer = data
            return
        self._buffer = b""
        asked, self._asked = self._asked, None
        if asked is None:  # an answer to nothing
            self.hang_up()
            return
        asked[1](int(data[9:12]), data[end + 4 : end + 4 + size])
        if b"\r\nconnection: close" in data[:end].lower():
            self.hang_up()
        else:
            self._node.freed(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - lost is lost
        """Tell the node."""
        asked, self._asked = self._asked, None
        self._transport = None
        self._node.lost(self, asked)


def _content_length(head: bytes) -> int | None:
    lower = head.lower()
    found = lower.find(b"\r\ncontent-length:")
    if found < 0:
        return None
    value = lower[found + 17 :].partition(b"\r\n")[0].strip()
    return int(value) if value.isdigit() and lower.startswith(b"http/1.") else None
