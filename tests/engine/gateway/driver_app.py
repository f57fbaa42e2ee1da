"""A driver's app written from the contract alone, with `websockets`, `msgpack` and `json`."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import GUARD_S

Frame = dict[str, Any]
MSGPACK = "mallard.v1.msgpack"
JSON = "mallard.v1.json"


class DriverApp:
    """One open socket. Frames that arrive while another is awaited are kept in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._kept: deque[Frame] = deque()
        self._last_id = 0

    async def send(self, kind: str, /, **fields: Any) -> None:
        frame = {"type": kind, **fields}
        if self.socket.subprotocol == MSGPACK:
            await self.socket.send(msgpack.packb(frame))
        else:
            await self.socket.send(json.dumps(frame))

    async def receive(self, kind: str, within_s: float = GUARD_S) -> Frame:
        """Return the next frame of this type; earlier frames stay queued."""
        async with asyncio.timeout(within_s):
            for frame in self._kept:
                if frame["type"] == kind:
                    self._kept.remove(frame)
                    return frame
            while True:
                frame = self._decode(await self.socket.recv())
                if frame["type"] == kind:
                    return frame
                self._kept.append(frame)

    async def ask(self, kind: str, /, **fields: Any) -> Frame:
        """Send a request and return its `reply` or `error`."""
        self._last_id += 1
        await self.send(kind, id=self._last_id, **fields)
        while True:
            frame = await self._answer()
            if frame["id"] == self._last_id:
                return frame

    async def _answer(self) -> Frame:
        async with asyncio.timeout(GUARD_S):
            while True:
                frame = self._decode(await self.socket.recv())
                if frame["type"] in {"reply", "error"}:
                    return frame
                self._kept.append(frame)

    async def hello(self, **fields: Any) -> Frame:
        await self.send("hello", **fields)
        return await self.receive("welcome")

    async def go_online(self, **hello: Any) -> Frame:
        """Say hello and become available; return the welcome."""
        welcome = await self.hello(**hello)
        reply = await self.ask("status", state="available")
        assert reply["type"] == "reply", reply
        return welcome

    async def progress(self, job: Frame, step: str, **fields: Any) -> Frame:
        """Report a step of a job at its attempt."""
        return await self.ask(
            "progress", job=job["job"], attempt=job["attempt"], step=step, **fields
        )

    async def closed(self, within_s: float = GUARD_S) -> int:
        """Read on until the server closes; return the code."""
        async with asyncio.timeout(within_s):
            try:
                while True:
                    self._kept.append(self._decode(await self.socket.recv()))
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006

    async def received(self, kind: str) -> list[Frame]:
        """Return the frames of this type received so far."""
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(0.05):
                while True:
                    self._kept.append(self._decode(await self.socket.recv()))
        return [frame for frame in self._kept if frame["type"] == kind]

    def _decode(self, data: str | bytes) -> Frame:
        frame: Frame = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
        return frame


@contextlib.asynccontextmanager
async def open_app(
    url: str, token: str | None = None, *, subprotocol: str | None = MSGPACK, **options: Any
) -> AsyncIterator[DriverApp]:
    """Open a driver's socket at a node's `ws://` URL."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    async with connect(
        f"{url}/v1/driver",
        subprotocols=[subprotocol] if subprotocol else None,  # type: ignore[list-item]
        additional_headers=headers,
        ping_interval=None,
        compression=None,
        proxy=None,
        open_timeout=GUARD_S,
        close_timeout=1,
        **options,
    ) as socket:
        yield DriverApp(socket)
