"""Query parameters under /v1, and the job list by external id."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mallard_engine.contract.operations.table import OPERATIONS
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, RunningNode
from tests.engine.gateway.http_support import Caller, order, problem

pytestmark = pytest.mark.finding("D10")

_SERVED = [
    (operation.method.upper(), operation.path, operation.roles[-1])
    for operation in OPERATIONS
    if operation.roles and operation.status != 101
]


@pytest.fixture
async def shop(engine_node: Callable[..., Awaitable[RunningNode]]) -> Caller:
    return Caller(await engine_node())


@pytest.mark.parametrize("query", ["colour=red", "limit=1&limit=1", "Limit=1", "limit=1&=x"])
async def test_unknown_or_repeated_parameter_is_refused(shop: Caller, query: str) -> None:
    headers = shop.node.bearer(shop.sub, shop.role)
    answer = await shop.node.http.get(f"/v1/jobs?{query}", headers=headers)
    found = problem(answer, 400, "bad_request")
    assert query.rpartition("&")[2].partition("=")[0] in found["detail"]


async def test_every_route_refuses_an_unknown_parameter(shop: Caller) -> None:
    for method, path, role in _SERVED:
        filled = path.replace("{market}", "phoenix").replace("{mall}", MALL)
        filled = filled.replace("{store}", "lego").replace("{", "").replace("}", "")
        headers = shop.node.bearer("somebody", role)
        answer = await shop.node.http.request(
            method, f"{filled}?colour=red", json={}, headers=headers
        )
        assert "'colour'" in problem(answer, 400, "bad_request")["detail"], path


async def test_submit_refuses_a_misspelt_wait(shop: Caller) -> None:
    problem(await shop.submit(query="?wait=5"), 400, "bad_request")
    assert (await shop.get("/v1/jobs")).json()["items"] == []


async def test_empty_cursor_is_the_first_page(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    page = (await shop.get("/v1/jobs", cursor="")).json()
    assert [item["id"] for item in page["items"]] == [job]


async def test_invalid_external_id_is_refused(shop: Caller) -> None:
    for wrong in ("", "a/b", "x" * 65, "[a"):
        problem(await shop.get("/v1/jobs", external_id=wrong), 400, "bad_request")


async def test_every_job_of_an_external_id_is_listed(shop: Caller) -> None:
    made = []
    for name in ("A", "A", "A1", "A"):
        job = (await shop.submit(order(external_id=name))).json()["id"]
        if name == "A":
            made.append(job)
            await shop.post(f"/v1/jobs/{job}/cancel")
    other = (await Caller(shop.node, "other").submit(order(external_id="A"))).json()["id"]

    async def listed(caller: Caller, **query: Any) -> set[str]:
        page = (await caller.get("/v1/jobs", external_id="A", **query)).json()
        return {item["id"] for item in page["items"]}

    assert await listed(shop) == {*made}
    assert await listed(Caller(shop.node, "ops", Role.OPERATOR)) == {*made, other}
    assert await listed(shop, state="queued") == set()
    first = (await shop.get("/v1/jobs", external_id="A", limit=2)).json()
    rest = await listed(shop, limit=2, cursor=first["next_cursor"])
    assert rest | {item["id"] for item in first["items"]} == {*made}
