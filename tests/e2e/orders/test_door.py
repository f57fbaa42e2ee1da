"""At the customer's door and on the way back, over the public contract."""

from typing import Any

import pytest

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop, assert_problem, pointers, soon


async def on_board(app: App, shop: Shop, place: Place, **changes: Any) -> tuple[Json, Frame]:
    """Let the app collect a job."""
    await app.online(*place.gate)
    job = await shop.submit(place.order(**changes))
    (held,) = await app.accept(await app.expect("offer"))
    await app.step(held, "picked_up")
    return job, held


async def answer(shop: Shop, job: str, problem: str, **body: Any) -> Any:
    return await shop.http.post(f"/v1/jobs/{job}/problems/{problem}/answer", json=body)


async def bring_back(app: App, held: Frame, to: Json) -> Frame:
    await app.move(to["lat"], to["lon"], now_ms() + 4_000)
    return await app.step(held, "returned", proof=await app.photo())


async def problem(app: App, held: Frame, kind: str, **fields: Any) -> Frame:
    return await app.must(
        "problem", job=held["job"], attempt=held["attempt"], kind=kind, at_ms=now_ms(), **fields
    )


async def test_customer_out_twice_then_delivered(
    new_app: NewApp, shop: Shop, place: Place, encoding: str
) -> None:
    app = new_app(encoding)
    job, held = await on_board(app, shop, place)
    assert held["on_undeliverable"] == "return"
    for number in (1, 2):
        assert (await app.step(held, "at_door"))["job_state"] == "picked_up"
        await problem(app, held, "customer_unreachable", text="no answer")
        seen = await shop.job(job["id"])
        assert seen["delivery_attempts"] == number
        (open_one,) = [it for it in seen["problems"] if it["state"] == "open"]
        response = await answer(shop, job["id"], open_one["id"], action="retry", text="ring twice")
        assert response.status_code == 200, response.text
        heard = await app.expect("job", reason="answer")
        assert heard["answer"] == {
            "problem": open_one["id"],
            "action": "retry",
            "text": "ring twice",
        }
        assert heard["detail"]["answer"] == heard["answer"]
        answered = (await shop.job(job["id"]))["problems"][-1]
        assert (answered["state"], answered["answer"]["action"]) == ("answered", "retry")
    await app.step(held, "at_door")
    await app.step(held, "delivered", proof=await app.photo())
    done = await shop.job(job["id"])
    assert (done["state"], {it["state"] for it in done["problems"]}) == ("delivered", {"resolved"})


async def test_refused_parcel_turns_round_on_the_customers_call(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await on_board(app, shop, place)
    await problem(app, held, "refused")
    heard = await app.expect("job", reason="answer")
    assert (heard["state"], heard["answer"]["action"]) == ("returning", "return")
    assert heard["detail"]["return_to"]["store"] == place.stores[0]
    seen = await shop.job(job["id"])
    assert (seen["state"], seen["reason"]) == ("returning", "refused")
    assert seen["return_to"]["kind"] == "store"
    response = await answer(shop, job["id"], "p1", action="retry")
    assert response.json()["state"] == "picked_up"
    assert response.json()["return_to"] is None
    assert (await app.expect("job", reason="answer"))["state"] == "picked_up"
    await app.step(held, "delivered")
    assert await shop.state(job["id"]) == "delivered"


async def test_driver_turns_a_return_round_once(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    job, held = await on_board(app, shop, place)
    left_ms = now_ms()
    fields = {"job": held["job"], "attempt": held["attempt"]}
    await app.must("progress", **fields, step="returning", at_ms=left_ms)
    reply = await app.must("progress", **fields, step="resume", at_ms=left_ms + 1_000)
    assert reply["job_state"] == "picked_up"
    reply = await app.must("progress", **fields, step="returning", at_ms=left_ms)
    assert reply["job_state"] == "picked_up"
    for step in ("at_door", "returning", "resume"):
        assert await app.refused("progress", **fields, step=step) == "bad_field"
    causes = [entry["cause"] for entry in (await shop.job(job["id"]))["timeline"]]
    assert causes[-2:] == ["returning", "turned_round"]


async def test_left_parcel_is_delivered_with_a_photo(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await on_board(app, shop, place)
    await problem(app, held, "customer_unreachable")
    response = await answer(shop, job["id"], "p1", action="leave", text="behind the shed")
    assert response.status_code == 200
    assert (await app.expect("job", reason="answer"))["answer"]["text"] == "behind the shed"
    refusal = await app.ask(
        "progress", **{k: held[k] for k in ("job", "attempt")}, step="delivered"
    )
    assert (refusal["code"], refusal["missing"]) == ("proof_needed", ["photo"])
    await app.step(held, "delivered", proof=await app.photo())
    assert await shop.state(job["id"]) == "delivered"


async def test_cancelled_parcel_on_board_is_returned(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await on_board(app, shop, place)
    response = await shop.http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "customer"})
    assert response.status_code == 202, response.text
    seen = response.json()
    assert (seen["state"], seen["cancel_requested"], seen["terminal"]) == ("returning", True, False)
    assert (seen["cancel_reason"], seen["cancel_stage"]) == ("customer", "picked_up")
    assert seen["cancelled_by"]
    heard = await app.expect("job", reason="cancelled")
    assert heard["state"] == "returning"
    to = heard["detail"]["return_to"]
    again = await shop.http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "other thing"})
    assert (again.status_code, again.json()["cancel_reason"]) == (202, "customer")
    named = {"job": held["job"], "attempt": held["attempt"]}
    refused = await app.refused("progress", **named, step="resume", at_ms=now_ms() + 1)
    assert refused == "wrong_state"
    reply = await bring_back(app, held, to)
    assert (reply["job_state"], reply["state"]) == ("returned", "available")
    done = await shop.job(job["id"])
    assert (done["state"], done["cancel_reason"]) == ("returned", "customer")


async def test_returned_parcels_are_redelivered_once(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await on_board(app, shop, place)
    path = f"/v1/jobs/{job['id']}/redeliver"
    body = {"deadline": soon(hours=5)}
    assert_problem(await shop.http.post(path, json=body), 409, "wrong_state")
    to = (await app.step(held, "returning"))["detail"]["return_to"]
    assert_problem(await shop.http.post(path, json=body), 409, "wrong_state")
    await bring_back(app, held, to)

    for wrong, pointer in (
        ({}, "/deadline"),
        ({"deadline": "tomorrow"}, "/deadline"),
        ({"deadline": soon(hours=-1)}, "/deadline"),
        ({**body, "dropoff": {"lat": 33.3}}, "/dropoff/lon"),
        ({**body, "dropoff": {"lat": 0.0, "lon": 0.0}}, "/dropoff"),
        ({**body, "driver": "d1"}, "/driver"),
    ):
        response = await shop.http.post(path, json=wrong)
        assert_problem(response, 422, "invalid_fields")
        assert pointers(response) == {pointer}, response.text
    made = await shop.http.post(path, json=body)
    assert made.status_code == 201, made.text
    new = made.json()
    assert made.headers["location"] == f"/v1/jobs/{new['id']}"
    assert (new["redelivery_of"], new["external_id"]) == (job["id"], job["external_id"])
    assert [it["store"] for it in new["pickup"]["stores"]] == [to["store"]]
    assert new["dropoff"]["address"] == job["dropoff"]["address"]
    again = await shop.http.post(path, json={"deadline": soon(hours=6)})
    assert (again.status_code, again.json()["id"]) == (201, new["id"])
    assert again.headers["idempotent-replayed"] == "true"
    (held,) = await app.accept(await app.expect("offer"))
    for step in ("picked_up", "delivered"):
        await app.step(held, step)
    assert await shop.state(new["id"]) == "delivered"


RULES: Json = {
    "on_short": "deliver",
    "on_missing": "fail",
    "hold_s": 7_200,
    "on_undeliverable": "hold",
    "service_level": "express",
    "pay": {"amount_minor": 900, "currency": "USD", "max_minor": 1_500},
    "priority": 7,
    "metadata": {"basket": "77"},
}


async def test_redelivery_has_what_came_back_and_the_rules(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    first = place.stores[0]
    load = {"count": 4, "weight_g": 4_000, "volume_l": 20}
    app = new_app()
    pickup = {"mall": place.mall, "stores": [{"store": first, "parcels": 4}]}
    order = place.order(pickup=pickup, parcels=load, **RULES)
    await app.online(*place.gate)
    job = await shop.submit(order)
    (held,) = await app.accept(await app.expect("offer"))
    await app.step(held, "collected", store=first, parcels=3)
    to = (await app.step(held, "returning"))["detail"]["return_to"]
    await bring_back(app, held, to)
    response = await redeliver(shop, job)
    assert response.status_code == 201, response.text
    new = response.json()
    assert [it["parcels"] for it in new["pickup"]["stores"]] == [3]
    assert new["parcels"] == load | {"count": 3}
    assert {name: new[name] for name in RULES} == RULES


async def test_redelivery_that_failed_is_replaced(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await on_board(app, shop, place, on_missing="fail")
    to = (await app.step(held, "returning"))["detail"]["return_to"]
    await bring_back(app, held, to)
    first = (await redeliver(shop, job)).json()
    (held,) = await app.accept(await app.expect("offer"))
    await problem(app, held, "missing", store=to["store"])
    assert await shop.state(first["id"]) == "failed"
    second = await redeliver(shop, job)
    assert second.status_code == 201, second.text
    assert "idempotent-replayed" not in second.headers
    assert second.json()["id"] != first["id"]
    assert second.json()["redelivery_of"] == job["id"]


async def redeliver(shop: Shop, job: Json) -> Any:
    return await shop.http.post(f"/v1/jobs/{job['id']}/redeliver", json={"deadline": soon(hours=5)})


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/action"),
        ({"action": "dance"}, "/action"),
        ({"action": "instructions"}, "/text"),
        ({"action": "retry", "text": "x" * 501}, "/text"),
        ({"action": "retry", "text": 7}, "/text"),
        ({"action": "retry", "until": "now"}, "/until"),
    ],
)
async def test_invalid_answer_is_refused(
    shop: Shop, place: Place, body: Json, pointer: str
) -> None:
    job = await shop.submit(place.order())
    response = await answer(shop, job["id"], "p1", **body)
    assert_problem(response, 422, "invalid_fields")
    assert pointers(response) == {pointer}


async def test_answer_to_no_problem_is_not_found(shop: Shop, place: Place) -> None:
    job = await shop.submit(place.order())
    assert_problem(await answer(shop, job["id"], "p1", action="retry"), 404, "not_found")
    assert_problem(await answer(shop, "job_phoenix.x", "p1", action="retry"), 404, "not_found")


@pytest.mark.parametrize(
    "changes",
    [{"requires": ["id_check"]}, {"requires": ["age_check"]}, {"pin": "1234"}],
)
async def test_order_that_needs_a_person_cannot_be_left(
    shop: Shop, place: Place, changes: Json
) -> None:
    order = place.order(on_undeliverable="leave")
    if "pin" in changes:
        order["dropoff"] |= changes
    else:
        order |= changes
    response = await shop.post(order)
    assert_problem(response, 422, "invalid_fields")
    assert pointers(response) == {"/on_undeliverable"}


@pytest.mark.parametrize("value", ["burn", 1, ["return"]])
async def test_invalid_rule_is_refused(shop: Shop, place: Place, value: object) -> None:
    response = await shop.post(place.order(on_undeliverable=value))
    assert_problem(response, 422, "invalid_fields")
    assert pointers(response) == {"/on_undeliverable"}
