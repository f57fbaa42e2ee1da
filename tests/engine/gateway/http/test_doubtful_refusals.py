"""Refusals over HTTP after a failover that may have lost what was confirmed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
import redis.asyncio

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import PHOENIX, RunningNode
from tests.engine.gateway.http_support import Caller, Counter, order, problem

LINEAGE = "mallard:{phoenix}:lineage"


@pytest.fixture
async def fails_over(redis_url: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Make the server one that the market has never been on."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield lambda: client.hset(LINEAGE, "server", "another")


async def handover(node: RunningNode, job: str) -> httpx2.Response:
    counter = Counter(node)
    return await counter.post(f"{counter.path}/pickups/{job}/handover", {"code": "123456"})


async def received(node: RunningNode, job: str) -> httpx2.Response:
    counter = Counter(node)
    return await counter.post(f"{counter.path}/returns/{job}")


async def redelivery(node: RunningNode, job: str) -> httpx2.Response:
    return await Caller(node).post(
        f"/v1/jobs/{job}/redeliver", {"deadline": "2099-01-01T00:00:00Z"}
    )


async def answered_problem(node: RunningNode, job: str) -> httpx2.Response:
    return await Caller(node).post(f"/v1/jobs/{job}/problems/p1/answer", {"action": "retry"})


async def again(node: RunningNode, job: str) -> httpx2.Response:
    return await Caller(node).submit(order(external_id="twice"))


async def in_a_list(node: RunningNode, job: str) -> httpx2.Response:
    items = {"items": [{"key": "of-a-list", "job": order(external_id="twice")}]}
    return await Caller(node).post("/v1/jobs:batch", items)


async def step(node: RunningNode, job: str) -> httpx2.Response:
    """A driver whose hello is forgotten."""
    driver = Caller(node, "ann", Role.DRIVER)
    body = {"attempt": 1, "step": "delivered"}
    return await driver.post(f"/v1/driver/jobs/{job}/progress", body)


async def closing(node: RunningNode, job: str) -> httpx2.Response:
    operator = Caller(node, "ops", Role.OPERATOR)
    return await operator.post(f"/v1/jobs/{job}/close", {"state": "delivered", "reason": "x"})


async def assignment(node: RunningNode, job: str) -> httpx2.Response:
    operator = Caller(node, "ops", Role.OPERATOR)
    return await operator.post(f"/v1/jobs/{job}/assign", {"driver": "ann"})


async def transfer(node: RunningNode, job: str) -> httpx2.Response:
    operator = Caller(node, "ops", Role.OPERATOR)
    return await operator.post(f"/v1/markets/{PHOENIX}/drivers/ann/transfer", {})


CALLS: dict[Callable[[RunningNode, str], Awaitable[httpx2.Response]], int] = {
    handover: 409,
    received: 404,
    redelivery: 409,
    answered_problem: 404,
    again: 409,
    in_a_list: 409,
    step: 404,
    closing: 409,
    assignment: 422,
    transfer: 404,
}


def status_of(answer: httpx2.Response) -> int:
    """The status, or that of the item of a list."""
    if answer.status_code == 200:
        return int(answer.json()["items"][0]["status"])
    return answer.status_code


@pytest.mark.parametrize("call", CALLS, ids=lambda it: it.__name__)
async def test_refusal_is_final_only_once_lost_writes_are_restored(
    node: RunningNode,
    fails_over: Callable[[], Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[RunningNode, str], Awaitable[httpx2.Response]],
) -> None:
    job = (await Caller(node).submit(order(external_id="twice"))).json()["id"]
    assert status_of(await call(node, job)) == CALLS[call]
    await fails_over()
    for _ in range(2):
        answer = await call(node, job)
        assert status_of(answer) == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
        if answer.status_code == 503:
            problem(answer, 503, "store_unavailable")
    monkeypatch.setattr("mallard_engine.dispatch.leases._RESTORING_MS", 0)
    assert status_of(await call(node, job)) == CALLS[call]


async def test_look_at_a_job_that_is_gone_is_answered_as_it_is(
    node: RunningNode, fails_over: Callable[[], Awaitable[Any]]
) -> None:
    await fails_over()
    unknown = "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV"
    problem(await Caller(node).get(f"/v1/jobs/{unknown}"), 404, "not_found")
