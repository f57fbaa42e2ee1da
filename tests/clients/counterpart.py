"""The server's side of the driver socket, by hand: plain `websockets`, `msgpack` and `json`.

A test speaks for the engine, message by message, so that the client is held against the contract
and not against our own codec.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support import GUARD_S

JSON = "mallard.v1.json"
MSGPACK = "mallard.v1.msgpack"
# What a client sends that cannot ping by itself, as in a browser.
PROBE = "client_ping"
SERVER_TIME_MS = 1_700_000_000_000


class Socket:
    """One accepted socket, and the words for it."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self.subprotocol = connection.subprotocol

    async def read_any(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(GUARD_S):
            return self._decoded(await self._receive())

    async def _receive(self) -> str | bytes:
        return await self._connection.recv()

    def _decoded(self, data: str | bytes) -> dict[str, Any]:
        message: dict[str, Any]
        if isinstance(data, str):
            assert self.subprotocol == JSON
            message = json.loads(data)
        else:
            assert self.subprotocol == MSGPACK
            message = msgpack.unpackb(data)
        return message

    async def read(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this type."""
        message = await self.read_any()
        assert message["type"] == kind, message
        return message

    async def send(self, kind: str, **fields: Any) -> None:
        message = {"type": kind, **fields}
        if self.subprotocol == JSON:
            await self._connection.send(json.dumps(message))
        else:
            await self._connection.send(msgpack.packb(message))

    async def send_raw(self, data: str | bytes) -> None:
        await self._connection.send(data)

    async def reply(self, request: dict[str, Any], **fields: Any) -> None:
        await self.send("reply", id=request["id"], **{"state": "available", **fields})

    async def refuse(self, request: dict[str, Any], code: str, *, retry: bool = False) -> None:
        await self.send("error", id=request["id"], code=code, message="no", retry=retry)

    async def welcome(self, **fields: Any) -> dict[str, Any]:
        """Read the hello and answer it; return the hello."""
        hello = await self.read("hello")
        await self.send(
            "welcome",
            **{
                "session": "s1",
                "driver": "d1",
                "market": "phoenix",
                "seq": 0,
                "server_time_ms": SERVER_TIME_MS,
                "ping_ms": 25_000,
                "location_ms": 4_000,
                "max_bytes": 16_384,
                "token_expires_ms": SERVER_TIME_MS + 3_600_000,
                "state": "available",
                "offer": None,
                "jobs": [],
                **fields,
            },
        )
        return hello

    async def close(self, code: int, reason: str = "") -> None:
        await self._connection.close(code, reason)

    def abort(self) -> None:
        self._connection.transport.abort()

    async def closed(self) -> None:
        async with asyncio.timeout(GUARD_S):
            await self._connection.wait_closed()


class ProbedSocket(Socket):
    """A socket of a client that cannot ping, whose probes are answered while nobody reads."""

    def __init__(self, connection: ServerConnection) -> None:
        super().__init__(connection)
        self._unread: asyncio.Queue[str | bytes | ConnectionClosed] = asyncio.Queue()
        self._pumping = asyncio.create_task(self._pump())

    async def _receive(self) -> str | bytes:
        data = await self._unread.get()
        if isinstance(data, ConnectionClosed):
            self._unread.put_nowait(data)
            raise data
        return data

    async def _pump(self) -> None:
        """Answer probes as any engine does: it does not know such a message."""
        try:
            while True:
                data = await self._connection.recv()
                message = self._decoded(data)
                if message["type"] == PROBE:
                    await self.refuse(message, "unknown_type")
                else:
                    self._unread.put_nowait(data)
        except ConnectionClosed as closed:
            self._unread.put_nowait(closed)


class Counterpart:
    """A listening server whose sockets a test takes one by one."""

    def __init__(self, kind: type[Socket] = Socket) -> None:
        self._kind = kind
        self._sockets: asyncio.Queue[Socket] = asyncio.Queue()
        self._server: Server | None = None
        self.url = ""

    async def accepted(self) -> Socket:
        """The next socket that a client opens."""
        async with asyncio.timeout(GUARD_S):
            return await self._sockets.get()

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.path == "/v1/driver"
        await self._sockets.put(self._kind(connection))
        await connection.wait_closed()

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls, *, answers_probes: bool = False) -> AsyncIterator["Counterpart"]:
        counterpart = cls(ProbedSocket if answers_probes else Socket)
        subprotocols = [Subprotocol(MSGPACK), Subprotocol(JSON)]
        async with serve(
            counterpart._handle, "127.0.0.1", 0, subprotocols=subprotocols, ping_interval=None
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            counterpart.url = f"ws://127.0.0.1:{port}"
            yield counterpart


def a_mall() -> dict[str, Any]:
    return {
        "id": "chandler-fashion-center",
        "name": "Chandler Fashion Center",
        "lat": 33.3014,
        "lon": -111.8985,
        "gate": "north",
        "gate_lat": 33.3031,
        "gate_lon": -111.8985,
    }


def a_job(job: str = "job_phoenix.1", attempt: int = 1, state: str = "assigned") -> dict[str, Any]:
    return {
        "job": job,
        "attempt": attempt,
        "state": state,
        "mall": a_mall(),
        "stores": [
            {"store": "lego", "name": "Lego", "gate": "north", "floor": 1}
            | {"ready_ms": SERVER_TIME_MS, "parcels": 1}
        ],
        "dropoff": {"lat": 33.32, "lon": -111.84, "deadline_ms": SERVER_TIME_MS + 3_600_000},
        "parcels": {"count": 1, "weight_g": 500, "volume_l": 2},
        "requires": [],
        "eta": {"pickup_ms": None, "dropoff_ms": None},
        "a_field_of_tomorrow": 1,
    }


def an_offer(offer: str = "o1", seq: int = 1, **fields: Any) -> dict[str, Any]:
    """The fields of an offer that lives as long as any test."""
    return {
        "seq": seq,
        "offer": offer,
        "attempt": 1,
        "jobs": [a_job(state="offered")],
        "mall": a_mall(),
        "eta_s": 300,
        "distance_m": 2500,
        "expires_ms": SERVER_TIME_MS + 600_000,
        "server_time_ms": SERVER_TIME_MS,
        **fields,
    }
