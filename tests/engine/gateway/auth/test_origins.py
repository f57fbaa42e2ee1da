"""Which origins may open a driver socket, and the response to a refused handshake."""

import json

import pytest

from mallard_engine.gateway.auth.origins import is_same_origin
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.raw_client import HANDSHAKE, Answer, RawClient


@pytest.mark.finding("C1")
@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://a.example", "a.example"),
        ("http://a.example:80", "a.example"),
        ("http://a.example", "a.example:80"),
        ("http://A.Example", "a.eXample"),
        ("http://a.example:8000", "a.example:8000"),
        ("https://a.example", "a.example"),
        ("https://a.example", "a.example:443"),
        ("https://a.example:443", "a.example"),
        ("ws://a.example:8000", "a.example:8000"),
        ("wss://a.example", "a.example"),
        ("http://[2001:DB8::1]:8000", "[2001:db8::1]:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
    ],
)
def test_requested_address_is_the_same_origin(origin: str, host: str) -> None:
    assert is_same_origin(origin, host, is_tls=False)


@pytest.mark.finding("C1")
@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "a.example"),
        ("", "a.example"),
        ("a.example", "a.example"),
        ("http://a.example.evil", "a.example"),
        ("https://a.example.evil", "a.example"),
        ("http://evil.a.example", "a.example"),
        ("http://a.example@evil", "a.example"),
        ("http://evil/a.example", "a.example"),
        ("http://a.example/", "a.example"),
        ("http://a.example:81", "a.example"),
        ("http://a.example", "a.example:8000"),
        ("http://a.example:443", "a.example"),
        ("https://a.example:80", "a.example"),
        ("http://a.example http://a.example", "a.example"),
        ("http://a.example, http://evil", "a.example"),
        ("file://a.example", "a.example"),
        ("http://[::1]", "[::2]"),
        ("http://a.example", ""),
        ("http://a.example\n", "a.example"),
        ("http://\u212a.example", "k.example"),  # `lower` maps the Kelvin sign to k
    ],
)
def test_look_alike_is_another_origin(origin: str, host: str) -> None:
    assert not is_same_origin(origin, host, is_tls=False)


def test_plain_page_is_not_the_origin_of_an_encrypted_address() -> None:
    assert is_same_origin("https://a.example", "a.example", is_tls=True)
    assert not is_same_origin("http://a.example", "a.example", is_tls=True)


async def shake(node: RunningNode, *lines: str) -> Answer:
    """Return the response to a handshake for `x` with these headers."""
    async with await RawClient.open(node.server.port) as client:
        return await client.ask(HANDSHAKE + "".join(f"{it}\r\n" for it in lines).encode() + b"\r\n")


def refused(answer: Answer) -> None:
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.body)["code"] == "forbidden"


@pytest.mark.finding("C1")
async def test_foreign_origin_needs_a_valid_bearer_token(
    node: RunningNode, capfd: pytest.CaptureFixture[str]
) -> None:
    good, foreign = f"Authorization: Bearer {node.token('ann')}", "Origin: https://evil.example"
    assert (await shake(node)).status == 101
    assert (await shake(node, "Origin: http://x")).status == 101
    assert (await shake(node, "Origin: http://x", good)).status == 101
    assert (await shake(node, foreign, good)).status == 101
    assert (await shake(node, "Origin: null", good)).status == 101
    shop = f"Authorization: Bearer {node.token('shop', Role.ORDERS)}"
    for lines in (
        [foreign],
        ["Origin: null"],
        ["Origin: http://x.evil"],
        ["Origin: http://x", "Origin: http://x"],
        [foreign, good + "x"],
        [foreign, good, good],
        [foreign, shop],  # it opens no driver socket
    ):
        refused(await shake(node, *lines))
    name = 'mallard_connections_refused_total{reason="origin"}'
    assert await node.metric(name) == 7
    assert "origin" in "".join(capfd.readouterr())


@pytest.mark.finding("C1")
async def test_origins_are_allowed_by_name(engine_node: NodeFactory) -> None:
    node = await engine_node(allowed_origins=["https://app.example"])
    assert (await shake(node, "Origin: https://app.example")).status == 101
    refused(await shake(node, "Origin: https://app.example.evil"))
    refused(await shake(node, "Origin: http://app.example"))


async def test_proxy_reports_the_encrypted_address(engine_node: NodeFactory) -> None:
    node = await engine_node(trusted_proxies=["127.0.0.1"])
    secure = "X-Forwarded-Proto: https"
    assert (await shake(node, "Origin: https://x", secure)).status == 101
    refused(await shake(node, "Origin: http://x", secure))


@pytest.mark.finding("C1")
async def test_query_string_is_refused_as_a_problem(node: RunningNode) -> None:
    async with await RawClient.open(node.server.port) as client:
        answer = await client.ask(HANDSHAKE.replace(b"/driver", b"/driver?token=x") + b"\r\n")
    assert answer.status == 400
    assert json.loads(answer.body)["code"] == "bad_request"


@pytest.mark.finding("D12")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_plain_http_on_the_socket_path_is_426(node: RunningNode, method: str) -> None:
    answer = await node.http.request(method, "/v1/driver")
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert "upgrade" in answer.headers["connection"].lower()
    if method == "GET":
        assert answer.json()["code"] == "upgrade_required"
    assert (await node.http.post("/v1/driver")).status_code == 405
