"""Two ways to call Redis from asyncio: the usual one, and the cheapest."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol, cast

import hiredis
from redis.asyncio import Redis

_INCOMPLETE: Final = object()


class Calls(Protocol):
    """Commands to Redis."""

    async def call(self, *command: str | bytes | float) -> Any:
        """Send one and return its reply."""
        ...


class Pool:
    """redis-py's client with its pool, as most programs use it."""

    def __init__(self, path: Path) -> None:
        self._client = Redis(unix_socket_path=str(path))

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command and return its reply."""
        return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]


class Line(asyncio.Protocol):
    """One connection: the commands of a turn of the loop leave in one write, replies come in order.

    It has no deadlines, no limits and no reconnects: a lower bound, not a client for real use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening: asyncio.Future[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command and return its reply."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            if self._opening is None:
                opened = loop.create_unix_connection(lambda: self, str(self._path))
                self._opening = asyncio.ensure_future(opened)
            await asyncio.shield(self._opening)
        if not self._unsent:
            loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type]
        reply: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(reply)
        return await reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand each reply to its call."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            future = self._waiting.popleft()
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
