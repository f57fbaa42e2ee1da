"""Erasure of a customer's data over HTTP."""

from typing import Any

import httpx2
import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, RunningNode
from tests.engine.gateway.http_support import Caller, order, pointers, problem

PERSONAL = {"address": "1 Main St", "name": "Ada", "contact": "555", "note": "gate code 12"}


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


async def ordered(shop: Caller, ref: Any = "cust-1", **fields: Any) -> str:
    body = order(dropoff={**HOME, **PERSONAL, "customer_ref": ref}, **fields)
    answer = await shop.submit(body)
    assert answer.status_code == 201, answer.text
    job: str = answer.json()["id"]
    return job


async def erased(caller: Caller, ref: str) -> httpx2.Response:
    return await caller.node.http.delete(f"/v1/customers/{ref}", headers=caller._headers())


async def test_ended_jobs_lose_their_customer_and_open_ones_are_named(shop: Caller) -> None:
    gone, stays = await ordered(shop), await ordered(shop)
    unrelated = await ordered(shop, "cust-2")
    await shop.post(f"/v1/jobs/{gone}/cancel")
    await shop.post(f"/v1/jobs/{unrelated}/cancel")
    before = (await shop.get(f"/v1/jobs/{gone}")).json()
    assert before["dropoff"]["customer_ref"] == "cust-1"
    answer = await erased(shop, "cust-1")
    assert answer.status_code == 200
    assert answer.json() == {
        "customer_ref": "cust-1",
        "erased": 1,
        "open": [stays],
        "more": False,
    }
    after = (await shop.get(f"/v1/jobs/{gone}")).json()
    assert after["dropoff"].keys() == {"lat", "lon", "deadline"}
    assert abs(after["dropoff"]["lat"] - HOME["lat"]) <= 0.0025
    assert after["dropoff"]["lat"] != HOME["lat"]
    changed = {"dropoff", "updated_at"}
    assert {n: it for n, it in after.items() if n not in changed} == {
        n: it for n, it in before.items() if n not in changed
    }
    for job in (stays, unrelated):
        dropoff = (await shop.get(f"/v1/jobs/{job}")).json()["dropoff"]
        assert {name: dropoff[name] for name in PERSONAL} == PERSONAL


async def test_erasure_again_takes_what_has_ended_since(shop: Caller) -> None:
    job = await ordered(shop)
    assert (await erased(shop, "cust-1")).json()["erased"] == 0
    await shop.post(f"/v1/jobs/{job}/cancel")
    assert (await erased(shop, "cust-1")).json()["erased"] == 1
    again = (await erased(shop, "cust-1")).json()
    assert (again["erased"], again["open"]) == (0, [])


async def test_service_erases_its_own_jobs_and_an_operator_all(shop: Caller) -> None:
    job = await ordered(shop)
    await shop.post(f"/v1/jobs/{job}/cancel")
    assert (await erased(Caller(shop.node, "other"), "cust-1")).json()["erased"] == 0
    assert "name" in (await shop.get(f"/v1/jobs/{job}")).json()["dropoff"]
    operator = Caller(shop.node, "ops", Role.OPERATOR)
    assert (await erased(operator, "cust-1")).json()["erased"] == 1
    driver = Caller(shop.node, "d-1", Role.DRIVER)
    assert (await erased(driver, "cust-1")).status_code in {401, 403}


@pytest.mark.parametrize("ref", ["", "a b", "a/b", "x" * 65, 1, {}])
async def test_bad_customer_ref_is_refused(shop: Caller, ref: Any) -> None:
    body = order(dropoff={**HOME, "customer_ref": ref})
    assert pointers(await shop.submit(body)) == ["/dropoff/customer_ref"]


@pytest.mark.parametrize("ref", ["a%20b", "x" * 65, "%00"])
async def test_no_customer_has_a_malformed_reference(shop: Caller, ref: str) -> None:
    problem(await erased(shop, ref), 404, "not_found")


async def test_customer_of_an_order_does_not_change(shop: Caller) -> None:
    job = await ordered(shop)
    answer = await shop.patch(f"/v1/jobs/{job}", {"dropoff": {"customer_ref": "cust-2"}})
    assert pointers(answer) == ["/dropoff/customer_ref"]


async def test_null_customer_ref_is_absent(shop: Caller) -> None:
    job = await ordered(shop, None)
    assert "customer_ref" not in (await shop.get(f"/v1/jobs/{job}")).json()["dropoff"]
