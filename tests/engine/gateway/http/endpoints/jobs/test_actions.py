"""Cancel, ready, explain and quote."""

from datetime import datetime
from typing import Any

import pytest

from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import CancelReason, Role
from tests.engine.gateway.conftest import MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, at, order, pointers, problem
from tests.support import eventually


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def online(driver: DriverApp) -> None:
    await driver.hello(position=NEAR)
    assert (await driver.ask("status", state="available"))["type"] == "reply"


async def collected(shop: Caller, driver: DriverApp) -> str:
    """Id of a job that the driver has on board."""
    job: str = (await shop.submit()).json()["id"]
    offer = await driver.receive("offer")
    await driver.ask("accept", offer=offer["offer"])
    reply = await driver.ask("progress", job=job, attempt=offer["attempt"], step="picked_up")
    assert reply["job_state"] == "picked_up"
    return job


async def test_repeated_cancel_gives_the_same_answer(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    for _ in range(2):
        answer = await shop.post(f"/v1/jobs/{job}/cancel", {"reason": "changed my mind"})
        assert answer.status_code == 200
        assert answer.json()["state"] == "cancelled"
        assert answer.json()["terminal"] is True
    assert [entry["state"] for entry in answer.json()["timeline"]] == ["queued", "cancelled"]
    assert answer.json()["timeline"][1]["actor"] == "shop"


async def test_cancel_accepts_no_body_and_refuses_a_bad_one(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    path = f"/v1/jobs/{job}/cancel"
    assert pointers(await shop.post(path, {"reason": ""})) == ["/reason"]
    assert pointers(await shop.post(path, {"because": "x"})) == ["/because"]
    assert (await shop.post(path)).json()["state"] == "cancelled"


@pytest.mark.parametrize("code", CancelReason)
async def test_cancellation_shows_who_why_and_when(
    shop: Caller, operator: Caller, code: CancelReason
) -> None:
    job = (await shop.submit()).json()["id"]
    body = {"reason": code, "note": "as agreed"}
    answer = (await operator.post(f"/v1/jobs/{job}/cancel", body)).json()
    shown = {name: answer[f"cancel_{name}"] for name in ("reason", "note", "stage")}
    assert shown == {"reason": code, "note": "as agreed", "stage": "queued"}
    assert answer["cancelled_by"] == "ops"
    again = (await shop.post(f"/v1/jobs/{job}/cancel", {"reason": "late"})).json()
    assert (again["cancel_reason"], again["cancelled_by"]) == (code, "ops")


@pytest.mark.parametrize(
    ("body", "code", "note"),
    [
        ({}, "other", "cancelled"),
        ({"reason": "fed up"}, "other", "fed up"),
        ({"reason": "Customer"}, "other", "Customer"),
        ({"reason": "other", "note": "why"}, "other", "why"),
        ({"reason": "customer"}, "customer", None),
        ({"reason": "customer", "note": None}, "customer", None),
    ],
)
async def test_any_other_text_is_the_note_of_other(
    shop: Caller, body: dict[str, Any], code: str, note: str | None
) -> None:
    job = (await shop.submit()).json()["id"]
    answer = (await shop.post(f"/v1/jobs/{job}/cancel", body)).json()
    assert (answer["cancel_reason"], answer["cancel_note"]) == (code, note)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": "x" * 201}, "/reason"),
        ({"reason": 1}, "/reason"),
        ({"note": "x" * 201}, "/note"),
        ({"note": ""}, "/note"),
        ({"note": []}, "/note"),
        ([], ""),
    ],
)
async def test_bad_cancellation_is_refused(shop: Caller, body: Any, pointer: str) -> None:
    job = (await shop.submit()).json()["id"]
    assert pointers(await shop.post(f"/v1/jobs/{job}/cancel", body)) == [pointer]
    assert (await shop.get(f"/v1/jobs/{job}")).json()["state"] == "queued"


async def test_job_on_board_is_not_made_ready_and_cancel_returns_it(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        job = await collected(shop, driver)
        ready = {"store": "lego", "ready_at": at(shop.node.node.store.now_ms() + 1000)}
        problem(await shop.post(f"/v1/jobs/{job}/ready", ready), 409, "wrong_state")
        for _ in range(2):
            answer = await shop.post(f"/v1/jobs/{job}/cancel")
            assert answer.status_code == 202
            assert (answer.json()["state"], answer.json()["cancel_requested"]) == (
                "returning",
                True,
            )


async def test_ended_job_cannot_be_made_ready(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    await shop.post(f"/v1/jobs/{job}/cancel")
    ready = {"store": "lego", "ready_at": at(shop.node.node.store.now_ms())}
    problem(await shop.post(f"/v1/jobs/{job}/ready", ready), 409, "wrong_state")


async def test_earlier_ready_time_starts_the_search(shop: Caller) -> None:
    now_ms = shop.node.node.store.now_ms()
    later = {"store": "lego", "ready_at": at(now_ms + 6 * 3_600_000)}
    job = (await shop.submit(order(pickup={"mall": MALL, "stores": [later]}))).json()
    assert job["state"] == "scheduled"
    sent = "2026-01-01T12:00:00-07:00"
    answer = await shop.post(f"/v1/jobs/{job['id']}/ready", {"store": "lego", "ready_at": sent})
    assert answer.status_code == 200
    assert answer.json()["pickup"]["stores"][0]["ready_at"] == sent
    assert answer.json()["state"] == "queued"
    assert answer.json()["expires_at"] == job["expires_at"]


async def test_driver_receives_a_changed_ready_time(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        job = (await shop.submit()).json()["id"]
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        ready = {"store": "lego", "ready_at": at(shop.node.node.store.now_ms() + 600_000)}
        await shop.post(f"/v1/jobs/{job}/ready", ready)
        assert (await driver.receive("job"))["reason"] == "ready_changed"


async def test_invalid_ready_time_is_refused(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    path = f"/v1/jobs/{job}/ready"
    too_late = at(shop.node.node.store.now_ms() + 48 * 3_600_000)
    assert pointers(await shop.post(path, {"store": "apple", "ready_at": too_late})) == [
        "/store",
        "/ready_at",
    ]
    assert pointers(await shop.post(path, {"store": "lego"})) == ["/ready_at"]
    assert pointers(await shop.post(path, {"store": "lego", "ready_at": "now"})) == ["/ready_at"]
    no_offset = {"store": "lego", "ready_at": "2026-11-22T16:10:00"}
    assert pointers(await shop.post(path, no_offset)) == ["/ready_at"]
    problem(await shop.post(path), 400, "malformed_json")


async def test_explain_names_drivers_to_operators_only(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        job = (await shop.submit()).json()["id"]
        path = f"/v1/jobs/{job}/explain"
        offer = await driver.receive("offer")

        async def explained() -> bool:
            return bool((await shop.get(path)).json()["candidates"])

        await eventually(explained)
        shown = (await shop.get(path)).json()
        assert (shown["job"], shown["asked"]) == (job, [])
        assert shown["round"] >= 1
        assert shown["at"].endswith("Z")
        assert shown["candidates"][0]["driver"] == "driver-1"
        named = (await operator.get(path)).json()["candidates"][0]
        assert named == shown["candidates"][0] | {"driver": "d-1"}
        assert named["eligible"] is True
        assert named["why_not"] is None
        assert {"terms", "cost_s", "eta_s", "distance_m"} <= set(named)

        await driver.ask("decline", offer=offer["offer"])
        (asked,) = (await shop.get(path)).json()["asked"]
        assert asked | {"at": ""} == {
            "driver": "driver-1",
            "attempt": offer["attempt"],
            "outcome": "declined",
            "at": "",
        }
        assert (await operator.get(path)).json()["asked"][0]["driver"] == "d-1"


async def test_quote_stores_nothing(shop: Caller, operator: Caller) -> None:
    asked_ms = shop.node.node.store.now_ms()
    nobody = (await shop.post("/v1/quotes", order())).json()
    assert nobody["eta"] == {"pickup": None, "dropoff": None}
    assert nobody["id"].startswith("quote_")
    assert epoch_ms(datetime.fromisoformat(nobody["expires_at"])) > asked_ms
    own = {"eta", "id", "expires_at"}
    assert {name: it for name, it in nobody.items() if name not in own} == {
        "would_match": False,
        "eta_s": None,
        "candidates": [],
        "why_not": "nobody_in_reach",
        "held": None,
        "paused": False,
    }
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        quote = (await shop.post("/v1/quotes", order())).json()
        assert quote["would_match"] is True
        assert quote["why_not"] is None
        assert quote["eta_s"] == quote["candidates"][0]["eta_s"] > 0
        pickup, dropoff = (
            epoch_ms(datetime.fromisoformat(quote["eta"][name])) for name in ("pickup", "dropoff")
        )
        assert asked_ms < pickup < dropoff
        assert quote["id"] != nobody["id"]
        assert [it["driver"] for it in quote["candidates"]] == ["driver-1"]
        named = (await operator.post("/v1/quotes", order())).json()
        assert [it["driver"] for it in named["candidates"]] == ["d-1"]
        heavy = order(parcels={"count": 1, "weight_g": 10_000_000})
        nobody = (await shop.post("/v1/quotes", heavy)).json()
        assert (nobody["would_match"], nobody["why_not"]) == (False, "nobody_fits")
    assert (await shop.get("/v1/jobs")).json()["items"] == []


async def test_quote_has_the_errors_of_a_submission(shop: Caller) -> None:
    assert pointers(await shop.post("/v1/quotes", order(state="delivered"))) == ["/state"]
    body = order(pickup={"mall": "nowhere", "stores": [{"store": "lego"}]})
    assert pointers(await shop.post("/v1/quotes", body)) == ["/pickup/mall"]
