"""Clients with a valid token that send or read slowly keep no other client waiting."""

import asyncio
import contextlib
import io
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)

import pytest
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from mallard_engine.gateway.http.endpoints import proofs
from mallard_engine.gateway.http.rate_limits import RateLimitMiddleware
from mallard_engine.gateway.http.transport import protocol
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.http_support import PNG, Caller, order, upload
from tests.engine.gateway.raw_client import RawClient
from tests.support import Standstill, eventually

pytestmark = pytest.mark.finding("A9")

EngineNode = Callable[..., Awaitable[RunningNode]]
Soon = Callable[..., AbstractContextManager[None]]
# A body may take 5 s.
_SOON_S = 3


@pytest.fixture
def slow_clients() -> None:
    """Leave the limits as they are: these tests are about slow clients."""


@pytest.fixture
def soon(standstill: Standstill) -> Soon:
    """Checks that something takes less than so many seconds, standstills apart."""

    @contextmanager
    def limited(within_s: float = _SOON_S) -> Iterator[None]:
        began_s, before_ms = time.monotonic(), standstill.ms
        yield
        stood_s = (standstill.ms - before_ms) / 1000
        assert time.monotonic() - began_s < within_s + stood_s

    return limited


def head(node: RunningNode, path: str, sub: str, size: int, role: Role = Role.ORDERS) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: slow\r\nContent-Length: {size}\r\n"
        f"Authorization: Bearer {node.token(sub, role)}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def slow_bodies(
    node: RunningNode, path: str, callers: int, *, role: Role = Role.ORDERS, first: bytes = b"{"
) -> AsyncIterator[list[RawClient]]:
    """Four requests of each caller, whose bodies have begun and do not go on."""
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(4 * callers):
            raw = await stack.enter_async_context(await RawClient.open(node.server.port))
            raw.send(head(node, path, f"slow-{number // 4}", 1_000_000, role) + first)
            clients.append(raw)
        await eventually(lambda: len(node.server.server_state.tasks) >= 4 * callers)
        yield clients


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/quotes", "/v1/jobs:batch", "/v1/jobs:cancel"])
async def test_slow_bodies_keep_no_other_request_waiting(
    node: RunningNode, path: str, soon: Soon
) -> None:
    async with slow_bodies(node, path, callers=4):
        with soon():
            assert (await Caller(node).submit()).status_code == 201
            assert (await Caller(node).get("/v1/markets")).status_code == 200


async def test_slow_lists_of_an_operator_delay_no_service_of_its_name(
    node: RunningNode, soon: Soon
) -> None:
    slow = slow_bodies(node, "/v1/jobs:batch", callers=1, role=Role.OPERATOR, first=b" " * 70_000)
    async with slow:
        items = {"items": [{"key": "one", "job": order()}]}
        with soon():
            answer = await Caller(node, "slow-0").post("/v1/jobs:batch", items)
        assert answer.json()["items"][0]["status"] == 201


async def test_slow_list_gives_way_to_a_list_of_another_service(
    node: RunningNode, soon: Soon
) -> None:
    async with slow_bodies(node, "/v1/jobs:batch", callers=4, first=b" " * 70_000) as clients:
        with soon():
            items = {"items": [{"key": "one", "job": order()}]}
            answer = await Caller(node).post("/v1/jobs:batch", items)
            gave_way = await clients[0].answer()
        assert answer.json()["items"][0]["status"] == 201
        assert gave_way.status == 429
        assert int(gave_way.headers["retry-after"]) == 1


async def test_one_slow_list_of_each_of_many_services_delays_that_of_another_briefly(
    node: RunningNode, soon: Soon
) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(16):
            raw = await stack.enter_async_context(await RawClient.open(node.server.port))
            raw.send(head(node, "/v1/jobs:batch", f"slow-{number}", 1_000_000) + b" " * 70_000)
            clients.append(raw)
        await eventually(lambda: len(node.server.server_state.tasks) >= 16)
        with soon():
            items = {"items": [{"key": "one", "job": order()}]}
            answer = await Caller(node).post("/v1/jobs:batch", items)
        assert answer.json()["items"][0]["status"] == 201
        gave_way = await clients[0].answer()
        assert gave_way.status == 429
        assert int(gave_way.headers["retry-after"]) == 1


async def test_slow_image_gives_way_to_that_of_another_driver(
    node: RunningNode, soon: Soon
) -> None:
    slow = slow_bodies(node, "/v1/driver/proofs", callers=16, role=Role.DRIVER)
    async with slow as clients:
        with soon():
            assert (await upload(node)).status_code == 201
            assert (await clients[0].answer()).status == 429


async def test_unread_responses_keep_no_other_request_waiting(
    engine_node: EngineNode, soon: Soon
) -> None:
    node = await engine_node(service_rate_per_s=0)
    async with AsyncExitStack() as stack:
        for number in range(16):
            raw = await RawClient.open(node.server.port, receive_buffer=4096)
            await stack.enter_async_context(raw)
            raw.read_no_more()
            token = node.token(f"slow-{number // 4}", Role.ORDERS)
            request = (
                f"GET /v1/markets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
            raw.send(request.encode() * 1000)
        await eventually(lambda: len(node.server.server_state.tasks) >= 16)
        with soon(1):
            assert (await Caller(node).get("/v1/markets")).status_code == 200


async def test_driver_named_as_a_service_takes_none_of_its_slots(node: RunningNode) -> None:
    running: list[str] = []
    may_end = asyncio.Event()

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        running.append(scope["path"])
        await may_end.wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Message) -> None:
        pass

    def scope(path: str, role: Role) -> Scope:
        token = node.token("shop", role).encode()
        headers = [(b"authorization", b"Bearer " + token)]
        return {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": headers,
        }

    middleware = RateLimitMiddleware(app, node.node.tokens, node.node.limiter)
    scopes = [scope("/v1/driver/state", Role.DRIVER) for _ in range(5)]
    scopes.append(scope("/v1/markets", Role.ORDERS))
    requests = [asyncio.create_task(middleware(each, receive, send)) for each in scopes]
    await asyncio.sleep(0.05)
    assert running == ["/v1/driver/state"] * 4 + ["/v1/markets"]
    may_end.set()
    await asyncio.gather(*requests)


async def test_request_runs_within_its_slot_once_its_body_is_there(node: RunningNode) -> None:
    arrived, may_end = asyncio.Event(), asyncio.Event()
    running = 0

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        nonlocal running
        while (await receive())["more_body"]:
            pass
        running += 1
        await may_end.wait()
        running -= 1

    async def receive() -> Message:
        await arrived.wait()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(_message: Message) -> None:
        pass

    middleware = RateLimitMiddleware(app, node.node.tokens, node.node.limiter)
    token = node.token("shop", Role.ORDERS).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/quotes",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + token)],
    }
    requests = [asyncio.create_task(middleware(dict(scope), receive, send)) for _ in range(6)]
    slots = node.node.limiter.concurrency
    await eventually(lambda: all(not task.done() for task in requests) and not len(slots))
    arrived.set()
    await eventually(lambda: running == 4 and len(slots) == 6)
    may_end.set()
    await asyncio.gather(*requests)
    assert len(slots) == 0


def photo() -> bytes:
    """A PNG of some 240 KB."""
    noise = Image.frombytes("RGB", (283, 283), random.Random(1).randbytes(283 * 283 * 3))
    written = io.BytesIO()
    noise.save(written, "PNG")
    return written.getvalue()


async def trickle(raw: RawClient, data: bytes, size: int, every_s: float) -> bool:
    """Send in pieces; return whether the connection stayed open."""
    for start in range(0, len(data), size):
        with contextlib.suppress(ConnectionResetError):
            raw.send(data[start : start + size])
            await asyncio.sleep(every_s)
            continue
        return False
    return True


async def test_photo_from_a_bad_network_arrives(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BODY_WITHIN_S", 3.0)
    image = photo()
    async with await RawClient.open(node.server.port) as raw:
        raw.send(head(node, "/v1/driver/proofs", "ann", len(image), Role.DRIVER))
        await trickle(raw, image, 40_000, 0.7)
        assert (await raw.answer()).status == 201


@pytest.mark.parametrize(
    ("path", "role", "size", "longest_s"),
    [
        pytest.param("/v1/driver/proofs", Role.DRIVER, 1_000, 60.0, id="too little each time"),
        pytest.param("/v1/driver/proofs", Role.DRIVER, 20_000, 1.0, id="too long in all"),
        pytest.param("/v1/driver/proofs", None, 20_000, 60.0, id="no token"),
        pytest.param("/v1/jobs:batch", Role.ORDERS, 20_000, 60.0, id="no image"),
    ],
)
async def test_slow_body_is_cut(
    node: RunningNode,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    role: Role | None,
    size: int,
    longest_s: float,
) -> None:
    monkeypatch.setattr(protocol, "BODY_WITHIN_S", 0.4)
    monkeypatch.setattr(proofs, "_READ_WITHIN_S", longest_s)
    start = head(node, path, "ann", 1_000_000, role or Role.DRIVER)
    if role is None:
        start = start.replace(b"Authorization", b"X-Authorization")
    async with await RawClient.open(node.server.port) as raw:
        # The time that one request was allowed is not that of the next one.
        small = head(node, "/v1/driver/proofs", "ann", len(PNG), Role.DRIVER)
        assert (await raw.ask(small + PNG)).status == 201
        raw.send(start)
        sent = asyncio.create_task(trickle(raw, b" " * 1_000_000, size, 0.1))
        await raw.rest()
        assert not await sent
