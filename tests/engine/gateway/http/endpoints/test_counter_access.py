"""Who reaches the counter of a shop, and what a token of role `store` reaches."""

import re
from typing import Any

import pytest

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.table import OPERATIONS
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, Counter, problem

NAMES = {
    "mall": MALL,
    "store": "lego",
    "market": "phoenix",
    "driver": "d-1",
    "offer": "o-1",
    "id": "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "job": "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV",
}
SHOPS = [it for it in OPERATIONS if Role.STORE in it.roles]
WITH_TOKEN = [it for it in OPERATIONS if it.roles]


def path_of(operation: Operation, **names: str) -> str:
    named = NAMES | names
    return re.sub(r"{(\w+)}", lambda match: named.get(match[1], "p1"), operation.path)


async def answer(caller: Caller, operation: Operation, **names: str) -> Any:
    return await caller.send(operation.method, path_of(operation, **names))


async def test_counter_reaches_no_other_route(engine_node: NodeFactory) -> None:
    node = await engine_node(shop_rate_per_s=0)  # there are more routes than one may try at once
    job = (await node.submit())["id"]
    counter = Counter(node)
    others = [it for it in WITH_TOKEN if Role.STORE not in it.roles]
    assert len(others) > 20
    for operation in others:
        if operation.name == "openDriverSocket":
            continue  # see below
        for names in ({}, {"id": job, "job": job}):
            refused = await answer(counter, operation, **names)
            assert refused.status_code == 404, (operation.name, refused.text)
            assert problem(refused, 404, "not_found")["detail"] == "No such thing"


async def test_counter_opens_no_driver_socket(node: RunningNode) -> None:
    token = node.node.tokens.mint("till", Role.STORE, ttl_s=60, mall=MALL, store="lego")
    async with open_app(node.ws, token) as app:
        assert await app.closed() == 4503


@pytest.mark.parametrize("role", [Role.ORDERS, Role.OPERATOR, Role.DRIVER])
async def test_other_roles_reach_no_counter(node: RunningNode, role: Role) -> None:
    for operation in SHOPS:
        problem(await answer(Caller(node, "someone", role), operation), 403, "forbidden")


async def test_counter_without_a_token_is_401(node: RunningNode) -> None:
    for operation in SHOPS:
        asked = await node.http.request(operation.method, path_of(operation))
        problem(asked, 401, "unauthorized")


@pytest.mark.parametrize(
    ("claims", "names"),
    [
        ({}, {"store": "apple"}),
        ({}, {"mall": "scottsdale-fashion-square"}),
        ({}, {"mall": "atlantis"}),
        ({}, {"store": "LEGO"}),
        ({"store": "atlantis"}, {"store": "atlantis"}),
        ({"mall": "atlantis"}, {"mall": "atlantis"}),
        ({"market": "las-vegas"}, {}),
    ],
    ids=str,
)
async def test_path_of_another_shop_is_404(
    node: RunningNode, claims: dict[str, Any], names: dict[str, str]
) -> None:
    for operation in SHOPS:
        found = await answer(Counter(node, **claims), operation, **names)
        problem(found, 404, "not_found")


async def test_counter_with_its_market_is_served(node: RunningNode) -> None:
    counter = Counter(node, market="phoenix")
    assert (await counter.post(f"{counter.path}/hours", {})).status_code == 200
