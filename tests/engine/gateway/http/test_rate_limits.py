"""Rate limits over HTTP and on handshakes, on a real node."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mallard_engine.gateway.http.problems import HttpProblem
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, Counter, order, problem
from tests.support import eventually

pytestmark = pytest.mark.finding("A9")

EngineNode = Callable[..., Awaitable[RunningNode]]


async def test_request_over_the_limit_is_429_with_fields(engine_node: EngineNode) -> None:
    node = await engine_node(service_rate_per_s=0.1, service_burst=5)
    # One token: a token has limits of its own beside those of its service.
    shop = Caller(node, headers=node.bearer("shop", Role.ORDERS))
    other = Caller(node, "other")
    answers = [await shop.get("/v1/markets") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    first, last = answers[0], answers[-1]
    problem(last, 429, "rate_limited")
    assert int(last.headers["retry-after"]) >= 1
    for answer in (first, last):
        assert '"service";q=5;w=50' in answer.headers["ratelimit-policy"]
    assert ";r=4;" in first.headers["ratelimit"]
    assert ";r=0;" in last.headers["ratelimit"]
    assert (await other.get("/v1/markets")).status_code == 200
    assert (
        'mallard_requests_limited_total{kind="token"} 1.0' in (await node.http.get("/metrics")).text
    )


async def test_refusals_of_one_connection_are_delayed(engine_node: EngineNode) -> None:
    shop = Caller(await engine_node(service_rate_per_s=0.1, service_burst=1))
    began_s = time.monotonic()
    codes = [(await shop.get("/v1/markets")).status_code for _ in range(6)]
    assert codes == [200] + [429] * 5
    assert time.monotonic() - began_s > 1


@pytest.mark.finding("A3")
async def test_delayed_refusal_keeps_no_frames(engine_node: EngineNode) -> None:
    shop = Caller(await engine_node(service_rate_per_s=0.1, service_burst=1))
    await shop.get("/v1/markets")

    def problems() -> list[HttpProblem]:
        return [it for it in gc.get_objects() if type(it) is HttpProblem]

    # Those of other tests, until a collection.
    others = problems()

    def delayed() -> list[HttpProblem]:
        return [it for it in problems() if not any(it is other for other in others)]

    refused = asyncio.create_task(shop.get("/v1/markets"))
    await eventually(lambda: len(delayed()) == 1)
    assert delayed()[0].__traceback__ is None
    assert (await refused).status_code == 429


async def test_two_tokens_of_a_service_share_its_limit(engine_node: EngineNode) -> None:
    node = await engine_node(service_rate_per_s=0.1, service_burst=4)
    tokens = [node.token("shop", Role.ORDERS, ttl_s=60 + n) for n in range(2)]
    codes = []
    for n in range(6):
        headers = {"Authorization": f"Bearer {tokens[n % 2]}"}
        codes.append((await node.http.get("/v1/markets", headers=headers)).status_code)
    assert codes == [200] * 4 + [429] * 2


async def test_quote_counts_as_four_requests(engine_node: EngineNode) -> None:
    shop = Caller(await engine_node(service_rate_per_s=0.1, service_burst=9))
    codes = [(await shop.post("/v1/quotes", order())).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


async def test_tokens_of_one_shop_share_its_limit(engine_node: EngineNode) -> None:
    node = await engine_node(shop_rate_per_s=0.1, shop_burst=4)
    tills = [Counter(node, f"till-{n}") for n in range(2)]
    answers = [await tills[n % 2].post(f"{tills[0].path}/hours", {}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    problem(answers[-1], 429, "rate_limited")
    assert '"shop";q=4;w=40' in answers[0].headers["ratelimit-policy"]
    other = Counter(node, "till-0", store="apple")
    assert (await other.post(f"{other.path}/hours", {})).status_code == 200


async def test_shop_named_as_a_service_takes_none_of_its_waits(engine_node: EngineNode) -> None:
    node = await engine_node(service_waits=1)
    shop, counter = Caller(node), Counter(node, "shop")
    job = (await shop.submit()).json()["id"]
    waits = asyncio.create_task(shop.get(f"/v1/jobs/{job}", wait_s=2))
    await asyncio.sleep(0.1)
    # Refused for its query, not as one wait too many.
    problem(await counter.post(f"{counter.path}/hours?wait_s=2", {}), 400, "bad_request")
    assert (await waits).status_code == 200


async def test_operator_named_as_a_service_takes_none_of_its_waits(
    engine_node: EngineNode,
) -> None:
    node = await engine_node(service_waits=1)
    shop, operator = Caller(node), Caller(node, role=Role.OPERATOR)
    job = (await shop.submit()).json()["id"]
    waits = asyncio.create_task(operator.get(f"/v1/jobs/{job}", wait_s=2))
    await asyncio.sleep(0.1)
    assert (await shop.get(f"/v1/jobs/{job}", wait_s=1)).status_code == 200
    assert (await waits).status_code == 200


async def test_bad_tokens_of_an_address_are_limited(engine_node: EngineNode) -> None:
    node = await engine_node(address_rate_per_s=0.1, address_burst=3)
    bad = {"Authorization": "Bearer nonsense"}
    codes = [(await node.http.get("/v1/jobs", headers=bad)).status_code for _ in range(4)]
    assert codes == [401, 401, 401, 429]
    assert (await Caller(node).get("/v1/jobs")).status_code == 200
    assert (await node.http.get("/livez")).status_code == 200


async def test_handshakes_of_a_driver_are_limited(engine_node: EngineNode) -> None:
    node = await engine_node(connect_rate_per_s=0.1, connect_burst=2)
    for _ in range(2):
        async with open_app(node.ws, node.token("d")) as driver:
            await driver.hello()
    async with open_app(node.ws, node.token("d")) as driver:
        await driver.send("hello")
        assert await driver.closed() == 4004
    async with open_app(node.ws, node.token("other")) as driver:
        await driver.hello()


async def test_waiting_requests_are_bounded(engine_node: EngineNode) -> None:
    node = await engine_node(service_waits=3)
    shop = Caller(node)
    job = (await shop.submit()).json()["id"]
    waits = [asyncio.create_task(shop.get(f"/v1/jobs/{job}", wait_s=3)) for _ in range(5)]
    await eventually(lambda: sum(each.done() for each in waits) == 2)
    assert [each.result().status_code for each in waits if each.done()] == [429, 429]
    assert (await shop.get(f"/v1/jobs/{job}")).status_code == 200
    await asyncio.wait(waits)
    assert (await shop.get(f"/v1/jobs/{job}", wait_s=1)).status_code == 200


async def test_limit_of_zero_disables_it(engine_node: EngineNode) -> None:
    node = await engine_node(service_rate_per_s=0, service_burst=1, address_rate_per_s=0)
    answers = [await Caller(node).get("/v1/markets") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


@pytest.mark.finding("A10")
async def test_full_quota_is_429_quota_exceeded(engine_node: EngineNode) -> None:
    shop = Caller(await engine_node(service_open_jobs=2))
    jobs = [(await shop.submit()).json()["id"] for _ in range(2)]
    found = problem(await shop.submit(), 429, "quota_exceeded")
    assert "open_jobs" in found["detail"]
    assert (await Caller(shop.node, "other").submit()).status_code == 201
    await shop.post(f"/v1/jobs/{jobs[0]}/cancel", {"reason": "sold out"})
    assert (await shop.submit()).status_code == 201
    metrics = (await shop.node.http.get("/metrics")).text
    assert 'mallard_quota_refusals_total{quota="open_jobs"} 1.0' in metrics


@pytest.mark.finding("A10")
async def test_refusals_by_a_quota_are_delayed(engine_node: EngineNode) -> None:
    shop = Caller(await engine_node(service_open_jobs=1))
    assert (await shop.submit()).status_code == 201
    began_s = time.monotonic()
    codes = [(await shop.submit()).status_code for _ in range(5)]
    assert codes == [429] * 5
    assert time.monotonic() - began_s > 1


_LONG = {f"note-{number}": "x" * 500 for number in range(20)}


@pytest.mark.parametrize(
    ("metadata", "stated", "left"),
    [({}, True, 9), (_LONG, True, 8), (_LONG, False, 8)],
    ids=["short", "long", "long-of-unstated-length"],
)
async def test_each_8_kib_of_a_body_counts_as_a_request(
    engine_node: EngineNode, metadata: dict[str, str], stated: bool, left: int
) -> None:
    shop = Caller(await engine_node(service_rate_per_s=0.01, service_burst=10))
    body = json.dumps(order(metadata=metadata)).encode()
    content = body if stated else _in_parts(body)
    headers = shop.node.bearer("shop", Role.ORDERS) | {"Idempotency-Key": "k"}
    answer = await shop.node.http.post("/v1/jobs", content=content, headers=headers)
    assert answer.status_code == 201
    assert f";r={left - 1};" in (await shop.get("/v1/markets")).headers["ratelimit"]


async def _in_parts(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 1000):
        yield body[at : at + 1000]


async def test_each_order_of_a_list_counts_by_its_size(engine_node: EngineNode) -> None:
    shop = Caller(await engine_node(service_rate_per_s=0.01, service_burst=10))
    long = [{"key": f"key-{n}", "job": order(metadata=_LONG)} for n in range(6)]
    answer = await shop.post("/v1/jobs:batch", {"items": long})
    # The list itself takes one and seven for its 64 KiB, and so two are left for another order.
    assert [it["status"] for it in answer.json()["items"]] == [201, 201, 429, 429, 429, 429]
