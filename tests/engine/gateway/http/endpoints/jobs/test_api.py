"""Submitting, repeating, reading and listing jobs over HTTP."""

import asyncio
import re
from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, at, order, pointers, problem
from tests.support import eventually

JOB_ID = re.compile(r"job_phoenix\.[0-9A-HJKMNP-TV-Z]{26}")
SERVER_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


async def online(driver: DriverApp) -> None:
    await driver.hello(position=NEAR)
    assert (await driver.ask("status", state="available"))["type"] == "reply"


async def test_example_of_the_contract_is_accepted(shop: Caller) -> None:
    now_ms = shop.node.node.store.now_ms()
    sent: dict[str, Any] = {
        "external_id": "ORD-1183",
        "pickup": {
            "mall": MALL,
            "stores": [
                {
                    "store": "lego",
                    "ready_at": "2020-11-22T16:10:00-07:00",
                    "parcels": 2,
                    "pickup_code": "7731",
                }
            ],
            "window_end": at(now_ms // 1000 * 1000 + 3_600_000),
        },
        "dropoff": {
            "lat": 33.3197,
            "lon": -111.8412,
            "address": "1 Main St",
            "name": "Ada",
            "contact": "+1 555",
            "note": "gate ß 🦆",
            "deadline": at(now_ms // 1000 * 1000 + 7_200_000),
        },
        "parcels": {"count": 2, "weight_g": 3200, "volume_l": 18},
        "requires": ["id_check"],
        "priority": 0,
        "pay": {"amount_minor": 1150, "currency": "USD"},
        "metadata": {"basket": "77", "gift": True, "weight": 1.5, "none": None},
    }
    response = await shop.submit(sent)
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in response.headers
    job = response.json()
    assert JOB_ID.fullmatch(job["id"])
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert {name: job[name] for name in ("market", "state", "terminal", "attempt")} == {
        "market": PHOENIX,
        "state": "queued",
        "terminal": False,
        "attempt": 0,
    }
    assert job["driver"] is None
    assert job["reason"] is None
    assert job["eta"] == {"pickup": None, "dropoff": None}
    assert [entry["state"] for entry in job["timeline"]] == ["queued"]
    for time in (job["created_at"], job["updated_at"], job["timeline"][0]["at"]):
        assert SERVER_TIME.fullmatch(time)
    assert job["expires_at"].removesuffix(".000Z") + "+00:00" == sent["pickup"]["window_end"]
    sent["pickup"]["window_end"] = sent["pickup"]["window_end"].replace("+00:00", "Z")
    sent["dropoff"]["deadline"] = sent["dropoff"]["deadline"].replace("+00:00", "Z")
    sent["pickup"]["stores"][0] |= {"state": "waiting", "collected_parcels": 0}
    assert {name: job[name] for name in sent} == sent

    read = await shop.get(f"/v1/jobs/{job['id']}")
    assert read.status_code == 200
    assert {name: read.json()[name] for name in sent} == sent


async def test_response_has_the_defaults(shop: Caller) -> None:
    job = (await shop.submit()).json()
    assert job["pickup"]["stores"][0]["ready_at"][:16] == job["created_at"][:16]
    assert job["dropoff"]["deadline"] == job["pickup"]["window_end"]
    assert job["expires_at"].removesuffix(".000Z") == job["dropoff"]["deadline"].removesuffix("Z")
    assert job["parcels"]["count"] == 1
    assert "external_id" not in job


async def test_job_that_is_ready_later_is_scheduled(shop: Caller) -> None:
    ready_at = at(shop.node.node.store.now_ms() + 6 * 3_600_000)
    pickup = {"mall": MALL, "stores": [{"store": "lego", "ready_at": ready_at}]}
    assert (await shop.submit(order(pickup=pickup))).json()["state"] == "scheduled"


async def test_repeated_request_returns_the_current_job(shop: Caller) -> None:
    first = await shop.submit(order(metadata={"a": 1, "b": [1.0][0]}), key="same")
    await shop.post(f"{first.headers['location']}/cancel", {"reason": "gone"})
    again = await shop.submit(order(metadata={"b": 1, "a": 1.0}), key="same")
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["state"] == "cancelled"


async def test_request_repeated_after_its_deadline_returns_its_job(shop: Caller) -> None:
    store = shop.node.node.store
    deadline_ms = store.now_ms() + 2_600
    body = order()
    body["dropoff"]["deadline"] = at(deadline_ms)
    first = await shop.submit(body, key="late")
    assert first.status_code == 201
    await eventually(lambda: store.now_ms() > deadline_ms)
    again = await shop.submit(body, key="late")
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert pointers(await shop.submit(body, key="new")) == ["/dropoff/deadline"]
    body["priority"] = 1
    problem(await shop.submit(body, key="late"), 422, "idempotency_mismatch")


async def test_concurrent_equal_requests_create_one_job(shop: Caller) -> None:
    responses = await asyncio.gather(*(shop.submit(key="burst") for _ in range(20)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["id"] for response in responses}) == 1
    assert sum("idempotent-replayed" not in response.headers for response in responses) == 1


async def test_key_belongs_to_one_request_of_one_service(shop: Caller) -> None:
    first = await shop.submit(key="k")
    problem(await shop.submit(order(priority=1), key="k"), 422, "idempotency_mismatch")
    other = await Caller(shop.node, "other").submit(order(priority=1), key="k")
    assert other.status_code == 201
    assert other.json()["id"] != first.json()["id"]


async def test_only_a_201_consumes_the_key(shop: Caller) -> None:
    assert (await shop.submit(order(priority=-1), key="k")).status_code == 422
    assert (await shop.submit(order(priority=1), key="k")).status_code == 201


async def test_missing_or_malformed_key_is_refused(shop: Caller) -> None:
    problem(await shop.post("/v1/jobs", order()), 400, "idempotency_key_missing")
    for key in ("", "a b", "x" * 256):
        problem(await shop.submit(key=key), 400, "idempotency_key_invalid")
    assert (await shop.submit(key="~" * 255)).status_code == 201


async def test_external_id_has_one_open_job(shop: Caller) -> None:
    first = (await shop.submit(order(external_id="A"))).json()
    found = problem(await shop.submit(order(external_id="A")), 409, "duplicate_external_id")
    assert found["job"] == first["id"]
    assert (await Caller(shop.node, "other").submit(order(external_id="A"))).status_code == 201
    await shop.post(f"/v1/jobs/{first['id']}/cancel", {})
    assert (await shop.submit(order(external_id="A"))).status_code == 201


async def test_waiting_ends_with_the_assignment(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        waiting = asyncio.create_task(shop.submit(query="?wait_s=10"))
        offer = await driver.receive("offer")
        reading = asyncio.create_task(shop.get(f"/v1/jobs/{offer['jobs'][0]['job']}", wait_s="20"))
        await driver.ask("accept", offer=offer["offer"])
        for answer in (await waiting, await reading):
            assert answer.is_success
            assert answer.json()["state"] == "assigned"


async def test_waiting_ends_with_the_job_or_with_its_time(shop: Caller) -> None:
    job = (await shop.submit(query="?wait_s=1")).json()
    assert job["state"] == "queued"
    waiting = asyncio.create_task(shop.get(f"/v1/jobs/{job['id']}", wait_s="20"))
    await shop.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await waiting).json()["state"] == "cancelled"


async def test_wait_out_of_bounds_is_refused(shop: Caller) -> None:
    for wait_s in ("21", "-1", "x", "", "1.5", "1e1", "\u0663", "9" * 5000):
        problem(await shop.get("/v1/jobs/x", wait_s=wait_s), 400, "bad_request")


async def test_job_is_visible_to_its_service_only(shop: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    other = Caller(shop.node, "other")
    for path, body in (
        ("cancel", {}),
        ("ready", {"store": "lego", "ready_at": "2030-01-01T00:00:00Z"}),
    ):
        problem(await other.post(f"/v1/jobs/{job}/{path}", body), 404, "not_found")
    problem(await other.get(f"/v1/jobs/{job}"), 404, "not_found")
    problem(await other.get(f"/v1/jobs/{job}/explain"), 404, "not_found")
    assert (await other.get("/v1/jobs")).json() == {"items": [], "next_cursor": None}
    operator = Caller(shop.node, "ops", Role.OPERATOR)
    assert (await operator.get(f"/v1/jobs/{job}")).json()["id"] == job


async def test_unknown_job_is_404(shop: Caller) -> None:
    for job in (
        "x",
        "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_atlantis.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_%7Bphoenix%7D.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "*",
        "%0A",
        "x" * 10_000,
        "..%2F..%2Fetc",
    ):
        problem(await shop.get(f"/v1/jobs/{job}"), 404, "not_found")


async def test_jobs_are_listed_newest_first_over_all_markets(shop: Caller) -> None:
    virginia = {"mall": "tysons-galleria", "stores": [{"store": _a_store(shop)}]}
    made = []
    for number in range(5):
        body = order(external_id=f"L-{number}")
        if number % 2:
            body |= {"pickup": virginia, "dropoff": {"lat": 38.9, "lon": -77.2}}
        made.append((await shop.submit(body)).json()["id"])
    await Caller(shop.node, "other").submit()

    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await shop.get("/v1/jobs", limit=2, **cursor)).json()
        seen += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    # Jobs of one millisecond may come in any order.
    assert sorted(seen) == sorted(made)
    assert [it.rpartition(".")[2][:10] for it in seen] == sorted(
        (it.rpartition(".")[2][:10] for it in made), reverse=True
    )

    phoenix = (await shop.get("/v1/jobs", market=PHOENIX)).json()["items"]
    assert {job["market"] for job in phoenix} == {PHOENIX}
    assert len(phoenix) == 3
    one = (await shop.get("/v1/jobs", external_id="L-3")).json()["items"]
    assert [job["id"] for job in one] == [made[3]]
    await shop.post(f"/v1/jobs/{made[0]}/cancel")
    cancelled = (await shop.get("/v1/jobs", state="cancelled")).json()["items"]
    assert [job["id"] for job in cancelled] == [made[0]]
    operator = Caller(shop.node, "ops", Role.OPERATOR)
    assert len((await operator.get("/v1/jobs")).json()["items"]) == 6


def _a_store(shop: Caller) -> str:
    return next(iter(shop.node.node.places.mall("tysons-galleria").stores))


async def test_list_limit_out_of_bounds_is_refused(shop: Caller) -> None:
    for query in (
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"state": "asleep"},
        {"market": "atlantis"},
        {"market": "{phoenix}"},
        {"cursor": "x"},
        {"cursor": "(01ARZ3NDEKTSV4RRFFQ69G5FA"},
    ):
        problem(await shop.get("/v1/jobs", **query), 400, "bad_request")
