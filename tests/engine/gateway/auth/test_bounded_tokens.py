"""Tokens of operators and order services that are bounded to some markets."""

from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, PHOENIX, RunningNode
from tests.engine.gateway.http_support import Caller, order, problem

ELSEWHERE = "las-vegas"
NO_JOB = "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Bounded(Caller):
    """A caller whose token names its markets."""

    def __init__(self, node: RunningNode, role: Role, *markets: str) -> None:
        sub = "ops" if role is Role.OPERATOR else "shop"
        token = node.token(sub, role, markets=list(markets))
        super().__init__(node, sub, role, {"Authorization": f"Bearer {token}"})


@pytest.fixture
def here(node: RunningNode) -> Caller:
    return Bounded(node, Role.ORDERS, PHOENIX)


@pytest.fixture
def elsewhere(node: RunningNode) -> Caller:
    return Bounded(node, Role.ORDERS, ELSEWHERE)


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Bounded(node, Role.OPERATOR, ELSEWHERE)


async def test_bounded_service_works_in_its_market(here: Caller) -> None:
    submitted = await here.submit()
    assert submitted.status_code == 201
    job = submitted.json()["id"]
    assert (await here.get(f"/v1/jobs/{job}")).status_code == 200
    assert [it["id"] for it in (await here.get("/v1/jobs")).json()["items"]] == [job]
    assert (await here.post("/v1/quotes", order())).status_code == 200
    listed = (await here.get("/v1/markets")).json()["items"]
    assert [it["id"] for it in listed] == [PHOENIX]


async def test_bounded_service_reaches_no_other_market(here: Caller, elsewhere: Caller) -> None:
    job = (await here.submit()).json()["id"]
    problem(await elsewhere.submit(), 403, "forbidden")
    problem(await elsewhere.post("/v1/quotes", order()), 403, "forbidden")
    path = f"/v1/jobs/{job}"
    parts = ("", "/explain", "/events", "/tracking", "/proofs")
    for one in (*(f"{path}{part}" for part in parts), f"/v1/jobs/{NO_JOB}"):
        problem(await elsewhere.get(one), 403, "forbidden")
    problem(await elsewhere.get("/v1/events", market=PHOENIX), 403, "forbidden")
    problem(await elsewhere.post(f"{path}/cancel", {}), 403, "forbidden")
    problem(await elsewhere.patch(path, {"priority": 1}), 403, "forbidden")
    problem(await elsewhere.send("delete", f"{path}/tracking"), 403, "forbidden")
    answer = {"action": "retry"}
    problem(await elsewhere.post(f"{path}/problems/p1/answer", answer), 403, "forbidden")
    batches = (
        await elsewhere.post("/v1/jobs:batch", {"items": [{"key": "k", "job": order()}]}),
        await elsewhere.post("/v1/jobs:cancel", {"ids": [job]}),
    )
    for batch in batches:
        (item,) = batch.json()["items"]
        assert (item["status"], item["problem"]["code"]) == (403, "forbidden")
    assert (await elsewhere.get("/v1/jobs")).json()["items"] == []
    problem(await elsewhere.get("/v1/jobs", market=PHOENIX), 403, "forbidden")
    problem(await elsewhere.get(f"/v1/markets/{PHOENIX}"), 403, "forbidden")
    listed = (await elsewhere.get("/v1/markets")).json()["items"]
    assert [it["id"] for it in listed] == [ELSEWHERE]


async def test_bounded_service_erases_in_its_markets_only(here: Caller, elsewhere: Caller) -> None:
    body = order()
    body["dropoff"] |= {"customer_ref": "ada", "name": "Ada"}
    path = f"/v1/jobs/{(await here.submit(body)).json()['id']}"
    await here.post(f"{path}/cancel", {})
    erased = await elsewhere.send("delete", "/v1/customers/ada")
    assert (erased.json()["erased"], erased.json()["open"]) == (0, [])
    assert (await here.get(path)).json()["dropoff"]["name"] == "Ada"
    assert (await here.send("delete", "/v1/customers/ada")).json()["erased"] == 1


async def test_bounded_operator_reaches_no_other_market(here: Caller, operator: Caller) -> None:
    job = (await here.submit()).json()["id"]
    drivers = f"/v1/markets/{PHOENIX}/drivers"
    problem(await operator.get(drivers), 403, "forbidden")
    problem(await operator.get(f"{drivers}/d-1"), 403, "forbidden")
    problem(await operator.get(f"/v1/markets/{PHOENIX}/policy"), 403, "forbidden")
    problem(await operator.put(f"/v1/markets/{PHOENIX}/policy", {}), 403, "forbidden")
    problem(await operator.put(f"{drivers}/d-1", {}), 403, "forbidden")
    problem(await operator.get("/v1/events", market=PHOENIX), 403, "forbidden")
    calls: list[tuple[str, Any]] = [
        (f"{drivers}/d-1/suspend", {"reason": "x"}),
        (f"{drivers}/d-1/resume", None),
        (f"{drivers}/d-1/transfer", {}),
        (f"/v1/jobs/{job}/assign", {"driver": "d-1"}),
        (f"/v1/jobs/{job}/unassign", {"reason": "x"}),
        (f"/v1/jobs/{job}/close", {"state": "lost", "reason": "x"}),
        (f"/v1/dead-letters/dead_{PHOENIX}.x/retry", None),
        (f"/v1/markets/{PHOENIX}/pause", {}),
        (f"/v1/markets/{PHOENIX}/malls/{MALL}/pause", {}),
        (f"/v1/markets/{PHOENIX}/malls/{MALL}/stores/lego/pause", {}),
        ("/v1/tokens/revoke", {"sub": "d-1", "role": "driver", "market": PHOENIX}),
        ("/v1/tokens/revoke", {"sub": "shop", "role": "orders"}),
    ]
    for path, body in calls:
        problem(await operator.post(path, body), 403, "forbidden")
    assert (await operator.post(f"/v1/markets/{ELSEWHERE}/pause", {})).status_code == 200
    body = {"sub": "d-1", "role": "driver", "market": ELSEWHERE}
    assert (await operator.post("/v1/tokens/revoke", body)).status_code == 200


async def test_token_bounded_to_nothing_reaches_nothing(node: RunningNode) -> None:
    nobody = Bounded(node, Role.OPERATOR)
    assert (await nobody.get("/v1/markets")).json()["items"] == []
    problem(await nobody.submit(), 403, "forbidden")


@pytest.mark.parametrize("markets", ["phoenix", [""], ["a b"], [5], {"phoenix": True}])
async def test_token_with_malformed_markets_is_refused(node: RunningNode, markets: Any) -> None:
    token = node.token("ops", Role.OPERATOR, markets=markets)
    response = await node.http.get("/v1/markets", headers={"Authorization": f"Bearer {token}"})
    problem(response, 401, "unauthorized")
