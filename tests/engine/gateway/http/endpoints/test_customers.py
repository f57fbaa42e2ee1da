"""Erasure of a customer's data over HTTP."""

from typing import Any

import httpx2
import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, order, pointers, problem, uploaded
from tests.engine.gateway.test_driver_reports import held_by

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
    changed = {"dropoff", "updated_at", "cancel_note"}
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


SECRET = "s3cret"
EXACT = {"lat": 33.31971234, "lon": -111.84129876}
PIN = "998877"
MINE: dict[str, Any] = {
    **EXACT,
    **{name: f"{SECRET}-{name}" for name in (*PERSONAL, "customer_ref")},
    "pin": PIN,
}


async def delivered(shop: Caller, driver: DriverApp) -> str:
    """A job with all that may be personal: a problem at the door, an answer, codes, a photo."""
    node = shop.node
    job = await held_by(node, driver, dropoff=MINE, proof_required=["photo"])
    name: str = job["job"]
    await shop.patch(f"/v1/jobs/{name}", {"dropoff": {"note": f"{SECRET}-changed"}})
    await driver.progress(job, "picked_up")
    await driver.progress(job, "at_door", at_ms=node.node.store.now_ms())
    report = {"job": name, "attempt": job["attempt"], "kind": "customer_unreachable"}
    await driver.ask("problem", **report, text=f"{SECRET}-text")
    (asked,) = (await shop.get(f"/v1/jobs/{name}")).json()["problems"]
    answer = {"action": "retry", "text": f"{SECRET}-answer"}
    path = f"/v1/jobs/{name}/problems/{asked['id']}/answer"
    assert (await shop.post(path, answer)).status_code == 200
    for kind, value in (("code", "111222"), ("code", PIN), ("photo", await uploaded(node))):
        last = await driver.progress(job, "delivered", proof={"kind": kind, "value": value})
    assert last["job_state"] == "delivered"
    return name


async def test_nothing_personal_is_left_anywhere(shop: Caller) -> None:
    node = shop.node
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await delivered(shop, driver)
    cancelled = (await shop.submit(order(dropoff=MINE))).json()["id"]
    await shop.post(f"/v1/jobs/{cancelled}/cancel", {"reason": "other", "note": f"{SECRET}-gone"})
    tracking = (await shop.get(f"/v1/jobs/{job}")).json()["tracking_url"]
    links = (await shop.get(f"/v1/jobs/{job}/proofs")).json()["items"]
    assert (await erased(shop, MINE["customer_ref"])).json()["erased"] == 2
    await node.node.images.remove_gone(PHOENIX)

    assert [(await node.http.get(it["url"])).status_code for it in links if "url" in it] == [404]
    operator = Caller(node, "ops", Role.OPERATOR)
    paths = [f"/v1/jobs/{it}{rest}" for it in (job, cancelled) for rest in ("", *_BELOW)]
    texts = [(await caller.get(it)).text for caller in (shop, operator) for it in paths]
    texts += [(await operator.get(it)).text for it in ("/v1/jobs", "/v1/alerts", "/v1/audit")]
    texts += [(await node.http.get(f"{it}{tracking}")).text for it in ("", "/v1")]
    assert any('"customer_unreachable"' in text for text in texts)
    texts += [repr(value) for value in await _stored(node)]
    seen = [text for text in texts if any(it in text for it in (SECRET, PIN, "33.3197", "111222"))]
    assert seen == []


_BELOW = ("/tracking", "/explain", "/proofs", "/events")


async def _stored(node: RunningNode) -> list[Any]:
    """All that Redis holds."""
    call = node.node.store.runner.link.call
    read: dict[bytes, tuple[Any, ...]] = {
        b"string": ("GET",),
        b"hash": ("HGETALL",),
        b"zset": ("ZRANGE", 0, -1),
        b"set": ("SMEMBERS",),
        b"list": ("LRANGE", 0, -1),
        b"stream": ("XRANGE", "-", "+"),
    }
    found = []
    for key in await call("KEYS", "*"):
        kind = await call("TYPE", key)
        name, *rest = read[kind if isinstance(kind, bytes) else kind.encode()]
        found.append(await call(name, key, *rest))
    return found
