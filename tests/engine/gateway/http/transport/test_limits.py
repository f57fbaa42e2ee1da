"""Limits of what one unauthenticated connection makes a node hold, and for how long."""

import asyncio
import contextlib
import gc
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mallard_engine.gateway.http.transport import protocol as http_protocol
from mallard_engine.gateway.http.transport.protocol import TimeoutHttpProtocol
from mallard_engine.gateway.limits import connections as connections_module
from mallard_engine.gateway.socket.transport import protocol as socket_protocol
from mallard_engine.gateway.socket.transport.protocol import DriverSocketProtocol
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.raw_client import HANDSHAKE, RawClient, packed_frame
from tests.support import eventually

CHUNKED = b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def slow_clients() -> None:
    """Leave the limits as they are: these tests are about them."""


def rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def until_gone(node: RunningNode) -> None:
    await eventually(lambda: not node.server.server_state.connections)


def bearer(node: RunningNode) -> bytes:
    return b"Authorization: Bearer %s\r\n" % node.token("shop", Role.ORDERS).encode()


# -- A1: everything except the body counts towards the limit of the head


@pytest.mark.finding("A1")
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (CHUNKED + b"0\r\n", b"x-trailer: y\r\n" * 500),
        (CHUNKED + b"0\r\n", b"x-trailer: " + b"y" * 8000),
        (CHUNKED, b"1;extension=" + b"y" * 8000),
        (CHUNKED, b"0" * 8000),
        (CHUNKED, b"1;a\r\nz\r\n" * 500),
        (b"", b"G" * 8000),
        (b"GET /", b"x" * 8000),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"x" * 8000),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n" * 500),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n", b" folded\r\n" * 500),
        (b"", b"\r\n" * 4000),
        (GET + b"\r\n", b"\r\n" * 4000),
    ],
    ids=[
        *("trailers", "one trailer", "extension", "chunk size", "many extensions", "no line"),
        *("request line", "one header", "headers", "folded header", "empty lines", "between"),
    ],
)
async def test_endless_framing_closes_the_connection(
    node: RunningNode, start: bytes, piece: bytes
) -> None:
    async with await RawClient.open(node.server.port) as raw:
        raw.send(start)
        sent = await raw.pump(piece, 20_000_000)
        assert sent < 10_000_000
        await until_gone(node)


@pytest.mark.finding("A1")
@pytest.mark.parametrize(
    "request_",
    [
        CHUNKED + b"0\r\n" + b"x-trailer: yyyyyyyyy\r\n" * 900 + b"\r\n",
        CHUNKED + b"1;" + b"y" * 17_000 + b"\r\nz\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["trailers", "extension", "headers", "target"],
)
async def test_too_much_framing_is_431(node: RunningNode, request_: bytes) -> None:
    async with await RawClient.open(node.server.port) as raw:
        answer = await raw.ask(request_)
        assert answer.status in {405, 431}  # the response may be sent before the trailers arrive
        if answer.status == 405:
            assert b" 431 " in await raw.rest() or raw.reader.at_eof()
        else:
            assert json.loads(answer.body)["code"] == "head_too_large"
    assert await node.metric('mallard_connections_refused_total{reason="head_too_large"}') == 1


@pytest.mark.finding("A1")
async def test_trailer_does_not_change_the_request(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as raw:
        answer = await raw.ask(
            b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n" + bearer(node) + b"\r\n"
        )
        assert answer.status == 401
        assert (await raw.ask(GET)).status == 200


async def test_chunked_body_with_trailers_is_read(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as raw:
        start = b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        data = start + bearer(node) + b"\r\n2;x=y\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n" + GET
        for at in range(len(data)):  # in pieces of one byte
            raw.send(data[at : at + 1])
            await asyncio.sleep(0)
        assert (await raw.answer()).status == 422
        assert (await raw.answer()).status == 200


# -- A2: one request of a connection at a time


@pytest.mark.finding("A2")
@pytest.mark.parametrize(
    "request_",
    [
        GET,
        b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"z" * 60_000,
    ],
    ids=["small", "large answers", "bodies"],
)
async def test_pipelined_requests_unread_are_bounded(node: RunningNode, request_: bytes) -> None:
    before = rss()
    async with await RawClient.open(node.server.port, receive_buffer=4096) as raw:
        raw.read_no_more()
        many = request_ * (1 + 100_000 // len(request_))
        sent = await raw.pump(many, 60_000_000, within_s=30)
        assert cycles() <= 1
        # Requests are read as responses are written; unread responses stop the reading.
        assert sent < 60_000_000
    await until_gone(node)
    assert rss() - before < 20_000_000


def cycles() -> int:
    # By type: asking a dead weak proxy for its class raises.
    return sum(type(it) is RequestResponseCycle for it in gc.get_objects())


@pytest.mark.finding("A2")
async def test_pipelined_requests_are_answered_in_order(node: RunningNode) -> None:
    paths = [b"/livez", b"/nothing", b"/readyz", b"/openapi.json", b"/v1/jobs"] * 40
    async with await RawClient.open(node.server.port) as raw:
        raw.send(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths))
        statuses = [(await raw.answer()).status for _ in paths]
        assert statuses == [200, 404, 200, 200, 401] * 40


@pytest.mark.finding("A2")
async def test_waiting_request_holds_back_the_next(node: RunningNode) -> None:
    job = await node.submit()
    path = f"/v1/jobs/{job['id']}?wait_s=2".encode()
    async with await RawClient.open(node.server.port) as raw:
        raw.send(b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, bearer(node)))
        sent = await raw.pump(GET * 4000, 60_000_000, within_s=1.5)
        assert sent < 8_000_000  # the kernel's buffers and one buffered segment
        assert (await raw.answer()).status == 200
        assert (await raw.answer()).status == 200


@pytest.mark.finding("A2")
async def test_bytes_after_connection_close_are_dropped(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as raw:
        close = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        raw.send(close + GET * 5)
        received = await raw.rest()
        assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.slow
@pytest.mark.finding("A2")
async def test_unread_input_of_unauthenticated_clients_is_bounded(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "MAX_UNAUTHENTICATED_BYTES", 100_000)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(await RawClient.open(node.server.port))]
        for _ in range(11):
            sockets.append(await stack.enter_async_context(await RawClient.open(node.server.port)))
            sockets[-1].send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 15_000)

        async def refused() -> float:
            return await node.metric('mallard_connections_refused_total{reason="memory"}')

        await eventually(refused)
        # The first client, which sends little, is still served.
        assert (await sockets[0].ask(GET)).status == 200
    await until_gone(node)


# -- A3: nothing of a request waits for the garbage collector


REQUESTS = {
    "found": GET,
    "not found": b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    "no token": b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "wrong method": b"DELETE /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad request": b"GET / HTTP/1.1\r\n\r\n",
    "chunked": CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    "half a body": b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{",
    "half a head": b"GET / HTTP/1.1\r\nHost",
    "pipelined": GET * 20,
    "no upgrade": b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "another socket": HANDSHAKE.replace(b"/v1/driver", b"/v1/other") + b"\r\n",
    "a socket": HANDSHAKE + b"\r\n",
    "bad socket": HANDSHAKE.replace(b"13", b"12") + b"\r\n",
    "foreign origin": HANDSHAKE + b"Origin: https://evil.example\r\n\r\n",
    "bad token": b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
    "a page": b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n%s\r\n",
    "bad json": b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 1"
    b"\r\n%s\r\n{",
    "bad fields": b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%s\r\n{}",
    "too large": b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n%s\r\n"
    + b"z" * 70_000,
    "no such job": b"GET /v1/jobs/job_phoenix.01J HTTP/1.1\r\nHost: x\r\n%s\r\n",
    "metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.finding("A3")
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", REQUESTS)
async def test_request_leaves_no_reference_cycles(node: RunningNode, kind: str) -> None:
    request = REQUESTS[kind].replace(b"%s", bearer(node))

    async def once() -> None:
        async with await RawClient.open(node.server.port) as raw:
            raw.send(request)
            await asyncio.wait({asyncio.create_task(raw.reader.read(1))}, timeout=0.1)
        await until_gone(node)

    await once()  # what is made once and kept
    gc.collect()
    await once()
    await asyncio.sleep(0)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    ours = Counter(type(it).__qualname__ for it in gc.garbage if _is_of_the_server(it))
    assert not ours


def _is_of_the_server(it: Any) -> bool:
    module = type(it).__module__
    if type(it).__name__ in {"function", "cell", "frame", "coroutine"}:
        module = getattr(it, "__module__", None) or ""
    return str(module).startswith(("mallard_engine.", "uvicorn.", "starlette.", "httptools."))


@pytest.mark.slow
@pytest.mark.finding("A2", "A3")
@pytest.mark.usefixtures("no_collector")
async def test_memory_is_freed_while_a_driver_is_connected(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as driver:
        driver.send(HANDSHAKE + b"\r\n")
        await driver.reader.readuntil(b"\r\n\r\n")
        driver.send(packed_frame({"type": "hello", "token": node.token("ann")}))
        await eventually(lambda: len(node.node.hub) == 1)
        gc.freeze()
        before = rss()
        body = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"z" * 60_000
        for _ in range(5):
            async with await RawClient.open(node.server.port, receive_buffer=4096) as raw:
                raw.read_no_more()
                await raw.pump(body, 20_000_000, within_s=10)
        await eventually(lambda: len(node.server.server_state.connections) == 1)
        assert len([it for it in gc.get_objects() if type(it) is TimeoutHttpProtocol]) == 0
        gc.unfreeze()
        assert rss() - before < 15_000_000


# -- A4: connections end, and are bounded


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_WITHIN_S", "BODY_WITHIN_S", "KEEP_ALIVE_S", "SLOW_READER_S"):
        monkeypatch.setattr(http_protocol, name, 0.3)
    monkeypatch.setattr(http_protocol, "UNSENT_WITHIN_S", 1.0)
    monkeypatch.setattr(socket_protocol, "UNSENT_WITHIN_S", 1.0)
    monkeypatch.setattr(socket_protocol, "UNSENT_AFTER_CLOSE_S", 0.5)
    monkeypatch.setattr(socket_protocol, "CLOSE_WITHIN_S", 0.5)


@pytest.mark.finding("A4")
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "after", [b"\r\n", b"\r", b"\r\n\r\n", b"G", b"", b"GET /livez HTTP/1.1\r\n"]
)
async def test_idle_connection_closes_after_keep_alive(node: RunningNode, after: bytes) -> None:
    async with await RawClient.open(node.server.port) as raw:
        assert (await raw.ask(GET)).status == 200
        raw.send(after)
        await raw.rest()
        await until_gone(node)


@pytest.mark.finding("A4")
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("drop", [b"\r\n", b"x"])
async def test_trickling_bytes_do_not_extend_the_deadline(node: RunningNode, drop: bytes) -> None:
    async with await RawClient.open(node.server.port) as raw:
        assert (await raw.ask(GET)).status == 200
        ended = asyncio.create_task(raw.rest())
        with contextlib.suppress(ConnectionResetError):  # the node may close before the next drop
            while not ended.done():
                raw.send(drop)
                await asyncio.sleep(0.05)
        await ended
    await until_gone(node)


async def test_empty_line_before_a_request_is_ignored(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as raw:
        assert (await raw.ask(b"\r\n" + GET)).status == 200
        raw.send(b"\r\n")
        await asyncio.sleep(0.05)
        assert (await raw.ask(GET)).status == 200


@pytest.mark.finding("A4")
async def test_unauthenticated_connections_per_address_are_bounded(
    engine_node: NodeFactory,
) -> None:
    node = await engine_node(max_connections_per_address=5)
    async with contextlib.AsyncExitStack() as stack:
        known = await stack.enter_async_context(await RawClient.open(node.server.port))
        jobs = b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n" + bearer(node) + b"\r\n"
        assert (await known.ask(jobs)).status == 200  # authenticated from now on
        driver = await stack.enter_async_context(await RawClient.open(node.server.port))
        driver.send(HANDSHAKE + b"\r\n")
        driver.send(packed_frame({"type": "hello", "token": node.token("ann")}))
        await eventually(lambda: len(node.node.hub) == 1)
        sockets = [
            await stack.enter_async_context(await RawClient.open(node.server.port))
            for _ in range(9)
        ]
        await eventually(lambda: len(node.node.connections) == 7)
        served = 0
        for raw in sockets:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                served += (await raw.ask(GET)).status == 200
        assert served == 5
        assert (await known.ask(jobs)).status == 200
    await until_gone(node)
    assert await node.metric('mallard_connections_refused_total{reason="address"}') == 4


@pytest.mark.finding("A4")
async def test_full_node_closes_the_oldest_unauthenticated_client(engine_node: NodeFactory) -> None:
    node = await engine_node(max_connections=5)
    async with contextlib.AsyncExitStack() as stack:
        known = await stack.enter_async_context(await RawClient.open(node.server.port))
        jobs = b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n" + bearer(node) + b"\r\n"
        assert (await known.ask(jobs)).status == 200
        unauthenticated = [
            await stack.enter_async_context(await RawClient.open(node.server.port))
            for _ in range(8)
        ]
        assert (await unauthenticated[-1].ask(GET)).status == 200
        assert len(node.node.connections) <= 5
        assert await unauthenticated[0].rest() == b""
        # The authenticated client stays, and others can connect.
        assert (await known.ask(jobs)).status == 200
        late = await stack.enter_async_context(await RawClient.open(node.server.port))
        assert (await late.ask(jobs)).status == 200


# -- A5: bytes that the client does not read


@pytest.mark.finding("A5")
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("requests", [1, 2, 30])
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
async def test_unread_responses_close_the_connection(
    node: RunningNode, requests: int, close: bytes
) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n%s\r\n"
    async with await RawClient.open(node.server.port, receive_buffer=2048) as raw:
        raw.read_no_more()
        raw.send(request % b"" * (requests - 1) + request % close)
        await raw.writer.drain()
        await asyncio.sleep(0.05)
        await until_gone(node)
        await eventually(lambda: not unsent_bytes(node.server.port))


@asynccontextmanager
async def silent_driver(node: RunningNode) -> AsyncIterator[tuple[RawClient, DriverSocketProtocol]]:
    """The socket of a driver whose app has said hello and reads nothing more."""
    async with await RawClient.open(node.server.port, receive_buffer=2048) as raw:
        raw.send(HANDSHAKE + b"\r\n")
        await raw.reader.readuntil(b"\r\n\r\n")
        raw.send(packed_frame({"type": "hello", "token": node.token("ann")}))
        await eventually(lambda: len(node.node.hub) == 1)
        raw.read_no_more()
        (protocol,) = node.node.socket._open
        yield raw, protocol


@pytest.mark.finding("A5")
@pytest.mark.usefixtures("short")
async def test_driver_who_does_not_read_a_close_is_disconnected(node: RunningNode) -> None:
    async with silent_driver(node) as (_, protocol):
        protocol.send_frames([b"x" * 15_000] * 5)
        protocol.end(4001)
        await until_gone(node)
        await eventually(lambda: not unsent_bytes(node.server.port))


@pytest.mark.finding("A5")
@pytest.mark.usefixtures("short")
async def test_driver_who_does_not_read_is_disconnected(node: RunningNode) -> None:
    async with silent_driver(node) as (raw, protocol):
        protocol.send_frames([b"x" * 15_000] * 2)  # far below the transport's high-water mark
        while node.server.server_state.connections:
            raw.send(packed_frame({"type": "pong"}))  # it is not silent
            await asyncio.sleep(0.1)
        await eventually(lambda: not unsent_bytes(node.server.port))


def unsent_bytes(port: int) -> int:
    """Bytes that the kernel buffers for clients of the port, including closed connections."""
    local = f":{port:04X}"
    total = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local):
            total += int(fields[4].partition(":")[0], 16)
    return total
