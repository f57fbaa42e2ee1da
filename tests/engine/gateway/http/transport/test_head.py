"""Ambiguous heads and bodies are refused; handshakes are not lost."""

import json

import pytest

from mallard_engine.gateway.http.transport.framing import Framing, HeadTooLarge, Malformed
from mallard_engine.gateway.http.transport.head import check_host
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.raw_client import HANDSHAKE, RawClient, packed_frame
from tests.support import eventually

POST = b"POST /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.finding("A11")
@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: user@x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x:port\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x, y\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/0.9\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: x\n\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: 2, 2\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: -2\r\n\r\n{}",
        POST + b"Content-Length: 0x2\r\n\r\n{}",
        POST + b"Content-Length : 2\r\n\r\n{}",
        POST + b"Content-Length: 99999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"X: a\r\n b\r\n\r\n",
        POST + b" X: a\r\n\r\n",
        POST + b"X: a\x00b\r\n\r\n",
        POST + b"X: a\rb\r\n\r\n",
        POST + b": a\r\n\r\n",
    ],
)
async def test_ambiguous_head_is_refused(node: RunningNode, request_: bytes) -> None:
    async with await RawClient.open(node.server.port) as client:
        answer = await client.ask(request_)
        assert answer.status == 400
        assert json.loads(answer.body)["code"] == "bad_request"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""


@pytest.mark.finding("A11")
@pytest.mark.parametrize(
    "chunks",
    [
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"+2\r\n{}\r\n0\r\n\r\n",
        b"2 2\r\n{}\r\n0\r\n\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
        b"fffffffff\r\n{}\r\n",
        b"2\r\n{}\r\n0\r\nX y\r\n\r\n",
    ],
)
async def test_malformed_chunk_ends_the_connection(node: RunningNode, chunks: bytes) -> None:
    start = b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with await RawClient.open(node.server.port) as client:
        # Another server would read this as a second request.
        client.send(start + chunks + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received = await client.rest()
    assert b"HTTP/1.1 200" not in received
    assert b"HTTP/1.1 40" in received


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x:\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhOsT:x\r\n\r\n",
        b"GET http://other.example/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_unusual_head_is_accepted(node: RunningNode, request_: bytes) -> None:
    async with await RawClient.open(node.server.port) as client:
        assert (await client.ask(request_)).status == 200


async def test_upgrade_to_http_2_is_ignored(node: RunningNode) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    head = b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + wish + b"\r\n"
    async with await RawClient.open(node.server.port) as client:
        assert (await client.ask(head + b"{}")).status == 401
        assert (await client.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v1/driver/", 404),
        (b"/v1/nowhere", 404),
        (b"*", 404),
        (b"/v1/jobs", 401),
        (b"http://x/v1/driver", 426),
        (b"/livez", 200),
    ],
)
async def test_handshake_elsewhere_is_a_plain_request(
    node: RunningNode, path: bytes, status: int
) -> None:
    head = HANDSHAKE.replace(b"/v1/driver", path)
    async with await RawClient.open(node.server.port) as client:
        answer = await client.ask(head + b"\r\n")
        assert answer.status == status
        if status != 200:
            assert json.loads(answer.body)["status"] == status
        assert (await client.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200


@pytest.mark.finding("A13")
@pytest.mark.parametrize("pause", [False, True])
async def test_frames_after_the_handshake_are_handled(node: RunningNode, *, pause: bool) -> None:
    async with await RawClient.open(node.server.port) as client:
        hello = packed_frame({"type": "hello", "token": node.token("ann")})
        status = packed_frame({"type": "status", "id": 7, "state": "paused"})
        client.send(HANDSHAKE + b"\r\n" + hello + status[:5])
        if pause:
            await client.reader.readuntil(b"\r\n\r\n")
        client.send(status[5:])
        await eventually(lambda: len(node.node.hub) == 1)
        received = await client.reader.readuntil(b"reply")
        assert b"welcome" in received


@pytest.mark.finding("A13")
async def test_too_much_input_after_the_handshake_closes(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as client:
        await client.pump(HANDSHAKE + b"\r\n" + bytes(200_000), 200_000)
        await eventually(lambda: not node.server.server_state.connections)


@pytest.mark.finding("A13")
async def test_frame_after_a_refused_handshake_is_dropped(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as client:
        refused = HANDSHAKE.replace(b"/v1/driver", b"/v1/driver?token=x") + b"\r\n"
        answer = await client.ask(refused + packed_frame({"type": "pong"}))
        assert answer.status == 400
    await eventually(lambda: not node.server.server_state.connections)


# -- the framer by itself


def test_chunked_body_ends_at_its_last_chunk() -> None:
    data = b"2;x\r\n{}\r\nA\r\n0123456789\r\n000\r\nX: y\r\n\r\n"
    for cut in range(len(data)):
        framing = Framing()
        framing.expect_chunks()
        assert framing.body(data[:cut]) == (cut, False)
        assert framing.body(data[cut:] + b"GET") == (len(data) - cut, True)


def test_head_after_an_empty_line_is_found() -> None:
    assert Framing().head(b"\r\nGET / HTTP/1.1\r\n\r\nrest") == (2, 20)
    assert Framing().head(b"\r\nGET / HTTP/1.1\r\n\r") is None
    with pytest.raises(Malformed):
        Framing().head(b"\r\n" * 3 + b"GET")
    with pytest.raises(HeadTooLarge):
        Framing().head(b"x" * 16_385)


@pytest.mark.parametrize("host", [b"x", b"a.b-c.example:80", b"192.0.2.1:8000", b"[2001:db8::1]"])
def test_valid_host_is_accepted(host: bytes) -> None:
    check_host("1.1", [(b"host", host)])
