"""The operators' register of drivers over HTTP, and the aliases that order services see."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from mallard_engine.contract.operations.table import OPERATIONS
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http.endpoints.jobs.test_actions import online
from tests.engine.gateway.http_support import Caller, order, pointers, problem

PATH = f"/v1/markets/{PHOENIX}/drivers/d-secret-1"
VAN = {"kind": "van", "max_jobs": 20, "max_weight_g": 1_000, "max_volume_l": 2.5}
PROFILE = {
    "alias": "Ann K.",
    "vehicle": VAN | {"equipment": ["cool_box"]},
    "qualifications": ["alcohol"],
    "status": "active",
}


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def put(caller: Caller, body: Any, path: str = PATH) -> httpx2.Response:
    return await caller.put(path, body)


# -- PUT and GET


async def test_put_driver_is_shown_as_it_was_put(operator: Caller) -> None:
    answer = await put(operator, PROFILE)
    assert answer.status_code == 200
    shown = answer.json()
    assert {name: shown[name] for name in PROFILE} == PROFILE
    assert (shown["driver"], shown["state"], shown["jobs"]) == ("d-secret-1", "offline", [])
    assert (shown["connected"], shown["position"], shown["last_seen"]) == (False, None, None)
    assert shown["profile"] == {name: PROFILE[name] for name in PROFILE if name != "status"}
    assert (await operator.get(PATH)).json() == shown
    assert (await put(operator, PROFILE)).json() == shown


async def test_empty_put_erases_the_entry(operator: Caller) -> None:
    problem(await operator.get(PATH), 404, "not_found")
    assert (await put(operator, {})).status_code == 200
    problem(await operator.get(PATH), 404, "not_found")
    await put(operator, PROFILE)
    assert (await put(operator, {"alias": None, "status": None})).json()["profile"] is None
    problem(await operator.get(PATH), 404, "not_found")


async def test_put_replaces_what_it_leaves_out(operator: Caller) -> None:
    await put(operator, PROFILE | {"status": "suspended"})
    shown = (await put(operator, {"qualifications": []})).json()
    assert shown["profile"] == {"qualifications": []}
    assert (shown["alias"], shown["status"], shown["suspended"]) == (None, "active", False)
    assert shown["vehicle"] == {
        "kind": "car",
        "max_jobs": 12,
        "max_weight_g": 200_000,
        "max_volume_l": 500.0,
        "equipment": [],
    }


async def test_status_is_what_suspend_and_resume_change(operator: Caller) -> None:
    shown = (await put(operator, PROFILE | {"status": "suspended"})).json()
    assert (shown["status"], shown["suspended"]) == ("suspended", True)
    assert shown["barred"]["why"] == "suspended"
    resumed = await operator.post(f"{PATH}/resume")
    assert resumed.json()["suspended"] is False
    assert (await operator.get(PATH)).json()["status"] == "active"
    await operator.post(f"{PATH}/suspend", {"reason": "complaint"})
    shown = (await operator.get(PATH)).json()
    assert (shown["status"], shown["suspended_for"]) == ("suspended", "complaint")


async def test_connected_driver_is_read_with_its_state(operator: Caller, shop: Caller) -> None:
    await put(operator, PROFILE)
    async with open_app(shop.node.ws, shop.node.token("d-secret-1")) as driver:
        await driver.hello(position=NEAR, vehicle={"max_jobs": 30, "max_weight_g": 900})
        await driver.ask("status", state="available")
        shown = (await operator.get(PATH)).json()
        assert (shown["state"], shown["connected"], shown["barred"]) == ("available", True, None)
        assert shown["vehicle"] == PROFILE["vehicle"] | {"max_weight_g": 900}  # type: ignore[operator]
        assert shown["position"]["lat"] == pytest.approx(NEAR["lat"], abs=1e-5)
        assert shown["last_seen"] >= shown["position"]["received_at"]
        (listed,) = (await operator.get(f"/v1/markets/{PHOENIX}/drivers")).json()["items"]
        for name in ("vehicle", "qualifications", "last_seen", "connected", "suspended", "barred"):
            assert listed[name] == shown[name]
        job = (await shop.submit(order(requires=["cool_box", "alcohol", "id_check"]))).json()["id"]
        assert (await driver.receive("offer"))["jobs"][0]["job"] == job
        suspended = (await put(operator, {"status": "suspended"})).json()
        assert suspended["barred"]["why"] == "suspended"
        assert (await driver.receive("offer_closed"))["why"] == "withdrawn"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"alias": ""}, "/alias"),
        ({"alias": "x" * 65}, "/alias"),
        ({"alias": " Ann"}, "/alias"),
        ({"alias": "An\nn"}, "/alias"),
        ({"alias": "An\u202en"}, "/alias"),
        ({"alias": 7}, "/alias"),
        ({"vehicle": "van"}, "/vehicle"),
        ({"vehicle": {"kind": "a b"}}, "/vehicle/kind"),
        ({"vehicle": {"max_jobs": 0}}, "/vehicle/max_jobs"),
        ({"vehicle": {"max_jobs": 51}}, "/vehicle/max_jobs"),
        ({"vehicle": {"max_jobs": 2.5}}, "/vehicle/max_jobs"),
        ({"vehicle": {"max_weight_g": -1}}, "/vehicle/max_weight_g"),
        ({"vehicle": {"max_volume_l": -0.5}}, "/vehicle/max_volume_l"),
        ({"vehicle": {"equipment": "lift"}}, "/vehicle/equipment"),
        ({"vehicle": {"equipment": ["a b"]}}, "/vehicle/equipment/0"),
        ({"vehicle": {"equipment": ["x"] * 33}}, "/vehicle/equipment"),
        ({"vehicle": {"wheels": 4}}, "/vehicle/wheels"),
        ({"qualifications": {"alcohol": True}}, "/qualifications"),
        ({"qualifications": ["", "x"]}, "/qualifications/0"),
        ({"qualifications": ["x"] * 33}, "/qualifications"),
        ({"status": "paused"}, "/status"),
        ({"state": "available"}, "/state"),
        ({"driver": "d-2"}, "/driver"),
    ],
)
async def test_invalid_field_is_refused(operator: Caller, body: Any, pointer: str) -> None:
    assert pointers(await put(operator, body)) == [pointer]
    problem(await operator.get(PATH), 404, "not_found")


async def test_invalid_body_or_path_is_refused(operator: Caller, shop: Caller) -> None:
    assert (await put(operator, [])).status_code == 422
    headers = operator.node.bearer("ops", Role.OPERATOR)
    empty = await operator.node.http.put(PATH, headers=headers)
    problem(empty, 400, "malformed_json")
    problem(await put(operator, {}, f"/v1/markets/atlantis/drivers/{'d'}"), 404, "not_found")
    problem(await put(operator, {}, f"/v1/markets/{PHOENIX}/drivers/{'d' * 65}"), 404, "not_found")
    problem(await operator.get("/v1/markets/atlantis/drivers/d"), 404, "not_found")
    problem(await put(shop, {}), 403, "forbidden")
    problem(await shop.get(PATH), 403, "forbidden")


# -- claims


async def test_fresh_token_changes_the_claims(operator: Caller) -> None:
    node = operator.node
    claims: dict[str, Any] = {
        "alias": "T",
        "vehicle": {"kind": "bike"},
        "qualifications": ["alcohol"],
    }
    async with open_app(node.ws, node.token("d-secret-1", **claims)) as driver:
        await driver.hello(position=NEAR, vehicle={"kind": "van"})
        shown = (await operator.get(PATH)).json()
        assert (shown["alias"], shown["profile"]) == ("T", None)
        assert (shown["vehicle"]["kind"], shown["vehicle"]["max_jobs"]) == ("bike", 3)
        assert shown["qualifications"] == ["alcohol"]
        fresh = node.token("d-secret-1", vehicle={"kind": "foot"}, ttl_s=3_000)
        assert (await driver.ask("auth", token=fresh))["type"] == "reply"
        shown = (await operator.get(PATH)).json()
        assert (shown["alias"], shown["qualifications"]) == (None, [])
        assert (shown["vehicle"]["kind"], shown["vehicle"]["max_jobs"]) == ("foot", 2)


# -- aliases


async def test_service_sees_an_alias_and_operators_the_id(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-secret-1")) as driver:
        await online(driver)
        job = await delivered(shop, driver)
        path = f"/v1/jobs/{job}"
        seen, known = (await shop.get(path)).json(), (await operator.get(path)).json()
        assert known["driver"] == "d-secret-1"
        assert {it["actor"] for it in known["timeline"]} == {"shop", "engine", "d-secret-1"}
        name = seen["driver"]
        assert name.startswith("driver-")
        assert {it["actor"] for it in seen["timeline"]} == {"shop", "engine", name}
        assert (await shop.get(path)).json()["driver"] == name
        await put(operator, {"alias": "Ann"})
        assert (await shop.get(path)).json()["driver"] == "Ann"
        await put(operator, {})
        assert (await shop.get(path)).json()["driver"] == name


async def test_each_service_has_names_of_its_own(
    shop: Caller, operator: Caller, node: RunningNode
) -> None:
    other = Caller(node, "other")
    async with open_app(shop.node.ws, shop.node.token("d-secret-1")) as driver:
        await online(driver)
        names = []
        for service in (shop, other):
            job = await delivered(service, driver)
            names.append((await service.get(f"/v1/jobs/{job}")).json()["driver"])
    assert len(set(names)) == 2


async def delivered(shop: Caller, driver: DriverApp) -> str:
    job: str = (await shop.submit()).json()["id"]
    offer = await driver.receive("offer")
    await driver.ask("accept", offer=offer["offer"])
    for step in ("picked_up", "delivered"):
        await driver.ask("progress", job=job, attempt=offer["attempt"], step=step)
    return job


_MADE_BY = {"getQuote": order(), "submitJob": order()}
# What a service sends to each of its routes; any other body is `{}`.
_BODIES = _MADE_BY | {
    "markParcelsReady": {"store": "lego", "ready_at": "2026-01-01T12:00:00-07:00"},
    "cancelJob": {"reason": "test"},
}


async def test_no_route_shows_a_driver_id_to_a_service(
    engine_node: Callable[..., Awaitable[RunningNode]],
) -> None:
    """Walk every route of an order service, for jobs in all states that name drivers."""
    node = await engine_node(cooldown_s=0.1)
    shop, operator = Caller(node), Caller(node, "ops", Role.OPERATOR)
    async with (
        open_app(node.ws, node.token("d-secret-1")) as first,
        open_app(node.ws, node.token("d-secret-2")) as second,
    ):
        await online(first)
        jobs = [await delivered(shop, first)]
        # One driver declines, the other gives up with a reason, an operator assigns and unassigns.
        body = order(external_id="ORD-secret")
        job = (await shop.submit(body, key="walk")).json()["id"]
        offer = await first.receive("offer")
        await first.ask("decline", offer=offer["offer"], reason="too far")
        await online(second)
        offer = await second.receive("offer")
        await second.ask("accept", offer=offer["offer"])
        await second.ask("problem", job=job, attempt=offer["attempt"], kind="not_ready", text="-")
        await second.ask(
            "progress", job=job, attempt=offer["attempt"], step="give_up", reason="flat tyre"
        )
        await operator.post(f"/v1/jobs/{job}/assign", {"driver": "d-secret-1"})
        update = await first.receive("job")
        jobs.append(job)
        texts = []
        for operation in OPERATIONS:
            if Role.ORDERS not in operation.roles:
                continue
            for name in jobs:
                path = operation.path.replace("{id}", name).replace("{market}", PHOENIX)
                answer = await node.http.request(
                    operation.method.upper(),
                    path,
                    json=_BODIES.get(operation.name, {}) if operation.body else None,
                    headers=node.bearer("shop", Role.ORDERS) | {"Idempotency-Key": "walked"},
                )
                texts.append((operation.name, answer.text + str(answer.headers)))
        await first.ask("progress", job=job, attempt=update["attempt"], step="picked_up")
        texts += [
            (path, (await shop.get(path)).text)
            for path in (f"/v1/jobs/{job}", "/v1/jobs?limit=200", f"/v1/jobs/{job}/explain")
        ]
        for key in ("walk", "walk-again"):  # a replay, and a duplicate external id
            texts.append((key, (await shop.submit(body, key=key)).text))
    assert [name for name, text in texts if "secret-" in text.replace("ORD-secret", "")] == []
    assert any('"driver-' in text for _, text in texts)
    assert any("flat tyre" in text for _, text in texts)


@pytest.mark.parametrize("body", [{"vehicle": {}}, {"alias": "Ann", "vehicle": {"kind": None}}])
async def test_vehicle_that_says_nothing_is_none(operator: Caller, body: dict[str, Any]) -> None:
    """Lua would store the empty map as a list, which nobody can read."""
    response = await put(operator, body)
    assert response.status_code == 200, response.text
    again = await operator.get(PATH)
    assert again.status_code in {200, 404}, again.text
