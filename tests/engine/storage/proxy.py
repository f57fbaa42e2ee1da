"""A TCP proxy in front of a Redis that can go silent, as a half-open connection, or answer late."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast


class StoreProxy:
    """Forwards to a local `port`. While `silent`, it discards the bytes it receives.

    Each answer is `late_s` late; with `once`, only the first one of a connection.
    """

    def __init__(self, port: int, *, late_s: float = 0.0, once: bool = False) -> None:
        self.port = port
        self.silent = False
        self.late_s = late_s
        self.once = once
        self._server: asyncio.Server | None = None
        self.open: set[asyncio.Transport] = set()

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"redis://{self.host}/0"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Front(self), "127.0.0.1", 0)

    def cut(self) -> None:
        """Break all connections."""
        for transport in list(self.open):
            transport.abort()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
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
        self.proxy.open.add(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.proxy.silent:
            return
        if self.peer is not None and self.peer.transport is not None:
            self.forward(data, self.peer.transport)
        else:
            self.early.append(data)

    def forward(self, data: bytes, transport: asyncio.Transport) -> None:
        transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.proxy.open.discard(self.transport)
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()


class _Back(_End):
    """The end that receives the answers."""

    due_s = 0.0

    def forward(self, data: bytes, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        late_s = 0.0 if self.proxy.once and self.due_s else self.proxy.late_s
        self.due_s = max(self.due_s + 0.001, loop.time() + late_s)  # in order
        loop.call_at(self.due_s, transport.write, data)


class _Front(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, back = await loop.create_connection(
                lambda: _Back(self.proxy), "127.0.0.1", self.proxy.port
            )
        except OSError:
            if self.transport is not None:
                self.transport.abort()
            return
        back.peer, self.peer = self, back
        if back.transport is not None:
            back.transport.write(b"".join(self.early))


@contextlib.asynccontextmanager
async def store_proxy(
    url: str, *, late_s: float = 0.0, once: bool = False
) -> AsyncIterator[StoreProxy]:
    """Run a proxy in front of Redis with this `redis://` URL."""
    port = int(url.removesuffix("/0").rpartition(":")[2])
    proxy = StoreProxy(port, late_s=late_s, once=once)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
