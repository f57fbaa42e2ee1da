"""A minimal driver app, written from the contract with plain `websockets` and `msgpack`."""

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import Callable
from typing import Any, Self

import httpx2
import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.contract import Frame, assert_frame
from tests.support import GUARD_S

CAR = {"kind": "car", "max_jobs": 1, "max_weight_g": 60_000, "max_volume_l": 300, "equipment": []}
# An image of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class App:
    """One driver's app: reads frames as they arrive, acknowledges offers, answers pings.

    `frames` holds all that arrived, in order; `expect` takes the first fitting one not taken yet.
    """

    def __init__(self, url: str, token: str | None, driver: str, encoding: str = "msgpack") -> None:
        self.url = url
        self.token = token
        self.driver = driver
        self.encoding = encoding
        self.acknowledging = True
        self.frames: list[Frame] = []
        self._taken: set[int] = set()
        self._arrival = asyncio.Event()
        self._ids = itertools.count(1)
        self._seq: int | None = None
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def open(self, headers: dict[str, str] | None = None, path: str = "/v1/driver") -> Self:
        """Open a socket without a hello; an earlier socket is left as it is."""
        self._socket = await connect(
            self.url + path,
            subprotocols=[f"mallard.v1.{self.encoding}"],  # type: ignore[list-item]
            additional_headers=headers,
            ping_interval=None,
            proxy=None,
            open_timeout=GUARD_S,
            close_timeout=1,
        )
        assert self._socket.subprotocol == f"mallard.v1.{self.encoding}"
        self._seq = None
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def hello(self, **fields: Any) -> Frame:
        """Open a socket, say hello with the token in it, and return the `welcome`."""
        await self.open()
        await self.send("hello", **({"token": self.token, "vehicle": CAR} | fields))
        welcome = await self.expect("welcome")
        assert welcome["driver"] == self.driver
        return welcome

    async def online(self, lat: float, lon: float, **fields: Any) -> Frame:
        """Say hello from a place and become available; return the `welcome`."""
        welcome = await self.hello(**fields)
        await self.move(lat, lon)
        reply = await self.ask("status", state="available")
        assert reply["type"] == "reply", reply
        assert reply["state"] == "available", reply
        return welcome

    async def move(self, lat: float, lon: float, at_ms: int | None = None) -> None:
        await self.send("location", fixes=[[at_ms or now_ms(), lat, lon, 5.0, None, None]])

    async def send(self, kind: str, /, **fields: Any) -> None:
        frame = {"type": kind, **fields}
        if self.encoding == "json":
            await self.socket.send(json.dumps(frame))
        else:
            await self.socket.send(msgpack.packb(frame))

    async def ask(self, kind: str, /, **fields: Any) -> Frame:
        """Send a request and return its `reply` or `error`."""
        number = next(self._ids)
        await self.send(kind, id=number, **fields)
        return await self._take(
            lambda frame: frame["type"] in {"reply", "error"} and frame["id"] == number,
            f"an answer to {kind}",
            GUARD_S,
        )

    async def must(self, kind: str, /, **fields: Any) -> Frame:
        """Send a request that has to be granted."""
        answer = await self.ask(kind, **fields)
        assert answer["type"] == "reply", answer
        return answer

    async def refused(self, kind: str, /, **fields: Any) -> str:
        """Send a request that has to be refused, and return the error's code."""
        answer = await self.ask(kind, **fields)
        assert answer["type"] == "error", answer
        return str(answer["code"])

    async def expect(self, kind: str, timeout_s: float = GUARD_S, **fields: Any) -> Frame:
        """Return the first unused frame of this type with these fields."""
        return await self._take(
            lambda frame: (
                frame["type"] == kind
                and all(frame.get(name) == value for name, value in fields.items())
            ),
            f"{kind} {fields}",
            timeout_s,
        )

    def waiting(self, kind: str) -> list[Frame]:
        """Return the unused frames of a type."""
        return [
            frame
            for index, frame in enumerate(self.frames)
            if index not in self._taken and frame["type"] == kind
        ]

    async def settled(self) -> None:
        """Wait for a round trip, so that everything sent before has arrived."""
        await self.refused("no_such_type")

    async def accept(self, offer: Frame) -> list[Frame]:
        """Accept the offer and return the complete jobs."""
        reply = await self.must("accept", offer=offer["offer"])
        assert reply["state"] == "on_run"
        return list(reply["jobs"])

    async def step(self, job: Frame, step: str, **fields: Any) -> Frame:
        """Report a step of a job at the attempt that it was accepted with."""
        reply = await self.must(
            "progress", job=job["job"], attempt=job["attempt"], step=step, at_ms=now_ms(), **fields
        )
        assert reply.keys() >= {"job", "job_state", "attempt"}
        assert reply["job"] == job["job"]
        return reply

    async def photo(self, kind: str = "photo") -> dict[str, str]:
        """Upload an image; the proof that names it."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "image/png"}
        url = self.url.replace("ws", "http", 1)
        async with httpx2.AsyncClient(base_url=url, timeout=GUARD_S) as http:
            done = await http.post("/v1/driver/proofs", content=PNG, headers=headers)
        assert done.status_code == 201, done.text
        return {"kind": kind, "value": done.json()["proof"]}

    async def close_code(self, timeout_s: float = GUARD_S) -> int | None:
        """Wait until the server has closed the socket."""
        await asyncio.wait_for(self.socket.wait_closed(), timeout_s)
        return self.socket.close_code

    async def vanish(self) -> None:
        """Lose the connection without a close frame."""
        self.socket.transport.abort()
        await self.socket.wait_closed()
        await self._end_reader()

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            await self._end_reader()

    async def _end_reader(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader

    async def _take(self, fits: Callable[[Frame], bool], what: str, timeout_s: float) -> Frame:
        deadline = time.monotonic() + timeout_s
        while True:
            for index, frame in enumerate(self.frames):
                if index not in self._taken and fits(frame):
                    self._taken.add(index)
                    return frame
            if self._reader is not None and self._reader.done():
                self._reader.result()
                raise AssertionError(
                    f"{what}: the socket is closed, {self.socket.close_code}; had {self.frames}"
                )
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), deadline - time.monotonic())
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come; had {self.frames}")

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                await self._receive(data)
        except ConnectionClosed:
            return
        finally:
            self._arrival.set()

    async def _receive(self, data: str | bytes) -> None:
        assert isinstance(data, str) == (self.encoding == "json"), data
        frame = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
        assert_frame(frame)
        if "seq" in frame:
            # A `welcome` starts over, also on an open socket: it covers earlier pushes.
            is_next = self._seq is None or frame["seq"] == self._seq + 1
            assert is_next or frame["type"] == "welcome", (self._seq, frame)
            self._seq = frame["seq"]
        self.frames.append(frame)
        self._arrival.set()
        if frame["type"] == "ping":
            await self.send("pong")
        shown = frame if frame["type"] == "offer" else frame.get("offer")
        if frame["type"] in {"offer", "welcome"} and shown and self.acknowledging:
            await self.send("offer_ack", offer=shown["offer"])
