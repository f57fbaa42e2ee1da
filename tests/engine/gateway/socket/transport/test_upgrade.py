"""A plain handshake is accepted as the library accepts it; the library decides on any other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from mallard_engine.gateway.socket.transport.upgrade import (
    DRIVER_PATH,
    Header,
    acceptance,
    offered_subprotocols,
    plain_key,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3
HOST: Header = (b"host", b"mall.example")
UPGRADE: Header = (b"upgrade", b"websocket")
CONNECTION: Header = (b"connection", b"Upgrade")
VERSION: Header = (b"sec-websocket-version", b"13")
PLAIN: list[Header] = [HOST, UPGRADE, CONNECTION, VERSION, (b"sec-websocket-key", KEY)]
CHROME = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")
PYTHON = (
    b"sec-websocket-extensions",
    b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
)


def key_of(headers: list[Header], url: bytes = DRIVER_PATH) -> bytes | None:
    return plain_key(url, headers, 500)


def answer_of_library(headers: list[Header], url: bytes = DRIVER_PATH) -> bytes:
    """The library's response, whose headers are in another order."""
    library = ServerProtocol()
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    library.receive_data(b"GET %s HTTP/1.1\r\n%s\r\n" % (url, lines))
    for request in library.events_received():
        assert isinstance(request, Request)
        library.send_response(library.accept(request))
    return b"".join(library.data_to_send())


def test_response_is_that_of_the_rfc() -> None:
    answer = acceptance(KEY, "mallard.v1.msgpack", [(b"x-content-type-options", b"nosniff")])
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert set(answer.split(b"\r\n")) >= {
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        b"Sec-WebSocket-Protocol: mallard.v1.msgpack",
        b"x-content-type-options: nosniff",
    }
    assert b"Protocol:" not in acceptance(KEY, None, [])


@pytest.mark.parametrize(
    "headers",
    [
        PLAIN,
        [*PLAIN, CHROME, (b"origin", b"https://mall.example"), (b"cookie", b"a=b")],
        [*PLAIN, PYTHON, (b"authorization", b"Bearer x")],
        [*PLAIN, (b"sec-websocket-extensions", b"permessage-deflate, x-webkit-deflate-frame")],
        [(name, b"keep-alive, Upgrade" if name == b"connection" else it) for name, it in PLAIN],
        [(name, b"WebSocket" if name == b"upgrade" else value) for name, value in PLAIN],
    ],
)
def test_handshake_of_a_usual_client_is_plain(headers: list[Header]) -> None:
    assert key_of(headers) == KEY
    assert answer_of_library(headers).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "headers",
    [
        *([header for header in PLAIN if header[0] != name] for name, _ in PLAIN[1:]),
        *([*PLAIN, header] for header in PLAIN[1:]),
        [*PLAIN, (b"origin", b"https://a"), (b"origin", b"https://a")],
        [*PLAIN, (b"sec-websocket-extensions", b"permessage-deflate; =")],
        [*PLAIN, (b"sec-websocket-extensions", b"")],
        [HOST, UPGRADE, CONNECTION, VERSION, (b"sec-websocket-key", b"AAAA")],
        [HOST, UPGRADE, CONNECTION, VERSION, (b"sec-websocket-key", b"\xff" * 24)],
        [HOST, UPGRADE, CONNECTION, VERSION, (b"sec-websocket-key", KEY[:-1] + b"!")],
        [HOST, UPGRADE, (b"connection", b"close"), *PLAIN[3:]],
        [HOST, (b"upgrade", b"websocket, h2c"), *PLAIN[2:]],
        [HOST, UPGRADE, CONNECTION, (b"sec-websocket-version", b"8"), PLAIN[4]],
        [*PLAIN, *((b"x-%d" % number, b"y") for number in range(40))],
    ],
)
def test_any_other_handshake_is_left_to_the_library(headers: list[Header]) -> None:
    assert key_of(headers) is None


def test_other_target_and_long_head_are_left_to_the_library() -> None:
    assert key_of(PLAIN, b"/v1/driver?token=x") is None
    assert key_of(PLAIN, b"/v1/other") is None
    assert plain_key(DRIVER_PATH, PLAIN, 10_000) is None


VALUES = st.sampled_from(
    [b"", b"websocket", b"Upgrade", b"keep-alive, Upgrade", b"13", b"8", KEY, b"AAAA", b"a; b=1"]
)


@given(st.lists(st.tuples(st.sampled_from([name for name, _ in [*PLAIN, CHROME]]), VALUES)))
def test_plain_handshake_is_accepted_as_by_the_library(more: list[Header]) -> None:
    changed = dict(more)
    headers = [(name, changed.pop(name, value)) for name, value in PLAIN] + list(changed.items())
    key = key_of(headers)
    if key is not None:
        accept = acceptance(key, None, []).split(b"\r\n")[3]
        assert accept in answer_of_library(headers).split(b"\r\n")


def test_subprotocols_are_offered_in_order() -> None:
    field = b"sec-websocket-protocol"
    assert offered_subprotocols([*PLAIN, (field, b"a, b"), (field, b"c")]) == ["a", "b", "c"]
    assert offered_subprotocols(PLAIN) == []
