"""A TCP proxy in front of a store that can go silent, which simulates a half-open connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast


class StoreProxy:
    """Forwards to a local `port`. While `silent`, it discards the bytes it receives."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.silent = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Front(self), "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in list(self._open):
            transport.abort()
        await asyncio.sleep(0.05)  # the loop closes aborted transports in its next iteration


class _End(asyncio.Protocol):
    """One end of a forwarded connection; `peer` is the other."""

    def __init__(self, proxy: StoreProxy) -> None:
        self.proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.peer: _End | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.proxy._open.add(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.proxy.silent:
            return
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)
        else:
            self.early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.proxy._open.discard(self.transport)
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()


class _Front(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, back = await loop.create_connection(
                lambda: _End(self.proxy), "127.0.0.1", self.proxy.port
            )
        except OSError:
            if self.transport is not None:
                self.transport.abort()
            return
        back.peer, self.peer = self, back
        if back.transport is not None:
            back.transport.write(b"".join(self.early))


@contextlib.asynccontextmanager
async def store_proxy(url: str) -> AsyncIterator[StoreProxy]:
    """Run a proxy in front of the store with this `redis://` URL."""
    proxy = StoreProxy(int(url.removesuffix("/0").rpartition(":")[2]))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
