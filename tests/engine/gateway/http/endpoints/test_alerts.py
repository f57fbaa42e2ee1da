"""Alerts and dead letters over HTTP."""

from typing import Any

import pytest

from mallard_engine.storage.records.packing import pack
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http.endpoints.jobs.test_actions import collected, online
from tests.engine.gateway.http_support import Caller, problem
from tests.support import eventually

ALERTS = "/v1/alerts"
LETTERS = "/v1/dead-letters"
NO_ALERT = "alert_phoenix.01800000000000-000000001"


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def raise_alerts(driver: DriverApp, job: str, attempt: int) -> None:
    """Raise `accident`, then `unsafe`."""
    for kind in ("accident", "unsafe"):
        reply = await driver.ask("problem", kind=kind, job=job, attempt=attempt)
        assert reply["type"] == "reply", reply


async def listed(operator: Caller, **query: Any) -> list[str]:
    answer = await operator.get(ALERTS, **query)
    assert answer.status_code == 200, answer.text
    return [alert["what"] for alert in answer.json()["items"]]


async def test_alert_is_listed_and_acknowledged(shop: Caller, operator: Caller) -> None:
    assert (await operator.get(ALERTS)).json() == {"items": [], "next_cursor": None}
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        job = await collected(shop, driver)
        attempt = (await shop.get(f"/v1/jobs/{job}")).json()["attempt"]
        await raise_alerts(driver, job, attempt)
    assert await listed(operator) == ["unsafe", "accident"]
    newest, oldest = (await operator.get(ALERTS, state="open")).json()["items"]
    assert (newest["job"], newest["driver"], newest["market"]) == (job, "d-1", "phoenix")
    assert (newest["state"], newest["at"][-1]) == ("open", "Z")
    assert not {"acknowledged_by", "acknowledged_at"} & newest.keys()

    done = await operator.post(f"{ALERTS}/{newest['id']}/acknowledge")
    assert done.status_code == 200
    assert (done.json()["state"], done.json()["acknowledged_by"]) == ("acknowledged", "ops")
    other = Caller(operator.node, "eve", Role.OPERATOR)
    assert (await other.post(f"{ALERTS}/{newest['id']}/acknowledge")).json() == done.json()
    assert await listed(operator, state="open") == ["accident"]
    assert await listed(operator, state="acknowledged") == ["unsafe"]
    assert await listed(operator, market="phoenix") == ["unsafe", "accident"]
    assert await listed(operator, market="las-vegas") == []

    first = (await operator.get(ALERTS, limit=1)).json()
    assert [it["id"] for it in first["items"]] == [newest["id"]]
    second = (await operator.get(ALERTS, limit=1, cursor=first["next_cursor"])).json()
    assert [it["id"] for it in second["items"]] == [oldest["id"]]
    assert second["next_cursor"] is None
    assert await shop.node.metric('mallard_alerts_total{kind="accident"}') == 1


async def test_wrong_filter_of_alerts_is_refused(operator: Caller) -> None:
    for query in (
        {"state": "closed"},
        {"state": ""},
        {"market": "atlantis"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "x"},
        {"cursor": "x"},
        {"cursor": "a b/c"},
        {"kind": "accident"},
    ):
        problem(await operator.get(ALERTS, **query), 400, "bad_request")
        if "state" not in query:
            problem(await operator.get(LETTERS, **query), 400, "bad_request")
    problem(await operator.get(LETTERS, state="open"), 400, "bad_request")
    problem(await Caller(operator.node).get(ALERTS), 403, "forbidden")
    problem(await Caller(operator.node).get(LETTERS), 403, "forbidden")


@pytest.mark.parametrize(
    "alert",
    [NO_ALERT, "alert_atlantis.01800000000000-000000001", "x", "a%7Db", "raised", "alert_phoenix."],
)
async def test_unknown_alert_or_letter_is_not_found(operator: Caller, alert: str) -> None:
    problem(await operator.post(f"{ALERTS}/{alert}/acknowledge"), 404, "not_found")
    problem(await operator.post(f"{LETTERS}/{alert}/retry"), 404, "not_found")


async def test_bounded_operator_sees_alerts_of_its_markets(node: RunningNode) -> None:
    token = node.token("ops", Role.OPERATOR, markets=["las-vegas"])
    bounded = Caller(node, headers={"Authorization": f"Bearer {token}"})
    assert (await bounded.get(ALERTS)).json()["items"] == []
    problem(await bounded.get(ALERTS, market="phoenix"), 403, "forbidden")
    problem(await bounded.post(f"{ALERTS}/{NO_ALERT}/acknowledge"), 403, "forbidden")


async def poison(node: RunningNode, job: str) -> bytes:
    """Break the need that rounds read of a queued job; return the good one."""
    store = node.node.store
    found = await store.jobs.get(job)
    keys, call = store.runner.keys[found.market], store.runner.link.call
    need = pack(found.need).replace(b"lego", b"nope")
    broken = [found.attempt, need, pack([]), found.card, found.mall]
    await call("HSET", keys.key("waiting"), job, pack(broken))
    await call("HSET", keys.job(job), "need", need)
    return pack(found.need)


async def test_poison_job_is_a_dead_letter_and_retried(engine_node: NodeFactory) -> None:
    node = await engine_node(retry_s=0.2)
    shop, operator = Caller(node), Caller(node, "ops", Role.OPERATOR)
    job = (await shop.submit()).json()["id"]
    good = await poison(node, job)
    async with open_app(node.ws, node.token("d-1")) as driver:
        await online(driver)
        await node.job_in(job, "scheduled")
        (letter,) = (await operator.get(LETTERS)).json()["items"]
        assert (letter["job"], letter["kind"], letter["service"]) == (job, "job", "shop")
        assert (letter["tries"], letter["error"]) == (5, "KeyError")
        assert "dead_letter" in await listed(operator)
        assert not await driver.received("offer")

        store = node.node.store
        await store.runner.link.call("HSET", store.runner.keys["phoenix"].job(job), "need", good)
        retried = await operator.post(f"{LETTERS}/{letter['id']}/retry")
        assert (retried.status_code, retried.json()["job"]) == (200, job)
        assert (await driver.receive("offer"))["jobs"][0]["job"] == job
        assert (await operator.get(LETTERS)).json()["items"] == []
        problem(await operator.post(f"{LETTERS}/{letter['id']}/retry"), 404, "not_found")


async def test_dead_letter_ends_with_its_job(engine_node: NodeFactory) -> None:
    node = await engine_node(retry_s=0.2)
    shop, operator = Caller(node), Caller(node, "ops", Role.OPERATOR)
    job = (await shop.submit()).json()["id"]
    await poison(node, job)
    async with open_app(node.ws, node.token("d-1")) as driver:
        await online(driver)
        await node.job_in(job, "scheduled")
        assert (await shop.post(f"/v1/jobs/{job}/cancel", {})).status_code == 200

    async def is_empty() -> bool:
        return not (await operator.get(LETTERS)).json()["items"]

    await eventually(is_empty)
