"""The audit log of operators' calls over HTTP."""

import re
from typing import Any

import pytest

from mallard_engine.contract.operations.table import OPERATIONS
from mallard_engine.ports import StoreUnavailable
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import PHOENIX, RunningNode
from tests.engine.gateway.http_support import Caller, problem

AUDIT = "/v1/audit"
MARKET_PATH = f"/v1/markets/{PHOENIX}"
PLACES = {"market": PHOENIX, "mall": "chandler-fashion-center", "store": "lego"}
# Every operation that an operator may call and that may change something.
CHANGING = [it for it in OPERATIONS if Role.OPERATOR in it.roles and it.method != "get"]


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def entries(operator: Caller, **query: Any) -> list[dict[str, Any]]:
    answer = await operator.get(AUDIT, **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize("operation", CHANGING, ids=[it.name for it in CHANGING])
async def test_every_call_of_an_operator_is_noted(operator: Caller, operation: Any) -> None:
    path = re.sub(r"\{(\w+)\}", lambda name: PLACES.get(name[1], "x"), operation.path)
    answer = await operator.node.http.request(
        operation.method.upper(), path, json={}, headers=operator._headers()
    )
    (entry,) = await entries(operator)
    assert (entry["operation"], entry["actor"]) == (operation.name, "ops")
    assert entry["status"] == answer.status_code
    assert (entry["method"], entry["path"]) == (operation.method.upper(), path)
    assert entry.get("code", "") == (answer.json()["code"] if answer.status_code >= 400 else "")


async def test_entry_tells_who_did_what(operator: Caller) -> None:
    await operator.post(f"{MARKET_PATH}/pause", {"reason": "flood"})
    (entry,) = await entries(operator)
    assert entry["body"] == {"reason": "flood"}
    assert (entry["market"], entry["status"], entry["at"][-1]) == (PHOENIX, 200, "Z")
    assert "code" not in entry


async def test_body_of_an_order_is_not_kept(operator: Caller) -> None:
    assert (await operator.submit()).status_code == 201
    (entry,) = await entries(operator)
    assert "body" not in entry
    await operator.post(f"{MARKET_PATH}/pause", {"reason": "x" * 5_000})
    newest, _ = await entries(operator)
    assert "body" not in newest


async def test_log_is_filtered_and_read_page_by_page(operator: Caller) -> None:
    other = Caller(operator.node, "eve", Role.OPERATOR)
    await operator.post(f"{MARKET_PATH}/pause")
    await other.post("/v1/markets/las-vegas/pause")
    await operator.post(f"{MARKET_PATH}/resume")
    names = [entry["operation"] for entry in await entries(operator)]
    assert names == ["resumeMarket", "pauseMarket", "pauseMarket"]
    assert [it["market"] for it in await entries(operator, actor="eve")] == ["las-vegas"]
    assert len(await entries(operator, market=PHOENIX)) == 2
    newest = (await entries(operator))[0]
    assert await entries(operator, since=newest["at"]) == [newest]
    assert await entries(operator, since="2099-01-01T00:00:00Z") == []
    page = (await operator.get(AUDIT, limit=1)).json()
    seen = page["items"]
    while page["next_cursor"]:
        page = (await operator.get(AUDIT, limit=1, cursor=page["next_cursor"])).json()
        seen += page["items"]
    assert seen == await entries(operator)


async def test_bounded_operator_sees_its_markets_only(operator: Caller) -> None:
    await operator.post(f"{MARKET_PATH}/pause")
    await operator.post("/v1/markets/las-vegas/pause")
    await operator.post("/v1/tokens/revoke", {"sub": "x", "role": "driver"})
    token = operator.node.token("local", Role.OPERATOR, markets=["las-vegas"])
    bounded = Caller(operator.node, headers={"Authorization": f"Bearer {token}"})
    assert [it["market"] for it in await entries(bounded)] == ["las-vegas"]
    problem(await bounded.get(AUDIT, market=PHOENIX), 403, "forbidden")


async def test_reads_and_other_roles_are_not_noted(operator: Caller) -> None:
    await operator.get(MARKET_PATH)
    assert (await Caller(operator.node).submit()).status_code == 201
    assert await entries(operator) == []


async def test_call_that_cannot_be_noted_is_not_carried_out(
    operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_call: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(operator.node.node.store.audit_log, "note", away)
    problem(await operator.post(f"{MARKET_PATH}/pause"), 503, "store_unavailable")
    assert not (await operator.get(MARKET_PATH)).json()["paused"]


async def test_wrong_filter_of_the_log_is_refused(operator: Caller) -> None:
    for query in (
        {"actor": "a b"},
        {"actor": ""},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"market": "atlantis"},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "x"},
        {"cursor": "a/b"},
        {"until": "2026-01-01T00:00:00Z"},
    ):
        problem(await operator.get(AUDIT, **query), 400, "bad_request")
    problem(await Caller(operator.node).get(AUDIT), 403, "forbidden")
