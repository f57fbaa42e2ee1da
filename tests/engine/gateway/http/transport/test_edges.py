"""Any HTTP input gets a response of the contract, never a traceback."""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import redis

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, RunningNode
from tests.engine.gateway.http_support import PROBLEM, Caller, order, pointers, problem
from tests.support import GUARD_S


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


async def raw(node: RunningNode, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes; return status, headers and body of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
    writer.write(request)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), GUARD_S)).decode("latin-1")
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (it.partition(": ") for it in lines)}
    body = b""
    if "HEAD" not in request.decode("latin-1")[:5]:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    writer.close()
    await writer.wait_closed()
    return int(status.split()[1]), headers, body


async def test_missing_or_bad_token_is_401(shop: Caller) -> None:
    node = shop.node
    good = node.token("shop", Role.ORDERS)
    expired = node.token("shop", Role.ORDERS, ttl_s=-5)
    for headers in (
        {},
        {"Authorization": ""},
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
        {"Authorization": f"Bearer {good}x"},
        {"Authorization": f"Bearer {expired}"},
    ):
        for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/x")):
            answer = await node.http.request(method, path, headers=headers)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Bearer realm="mallard"'
            assert expired not in answer.text
            assert good not in answer.text
    # A token in the URL is ignored.
    problem(await node.http.get(f"/v1/jobs?token={good}"), 401, "unauthorized")


async def test_two_authorization_headers_are_refused(shop: Caller) -> None:
    line = f"Authorization: Bearer {shop.node.token('shop', Role.ORDERS)}\r\n"
    request = f"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n{line}{line}\r\n"
    status, headers, body = await raw(shop.node, request.encode())
    assert (status, headers["content-type"]) == (401, PROBLEM)
    assert json.loads(body)["code"] == "unauthorized"


async def test_unknown_path_is_404_and_method_405(shop: Caller) -> None:
    for path in ("/", "/v1", "/v1/jobs/", "/v1/jobs/a/b/c", "/v2/jobs", "/%00", "/v1//jobs"):
        problem(await shop.get(path), 404, "not_found")
    answer = await shop.node.http.delete("/v1/jobs")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST, HEAD, OPTIONS"
    problem(await shop.node.http.post("/openapi.json"), 405, "method_not_allowed")
    problem(await shop.get("/v1/quotes"), 405, "method_not_allowed")


async def test_head_and_options_are_answered(shop: Caller) -> None:
    options = await shop.node.http.options("/v1/jobs")
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, POST, HEAD, OPTIONS"
    line = f"Authorization: Bearer {shop.node.token('shop', Role.ORDERS)}\r\n"
    request = f"HEAD /v1/markets HTTP/1.1\r\nHost: x\r\n{line}\r\n".encode()
    status, headers, _ = await raw(shop.node, request)
    assert status == 200
    assert int(headers["content-length"]) > 1000


async def test_contract_documents_are_served(shop: Caller) -> None:
    openapi = (await shop.node.http.get("/openapi.json")).json()
    asyncapi = (await shop.node.http.get("/asyncapi.json")).json()
    assert openapi["openapi"] == "3.1.0"
    assert asyncapi["asyncapi"] == "3.0.0"
    # Every operation of the document has its route.
    for path, methods in openapi["paths"].items():
        for method in methods:
            url = re.sub(r"\{\w+\}", "x", path.replace("{market}", "phoenix"))
            answer = await shop.node.http.request(method.upper(), url)
            assert answer.status_code != 405, (method, path)
            if answer.status_code == 426:
                assert path == "/v1/driver"  # plain HTTP where a socket is


async def test_body_that_is_not_json_is_refused(shop: Caller) -> None:
    for content in (
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1, "a": 2}',
        b'"\\ud800"',
        b"[" * 2000 + b"]" * 2000,
        b"1" * 5000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"{} trailing",
    ):
        problem(await posted(shop, content), 400, "malformed_json")


async def test_body_of_the_wrong_type_is_refused(shop: Caller) -> None:
    for content in (b"[]", b"null", b'"x"', b"7", b"{}"):
        assert pointers(await posted(shop, content)) in [[""], ["/pickup"]]


async def test_other_media_type_is_refused(shop: Caller) -> None:
    good = json.dumps(order()).encode()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = await posted(shop, good, **{"Content-Type": media_type})
        problem(answer, 415, "unsupported_media_type")
    squeezed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await posted(shop, gzip.compress(good), **squeezed)
    problem(answer, 415, "unsupported_media_type")
    charset = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await posted(shop, good, **charset)).status_code == 201


async def test_too_large_body_is_413(shop: Caller) -> None:
    full = json.dumps(order(), separators=(",", ":")).encode()
    fits = full + b" " * (65_536 - len(full))
    assert (await posted(shop, fits)).status_code == 201
    problem(await posted(shop, fits + b" "), 413, "body_too_large")

    async def chunked(chunks: int) -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield b" " * 10_000

    problem(await posted(shop, chunked(7)), 413, "body_too_large")
    problem(await posted(shop, chunked(100)), 413, "body_too_large")
    # A client that continues is disconnected, possibly before it has read the response.
    with contextlib.suppress(httpx2.TransportError):
        problem(await posted(shop, chunked(1_000_000)), 413, "body_too_large")
    # Refused by its Content-Length before any byte was sent.
    line = f"Authorization: Bearer {shop.node.token('shop', Role.ORDERS)}\r\n"
    request = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{line}Idempotency-Key: k\r\n"
        "Content-Length: 99999999999\r\n\r\n"
    )
    status, headers, _ = await raw(shop.node, request.encode())
    assert (status, headers["content-type"]) == (413, PROBLEM)


async def posted(shop: Caller, content: Any, **headers: str) -> Any:
    """Post a raw body to `/v1/jobs`."""
    headers = {
        **shop.node.bearer("shop", Role.ORDERS),
        "Content-Type": "application/json",
        "Idempotency-Key": "k",
    } | headers
    return await shop.node.http.post("/v1/jobs", content=content, headers=headers)


async def test_key_that_is_not_ascii_is_refused(shop: Caller) -> None:
    line = f"Authorization: Bearer {shop.node.token('shop', Role.ORDERS)}\r\n"
    request = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{line}Idempotency-Key: k\u00e9\r\n\r\n"
    _, _, body = await raw(shop.node, request.encode("latin-1"))
    assert json.loads(body)["code"] == "idempotency_key_invalid"


async def test_invalid_fields_are_reported_with_pointers(shop: Caller) -> None:
    store = {"store": "lego"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"driver": "d-1"}, "/driver"),
        ({"state": "delivered"}, "/state"),
        ({"attempt": 7}, "/attempt"),
        ({"external_id": ""}, "/external_id"),
        ({"external_id": 7}, "/external_id"),
        ({"priority": -1}, "/priority"),
        ({"priority": 1.5}, "/priority"),
        ({"requires": ["a}b"]}, "/requires/0"),
        ({"requires": ["x" * 65]}, "/requires/0"),
        ({"parcels": {"count": 0}}, "/parcels/count"),
        ({"parcels": {"count": 1, "weight_g": -1}}, "/parcels/weight_g"),
        ({"parcels": {"count": 1, "volume_l": -0.5}}, "/parcels/volume_l"),
        ({"pay": {"amount_minor": 1, "currency": "usd"}}, "/pay/currency"),
        ({"pickup": {"mall": "{*}", "stores": [store]}}, "/pickup/mall"),
        ({"pickup": {"mall": MALL, "stores": []}}, "/pickup/stores"),
        ({"pickup": {"mall": MALL, "stores": [store] * 11}}, "/pickup/stores"),
        ({"pickup": {"mall": MALL, "stores": [{"store": "x\n"}]}}, "/pickup/stores/0/store"),
        ({"pickup": {"mall": MALL, "stores": [store | {"x": 1}]}}, "/pickup/stores/0/x"),
        ({"pickup": {"mall": MALL}}, "/pickup/stores"),
        ({"dropoff": {"lat": 91, "lon": 0}}, "/dropoff/lat"),
        ({"dropoff": {"lat": "33", "lon": 0}}, "/dropoff/lat"),
        ({"dropoff": {"lat": 33, "lon": 181}}, "/dropoff/lon"),
        ({"dropoff": {"lat": 1e-320, "lon": -0.0}}, "/dropoff"),
        ({"dropoff": {"lat": 33.3, "lon": -111.8, "deadline": "soon"}}, "/dropoff/deadline"),
        (
            {"dropoff": {"lat": 33.3, "lon": -111.8, "deadline": "2030-01-01T00:00:00"}},
            "/dropoff/deadline",
        ),
    ]
    for change, pointer in cases:
        assert pointers(await shop.submit(order(**change))) == [pointer], change
    infinite = json.dumps(order()).replace("33.3197", "1e999").encode()
    assert pointers(await posted(shop, infinite)) == ["/dropoff/lat"]
    unfit = json.dumps(order(metadata={"a": 1})).replace('"a": 1', '"a": 1e999').encode()
    assert pointers(await posted(shop, unfit))[0].startswith("/metadata")


async def test_disconnect_ends_the_wait(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    line = f"Authorization: Bearer {shop.node.token('shop', Role.ORDERS)}\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", shop.node.server.port)
    request = f"GET /v1/jobs/{job}?wait_s=20 HTTP/1.1\r\nHost: x\r\n{line}\r\n"
    writer.write(request.encode())
    await writer.drain()
    writer.close()
    # The node's fixture ends at once, with no request left: it does not wait for 20 s.


async def test_unavailable_store_is_503_with_retry_after(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    await shop.node.node.store.close()
    problem(await shop.get(f"/v1/jobs/{job}"), 503, "store_unavailable")
    problem(await shop.submit(), 503, "store_unavailable")


async def test_full_store_refuses_new_jobs_and_ends_old_ones(shop: Caller, redis_url: str) -> None:
    job = (await shop.submit()).json()["id"]
    with redis.Redis.from_url(redis_url) as server:
        server.config_set("maxmemory", 1)
        try:
            refused = await shop.submit()
            problem(refused, 503, "store_full")
            assert int(refused.headers["retry-after"]) > 1
            assert (await shop.post(f"/v1/jobs/{job}/cancel")).json()["state"] == "cancelled"
        finally:
            server.config_set("maxmemory", 0)
    assert (await shop.submit()).status_code == 201


async def test_internal_error_reveals_nothing(
    shop: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_job: str) -> None:
        raise RuntimeError("the inner life of the engine")

    monkeypatch.setattr(shop.node.node.store.jobs, "get", broken)
    answer = await shop.get("/v1/jobs/job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV")
    problem(answer, 500, "internal")
    assert "inner" not in answer.text
    assert "Traceback" not in answer.text
