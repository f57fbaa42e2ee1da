"""Every operation with a token, called for what the token does not reach."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.table import OPERATIONS
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order, uploaded
from tests.engine.gateway.test_driver_reports import held_by

# In all that belongs to the job, its customer and its driver.
SECRET = "s3cret"
CUSTOMER = {
    **HOME,
    "name": f"{SECRET}-name",
    "address": f"{SECRET}-street",
    "contact": f"{SECRET}-phone",
    "note": f"{SECRET}-note",
    "customer_ref": f"{SECRET}-ref",
}
LATER = "2090-01-01T00:00:00Z"
BODIES: dict[str, Any] = {
    "submitJobs": {"items": [{"key": "foreign", "job": order()}]},
    "submitJob": order(),
    "getQuote": order(),
    "changeJob": {"priority": 7},
    "markParcelsReady": {"store": "lego", "ready_at": LATER},
    "answerProblem": {"action": "instructions", "text": "x"},
    "redeliverJob": {"deadline": LATER},
    "createWebhook": {"url": "https://example.com/h", "types": [], "markets": [PHOENIX]},
    "updateWebhook": {"description": "x"},
    "replayWebhook": {"from": "2026-11-29T00:00:00Z"},
    "registerDriver": {"alias": "x"},
    "suspendDriver": {"reason": "x"},
    "transferJobs": {},
    "assignJob": {"driver": f"{SECRET}-driver"},
    "unassignJob": {"reason": "x"},
    "closeJob": {"state": "lost", "reason": "x"},
    "revokeTokens": {"sub": f"{SECRET}-driver", "role": "driver", "market": PHOENIX},
    "setPolicy": {"set": {"cooldown_s": 7}},
}
QUERIES = {"streamEvents": {"market": PHOENIX}}
HEADERS = {"Idempotency-Key": "foreign", "If-Match": "*"}
FOREIGN = {Role.ORDERS, Role.OPERATOR}
SCOPED = [it for it in OPERATIONS if FOREIGN & set(it.roles)]
# They name nothing of a market, so a token of another market may call them.
PUBLIC = {"listNodes"}
# What they read or make belongs to no other service, so every service may call them.
SHARED = {"submitJob", "submitJobs", "getQuote", "createWebhook", "getMarket"}


@dataclass
class World:
    """A job on board in Phoenix, with all that hangs on one, and who sees all of it."""

    node: RunningNode
    ids: dict[str, str]

    async def facts(self) -> list[Any]:
        """What nobody in this test may change."""
        owner, operator = Caller(self.node), Caller(self.node, "ops", Role.OPERATOR)
        market = f"/v1/markets/{PHOENIX}"
        seen = [
            await owner.get(f"/v1/jobs/{self.ids['job']}"),
            await owner.get("/v1/webhooks"),
            await owner.get(f"/v1/jobs/{self.ids['job']}/proofs"),
            await operator.get("/v1/jobs"),
            await operator.get("/v1/alerts"),
            await operator.get(f"{market}/policy"),
            await operator.get(f"{market}/drivers/{self.ids['driver']}"),
            await operator.get(market),
        ]
        assert {it.status_code for it in seen} == {200}
        return [_without_moments(it.json()) for it in seen]

    async def call(self, operation: Operation, token: str) -> httpx2.Response:
        """Call an operation for what this world has."""
        id_of = {"webhooks": "hook", "alerts": "alert"}.get(operation.path.split("/")[2], "job")
        ids = self.ids | {"id": self.ids[id_of]}
        path = re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], operation.path)
        body = BODIES.get(operation.name, {})
        if operation.name == "cancelJobs":
            body = {"ids": [self.ids["job"]]}
        return await self.node.http.request(
            operation.method.upper(),
            path,
            params=QUERIES.get(operation.name),
            json=body if operation.body else None,
            headers={"Authorization": f"Bearer {token}", **HEADERS},
        )


def _without_moments(value: Any) -> Any:
    """Without what each answer makes anew, and what moves by itself."""
    if isinstance(value, dict):
        moving = {"url", "url_expires_at", "windows", "eta", "last_seen", "position"}
        return {name: _without_moments(it) for name, it in value.items() if name not in moving}
    return [_without_moments(it) for it in value] if isinstance(value, list) else value


@pytest.fixture
async def world(node: RunningNode) -> AsyncIterator[World]:
    driver = f"{SECRET}-driver"
    async with open_app(node.ws, node.token(driver)) as app:
        await app.go_online(position=NEAR)
        job = await held_by(node, app, dropoff=CUSTOMER, external_id=f"{SECRET}-order")
        await app.progress(job, "picked_up")
        given = {"kind": "photo", "value": await uploaded(node, driver=driver)}
        await app.progress(job, "picked_up", proof=given)
        await app.ask(
            "problem",
            job=job["job"],
            attempt=job["attempt"],
            kind="accident",
            text=f"{SECRET}-text",
        )
        owner, operator = Caller(node), Caller(node, "ops", Role.OPERATOR)
        url = f"https://example.com/{SECRET}"
        hook = await owner.post("/v1/webhooks", {"url": url, "types": []})
        (problem,) = (await owner.get(f"/v1/jobs/{job['job']}")).json()["problems"]
        (alert,) = (await operator.get("/v1/alerts")).json()["items"]
        ids = {
            "job": job["job"],
            "driver": driver,
            "hook": hook.json()["id"],
            "alert": alert["id"],
            "problem": problem["id"],
            "ref": CUSTOMER["customer_ref"],
            "market": PHOENIX,
            "mall": MALL,
            "store": "lego",
            "node": node.node.presence._node,
        }
        yield World(node, ids)


def _reaches(operation: Operation, answer: httpx2.Response, job: str) -> bool:
    """Whether an answer has anything of the job, its customer or its driver.

    What the caller named itself comes back: a customer's reference, the job that it cancels.
    """
    if operation.name == "cancelJobs":
        assert [it["status"] for it in answer.json()["items"]] in ([403], [404])
    named = answer.is_error or operation.name == "cancelJobs"
    text = answer.text.replace(f"{SECRET}-ref", "")
    return SECRET in text or (job in text and not named)


async def test_token_of_another_market_reaches_nothing(world: World) -> None:
    before = await world.facts()
    for role in (Role.ORDERS, Role.OPERATOR):
        # The same order service, and the same operator, with tokens for elsewhere.
        sub = "shop" if role is Role.ORDERS else "ops"
        token = world.node.token(sub, role, markets=["las-vegas"])
        for operation in SCOPED:
            if role not in operation.roles or operation.name in PUBLIC:
                continue
            answer = await world.call(operation, token)
            seen = (operation.name, role, answer.status_code, answer.text[:200])
            assert answer.status_code < 500, seen
            assert not _reaches(operation, answer, world.ids["job"]), seen
            names_it = "{" in operation.path and operation.name != "eraseCustomer"
            assert not (names_it and answer.is_success), seen
    assert await world.facts() == before


async def test_service_reaches_nothing_of_another(world: World) -> None:
    before = await world.facts()
    token = world.node.token("other", Role.ORDERS)
    for operation in SCOPED:
        if operation.name in SHARED or operation.name == "streamEvents":
            continue
        answer = await world.call(operation, token)
        seen = (operation.name, answer.status_code, answer.text[:200])
        assert answer.status_code < 500, seen
        assert not _reaches(operation, answer, world.ids["job"]), seen
        names_it = "{" in operation.path and operation.name != "eraseCustomer"
        assert not (names_it and answer.is_success), f"{seen} is foreign, or belongs in SHARED"
        if Role.ORDERS in operation.roles and names_it:
            assert answer.status_code == 404, seen
        if Role.ORDERS not in operation.roles:
            assert answer.status_code == 403, seen
    assert await world.facts() == before
