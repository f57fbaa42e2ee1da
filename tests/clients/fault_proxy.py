"""A network between a client and an engine that does what a scenario asks of it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

_CHUNK = 65_536


class FaultProxy:
    """Forwards connections to one address, as `mode` has it.

    `open`: as a good network does. `freeze`: connections that exist carry nothing any more, new
    ones are good (the phone has changed networks). `black_hole`: no connection carries anything.
    `refuse`: new connections are reset. `answer`: each new connection gets `canned` and is closed.
    `refuse_upgrades`: a request for a socket is reset, any other passes, as with some firewalls.
    `delay_s` postpones every chunk both ways. `to_engine` and `to_app` count the chunks passed on.
    """

    def __init__(self, port: int) -> None:
        self.url = ""
        self.mode = "open"
        self.canned = b""
        self.delay_s = 0.0
        self.refuse_upgrades = False
        self.accepted = 0
        self.to_engine = 0
        self.to_app = 0
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def set(self, mode: str) -> None:
        """Change the network; existing connections feel it too."""
        self.mode = mode
        if mode in {"freeze", "black_hole"}:
            self._frozen |= self._writers

    def leads_to(self, port: int) -> None:
        """Forward new connections elsewhere, as a load balancer does whose node drains."""
        self._port = port

    def cut(self) -> None:
        """End every connection without a word of WebSocket (FIN)."""
        for writer in tuple(self._writers):
            writer.close()

    def reset(self) -> None:
        """End every connection with RST."""
        for writer in tuple(self._writers):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.mode == "refuse":
            _reset(writer)
            return
        if self.mode == "answer":
            with contextlib.suppress(ConnectionError):
                if not self.canned.startswith(b"!"):  # `!`: before the request has come
                    await reader.readuntil(b"\r\n\r\n")
                writer.write(self.canned.removeprefix(b"!"))
                await writer.drain()
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            # Before Python 3.11.3 an error here left the connection open.
            _reset(writer)
            return
        self._writers |= {writer, far_writer}
        if self.mode == "black_hole":
            self._frozen |= {writer, far_writer}
        there = self._forward(reader, far_writer, is_to_engine=True)
        back = self._forward(far_reader, writer, is_to_engine=False)
        for task in map(asyncio.create_task, (there, back)):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_to_engine: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK):
                await asyncio.sleep(self.delay_s)
                if is_to_engine and self.refuse_upgrades and b"Upgrade: websocket" in data:
                    target.transport.abort()
                    break
                if target in self._frozen:
                    continue
                target.write(data)
                if is_to_engine:
                    self.to_engine += 1
                else:
                    self.to_app += 1
                await target.drain()
        if target not in self._frozen:
            target.close()
            self._writers.discard(target)

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator["FaultProxy"]:
        """Listen on a port of its own until the end of the block."""
        proxy = cls(port)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            for writer in tuple(proxy._writers):
                writer.transport.abort()
            for task in tuple(proxy._tasks):
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    endpoint: socket.socket = writer.get_extra_info("socket")
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
