"""What a connection and its request take of memory: an attacker opens hundreds."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.server import ServerState

from mallard_engine.gateway.http.transport.protocol import TimeoutHttpProtocol
from mallard_engine.gateway.server import server_config

pytestmark = pytest.mark.finding("A3")

_CONNECTIONS = 200
_REQUEST = (
    b"GET /v1/jobs?limit=1 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAuthorization: Bearer "
    + b"x" * 200
    + b"\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
)


class Line(asyncio.Transport):
    """A connection that takes what is written; it has no socket."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        names = {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}
        return names.get(name, default)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
async def test_connections_and_waiting_requests_are_light(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("limit_unsent_bytes", "limit_unsent_time"):
        monkeypatch.setattr(
            f"mallard_engine.gateway.http.transport.protocol.{name}", lambda *_: None
        )
    may_answer = asyncio.Event()

    async def app(_scope: object, _receive: object, send: Any) -> None:
        await may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    config = server_config(app, "127.0.0.1", 0)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    lines = [Line() for _ in range(_CONNECTIONS)]
    before = tracemalloc.get_traced_memory()[0]

    def of_each() -> float:
        return (tracemalloc.get_traced_memory()[0] - before) / _CONNECTIONS

    connections = []
    for line in lines:
        connection = TimeoutHttpProtocol(config, state, {}, loop)
        connection.connection_made(line)
        connections.append(connection)
    opened = of_each()
    for connection in connections:
        connection._peer.mark_authenticated()  # type: ignore[union-attr]
        connection.data_received(_REQUEST)
    await asyncio.sleep(0)
    waiting = of_each()
    may_answer.set()
    while state.total_requests < _CONNECTIONS:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    answered = of_each()
    for connection in connections:
        connection.connection_lost(None)
    assert opened < 3_500
    assert waiting < 7_500
    assert answered < 3_800
