"""An order service submits, repeats, waits, cancels and reports ready."""

import asyncio
import copy
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.app import now_ms
from tests.e2e.conftest import NewApp, NewShop
from tests.e2e.contract import assert_resource
from tests.e2e.places import Place
from tests.e2e.shop import Shop, assert_problem, considered, soon
from tests.support import Standstill, eventually


async def test_submitted_job_is_queued(shop: Shop, place: Place) -> None:
    body = place.order(requires=["id_check"], priority=3, metadata={"basket": "77"})
    response = await shop.post(body)
    assert response.status_code == 201
    job = response.json()
    assert_resource(job, "Job")
    assert response.headers["location"].endswith(f"/v1/jobs/{job['id']}")
    assert "idempotent-replayed" not in response.headers
    assert (job["market"], job["terminal"], job["driver"]) == ("phoenix", False, None)
    assert job["reason"] is None
    for name in ("external_id", "parcels", "requires", "priority", "pay", "metadata"):
        assert job[name] == body[name], name
    for name in ("lat", "lon", "address", "name", "contact", "note"):
        assert job["dropoff"][name] == body["dropoff"][name]
    (store,) = job["pickup"]["stores"]
    assert (store["store"], store["parcels"], store["pickup_code"]) == (place.stores[0], 1, "7731")
    for got, sent in (
        (job["dropoff"]["deadline"], body["dropoff"]["deadline"]),
        (job["pickup"]["window_end"], body["pickup"]["window_end"]),
        (job["expires_at"], body["pickup"]["window_end"]),
    ):
        late = datetime.fromisoformat(got) - datetime.fromisoformat(sent)
        assert abs(late) < timedelta(seconds=1)
    created = datetime.fromisoformat(job["created_at"])
    assert abs(created - datetime.now(UTC)) < timedelta(seconds=5)
    assert await shop.job(response.headers["location"].rpartition("/")[2])


async def test_example_of_the_contract_is_accepted(shop: Shop) -> None:
    job = await shop.submit(
        {
            "external_id": f"ORD-{uuid.uuid4().hex}",
            "pickup": {
                "mall": "chandler-fashion-center",
                "stores": [
                    {
                        "store": "lego",
                        "ready_at": soon(minutes=-5),
                        "parcels": 2,
                        "pickup_code": "7731",
                    }
                ],
                "window_end": soon(hours=4),
            },
            "dropoff": {
                "lat": 33.3197,
                "lon": -111.8412,
                "address": "…",
                "name": "…",
                "contact": "…",
                "note": "…",
                "deadline": soon(hours=5),
            },
            "parcels": {"count": 2, "weight_g": 3200, "volume_l": 18},
            "requires": ["id_check"],
            "priority": 0,
            "pay": {"amount_minor": 1150, "currency": "USD"},
            "metadata": {"basket": "77"},
        }
    )
    assert job["state"] in {"queued", "offered"}
    assert job["attempt"] in {0, 1}


async def test_defaults_are_filled_in(shop: Shop, place: Place) -> None:
    body = place.order()
    del body["pickup"]["window_end"]
    del body["dropoff"]["deadline"]
    del body["pay"]
    job = await shop.submit(body)
    # A mall that is always open: the deadline, which is a day from now.
    expires = datetime.fromisoformat(job["expires_at"])
    assert abs(expires - datetime.now(UTC) - timedelta(hours=24)) < timedelta(seconds=10)


async def test_repeat_gives_the_same_job(shop: Shop, place: Place) -> None:
    body, key = place.order(), uuid.uuid4().hex
    first = await shop.post(body, key)
    # Equal as parsed values: field order and 2.0 for 2 make no difference.
    again = copy.deepcopy(dict(reversed(body.items())))
    again["parcels"]["volume_l"] = 6.0
    second = await shop.post(again, key)
    assert second.status_code == 201
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["location"] == first.headers["location"]
    # The same job in its current state.
    await shop.cancel(first.json()["id"])
    third = await shop.post(body, key)
    assert (third.status_code, third.json()["state"]) == (201, "cancelled")


async def test_concurrent_repeats_create_one_job(shop: Shop, place: Place) -> None:
    body, key = place.order(), uuid.uuid4().hex
    answers = await asyncio.gather(*(shop.post(body, key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
    assert replayed.count(None) == 1


async def test_same_key_with_another_body_is_refused(shop: Shop, place: Place) -> None:
    key = uuid.uuid4().hex
    await shop.post(place.order(), key)
    assert_problem(await shop.post(place.order(), key), 422, "idempotency_mismatch")


async def test_only_a_201_consumes_the_key(shop: Shop, place: Place) -> None:
    key = uuid.uuid4().hex
    bad = place.order()
    bad["pickup"]["mall"] = "no-such-mall"
    assert (await shop.post(bad, key)).status_code == 422
    assert (await shop.post(place.order(), key)).status_code == 201


async def test_key_belongs_to_its_service(new_shop: NewShop, place: Place) -> None:
    key = uuid.uuid4().hex
    first = await new_shop().post(place.order(), key)
    second = await new_shop().post(place.order(), key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_missing_key_is_refused(shop: Shop, place: Place) -> None:
    response = await shop.http.post("/v1/jobs", json=place.order())
    assert_problem(response, 400, "idempotency_key_missing")


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a b", b"caf\xe9"])
async def test_malformed_key_is_refused(shop: Shop, place: Place, key: bytes) -> None:
    response = await shop.http.post(
        "/v1/jobs", json=place.order(), headers=[(b"Idempotency-Key", key)]
    )
    assert response.status_code in {400, 422}
    assert_problem(response, response.status_code)


async def test_longest_key_is_accepted(shop: Shop, place: Place) -> None:
    assert (await shop.post(place.order(), uuid.uuid4().hex + "!" * 223)).status_code == 201


async def test_duplicate_external_id_is_refused(
    shop: Shop, place: Place, new_shop: NewShop
) -> None:
    body = place.order()
    job = await shop.submit(body)
    problem = assert_problem(await shop.post(body), 409, "duplicate_external_id")
    assert problem["job"] == job["id"] or problem["job"]["id"] == job["id"]
    # External ids are separate for each service.
    await new_shop().submit(body)
    await shop.cancel(job["id"])
    again = await shop.submit(body)
    assert again["id"] != job["id"]


async def test_external_id_of_a_delivered_job_stays_taken(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app, body = new_app(), place.order()
    await app.online(*place.gate)
    await shop.submit(body)
    (held,) = await app.accept(await app.expect("offer"))
    await app.step(held, "picked_up")
    await app.step(held, "delivered")
    assert_problem(await shop.post(body), 409, "duplicate_external_id")


async def test_waiting_job_is_cancelled(shop: Shop, place: Place) -> None:
    job = await shop.submit(place.order())
    for _ in range(2):
        response = await shop.cancel(job["id"], "out of stock")
        assert response.status_code == 200
        cancelled = response.json()
        assert_resource(cancelled, "Job")
        assert (cancelled["state"], cancelled["terminal"]) == ("cancelled", True)
    assert "out of stock" in str(cancelled["reason"])
    assert [entry["state"] for entry in cancelled["timeline"]].count("cancelled") == 1


async def test_job_on_board_is_returned_when_cancelled(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    await app.step(held, "picked_up")
    ready = {"store": place.stores[0], "ready_at": soon()}
    response = await shop.http.post(f"/v1/jobs/{job['id']}/ready", json=ready)
    assert_problem(response, 409, "wrong_state")
    response = await shop.cancel(job["id"])
    assert (response.status_code, response.json()["state"]) == (202, "returning")
    update = await app.expect("job", job=job["id"])
    assert update["state"] == "returning"
    await app.step(held, "delivered")  # it was at the door already
    assert_problem(await shop.cancel(job["id"]), 409, "not_cancellable")


async def test_wait_ends_with_the_assignment(
    new_app: NewApp, shop: Shop, place: Place, standstill: Standstill
) -> None:
    app = new_app()
    await app.online(*place.gate)
    waiting = asyncio.create_task(shop.submit(place.order(), wait_s=20))
    offer = await app.expect("offer")
    assert not waiting.done()
    await app.accept(offer)
    accepted_s = time.monotonic()
    job = await waiting
    assert time.monotonic() - accepted_s < 10 + standstill.ms / 1000
    assert job["state"] == "assigned"


async def test_wait_ends_with_the_job(shop: Shop, place: Place, standstill: Standstill) -> None:
    job = await shop.submit(place.order())
    waiting = asyncio.create_task(shop.job(job["id"], wait_s=20))
    await considered(shop, job["id"])
    assert not waiting.done()
    await shop.cancel(job["id"])
    cancelled_s = time.monotonic()
    assert (await waiting)["state"] == "cancelled"
    assert time.monotonic() - cancelled_s < 10 + standstill.ms / 1000


async def test_wait_ends_after_its_time(shop: Shop, place: Place, standstill: Standstill) -> None:
    started_ms = now_ms()
    job = await shop.submit(place.order(), wait_s=1)
    assert job["state"] == "queued"
    assert 900 <= now_ms() - started_ms < 2_000 + standstill.ms
    for wait in ("21", "-1", "soon", "nan"):
        response = await shop.post(place.order(), wait_s=wait)
        assert response.status_code in {400, 422}
        assert_problem(response, response.status_code)


async def test_job_is_scheduled_until_it_is_ready(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    body = place.order()
    body["pickup"]["stores"][0]["ready_at"] = soon(minutes=90)
    job = await shop.submit(body)
    assert job["state"] == "scheduled"
    response = await shop.http.post(
        f"/v1/jobs/{job['id']}/ready", json={"store": place.stores[0], "ready_at": soon()}
    )
    assert response.status_code == 200
    assert_resource(response.json(), "Job")
    offer = await app.expect("offer")
    assert offer["jobs"][0]["job"] == job["id"]
    assert offer["jobs"][0]["stores"][0]["ready_ms"] <= now_ms()
    await app.accept(offer)


async def test_ready_of_another_store_is_refused(shop: Shop, place: Place) -> None:
    job = await shop.submit(place.order())
    for body in (
        {"store": place.stores[1], "ready_at": soon()},
        {"store": place.stores[0], "ready_at": "tomorrow"},
        {"store": place.stores[0], "ready_at": soon(), "driver": "me"},
        {},
    ):
        response = await shop.http.post(f"/v1/jobs/{job['id']}/ready", json=body)
        assert_problem(response, 422)


async def test_job_without_a_driver_in_time_expires(
    shop: Shop, place: Place, standstill: Standstill
) -> None:
    body = place.order()
    body["pickup"]["window_end"] = soon(seconds=3)
    job = await shop.submit(body)
    ended = await shop.job(job["id"], wait_s=10)
    assert (ended["state"], ended["terminal"]) == ("expired", True)
    assert ended["reason"]
    late = datetime.now(UTC) - datetime.fromisoformat(ended["expires_at"])
    assert late < timedelta(seconds=1, milliseconds=standstill.ms)
    # Its external id is free again.
    body["pickup"]["window_end"] = soon(hours=2)
    await shop.submit(body)


async def test_driver_who_cannot_collect_in_time_gets_no_offer(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    body = place.order()
    body["pickup"]["window_end"] = soon(seconds=3)
    job = await shop.submit(body)

    async def expired() -> bool:
        return await shop.state(job["id"]) == "expired"

    await eventually(expired)
    assert not [frame for frame in app.frames if frame["type"] == "offer"]


async def test_order_may_name_two_stores(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    body = place.order()
    body["pickup"]["stores"].append({"store": place.stores[1], "parcels": 1})
    body["parcels"]["count"] = 2
    await shop.submit(body)
    (held,) = await app.accept(await app.expect("offer"))
    assert {store["store"] for store in held["stores"]} == set(place.stores)
