"""The policy of a market, changed while it runs, over HTTP."""

import json
from typing import Any

import httpx2
import msgspec
import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http.endpoints.jobs.test_actions import online
from tests.engine.gateway.http_support import Caller, problem

PATH = f"/v1/markets/{PHOENIX}/policy"


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def put(caller: Caller, body: Any, version: str | None = "*") -> httpx2.Response:
    headers = caller._headers() | ({} if version is None else {"If-Match": version})
    return await caller.node.http.put(PATH, json=body, headers=headers)


async def test_policy_is_read_changed_and_given_back(operator: Caller) -> None:
    first = await operator.get(PATH)
    assert (first.status_code, first.headers["etag"]) == (200, '"0"')
    body = first.json()
    assert (body["version"], body["preset"], body["set"]) == (0, None, {})
    assert body["effective"]["offer_timeout_ms"] == 30_000
    assert not {"changed_by", "changed_at"} & body.keys()

    wanted = {"preset": "express", "set": {"offer_timeout_ms": 12_000, "cooldown_s": 5}}
    changed = await put(operator, wanted, first.headers["etag"])
    assert (changed.status_code, changed.headers["etag"]) == (200, '"1"')
    seen = changed.json()
    assert (seen["version"], seen["preset"], seen["changed_by"]) == (1, "express", "ops")
    assert seen["set"] == {"offer_timeout_ms": 12_000, "cooldown_s": 5}
    assert seen["effective"]["offer_timeout_ms"] == 12_000
    assert seen["effective"]["preset"] == "express"
    assert (await operator.get(PATH)).json() == seen

    empty = await put(operator, {}, changed.headers["etag"])
    assert (empty.json()["version"], empty.json()["set"]) == (2, {})
    assert empty.json()["effective"] == body["effective"]


async def test_offers_follow_the_policy_at_once_on_every_node(engine_node: NodeFactory) -> None:
    nodes = [await engine_node(preset="express") for _ in range(4)]
    operator = Caller(nodes[0], "ops", Role.OPERATOR)
    assert (await put(operator, {"set": {"offer_timeout_ms": 7_000}})).status_code == 200
    for number, node in enumerate(nodes):
        async with open_app(node.ws, node.token(f"d-{number}")) as driver:
            await online(driver)
            job = (await Caller(node).submit()).json()["id"]
            offer = await driver.receive("offer")
            # The default is 30 s.
            assert offer["expires_ms"] - offer["server_time_ms"] < 8_000
            explained = (await operator.get(f"/v1/jobs/{job}/explain")).json()
            assert explained["policy_version"] == 1
            await driver.ask("accept", offer=offer["offer"])


async def test_policy_survives_a_restart_and_overrides_configuration(
    engine_node: NodeFactory,
) -> None:
    one = await engine_node()
    operator = Caller(one, "ops", Role.OPERATOR)
    await put(operator, {"set": {"offer_timeout_ms": 7_000}})
    other = await engine_node(offer_timeout_ms=20_000)
    assert other.node._policies[PHOENIX].offer_timeout_ms == 7_000
    assert other.node._policies["las-vegas"].offer_timeout_ms == 20_000


async def test_versions_of_a_policy_are_kept(operator: Caller) -> None:
    wanted: list[dict[str, Any]] = [{"cooldown_s": 5}, {}, {"cooldown_s": 9}]
    for figures in wanted:
        await put(operator, {"set": figures})
    runner = operator.node.node.store.runner
    flat = await runner.link.call("HGETALL", runner.keys[PHOENIX].key("policy"))
    kept = dict(zip(flat[::2], flat[1::2], strict=True))
    records = [msgspec.msgpack.decode(kept[name]) for name in (b"1", b"2", b"3")]
    assert [json.loads(it["set"]) for it in records] == wanted
    assert {it["actor"] for it in records} == {"ops"}


async def test_stale_or_missing_version_is_refused(operator: Caller) -> None:
    problem(await put(operator, {}, None), 428, "precondition_required")
    assert (await put(operator, {"preset": "express"}, '"0"')).status_code == 200
    for tag in ('"0"', '"2"', "1", 'W/"1"', '"x"', '"1", "2"', ""):
        problem(await put(operator, {}, tag), 412, "precondition_failed")
    assert (await operator.get(PATH)).json()["version"] == 1


async def test_bad_policy_is_refused_whole_with_every_pointer(operator: Caller) -> None:
    body = {
        "set": {
            "offer_timeout_ms": 0,
            "cooldown_s": "soon",
            "stale_after_s": True,
            "no_such_figure": 1,
            "preset": "express",
            "travel_osrm_url": "http://10.0.0.1",
            "max_speed_mps": 50,
        }
    }
    refused = await put(operator, body)
    errors = problem(refused, 422, "invalid_fields")["errors"]
    assert {error["pointer"] for error in errors} == {
        f"/set/{name}" for name in body["set"] if name != "max_speed_mps"
    }
    contradiction = {"set": {"break_after_s": 500, "resume_ttl_s": 100}}
    assert [
        error["pointer"]
        for error in problem(await put(operator, contradiction), 422, "invalid_fields")["errors"]
    ] == ["/set/break_after_s"]
    assert (await operator.get(PATH)).json()["version"] == 0


async def test_wrong_field_of_a_policy_is_refused(operator: Caller) -> None:
    for body, pointer in (
        ({"preset": "slow"}, "/preset"),
        ({"preset": 5}, "/preset"),
        ({"set": []}, "/set"),
        ({"set": "x"}, "/set"),
        ({"version": 3}, "/version"),
        ([], ""),
        ({"set": {"offer_timeout_ms": [1]}}, "/set/offer_timeout_ms"),
        ({"set": {"offer_timeout_ms": 10**30}}, "/set/offer_timeout_ms"),
        ({"set": {"weights": {"idle_s": {"deep": 1}}}}, "/set/weights_idle_s"),
    ):
        errors = problem(await put(operator, body), 422, "invalid_fields")["errors"]
        assert [error["pointer"] for error in errors] == [pointer], body
    problem(await operator.get("/v1/markets/atlantis/policy"), 404, "not_found")
    problem(await Caller(operator.node).get(PATH), 403, "forbidden")
    problem(await put(Caller(operator.node), {}), 403, "forbidden")
