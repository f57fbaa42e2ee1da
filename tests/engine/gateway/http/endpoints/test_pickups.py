"""What a shop sees of its jobs: `GET /v1/stores/{mall}/{store}/pickups`."""

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mallard_engine.core.places.opening_hours import OpeningHours, day_start_ms
from tests.engine.gateway.conftest import HOME, MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, Counter, order, problem

SECRETS = {
    "metadata": {"basket": "secret-basket"},
    "dropoff": {
        **HOME,
        "name": "secret-name",
        "address": "secret-address",
        "contact": "secret-contact",
        "note": "secret-note",
        "pin": "secret-pin",
    },
    "pay": {"amount_minor": 987654, "currency": "USD"},
    "external_id": "ORD-A",
    "pickup": {
        "mall": MALL,
        "stores": [
            {"store": "lego", "parcels": 2, "pickup_code": "7731"},
            {"store": "apple", "parcels": 5, "pickup_code": "secret-code"},
        ],
    },
}


async def pickups(counter: Counter, **query: Any) -> list[dict[str, Any]]:
    found = await counter.get(f"{counter.path}/pickups", **query)
    assert found.status_code == 200, found.text
    items: list[dict[str, Any]] = found.json()["items"]
    return items


async def test_shop_sees_the_jobs_of_every_service(node: RunningNode) -> None:
    lego, apple = Counter(node), Counter(node, store="apple")
    assert await pickups(lego) == []
    first = (await Caller(node, "toys").submit(order(**SECRETS))).json()
    second = (await Caller(node, "games").submit()).json()
    found = await pickups(lego)
    assert [it["id"] for it in found] == [second["id"], first["id"]]
    seen = found[1]
    assert (seen["external_id"], seen["state"], seen["driver"]) == ("ORD-A", "queued", None)
    (own,) = seen["stores"]
    assert (own["store"], own["parcels"], own["pickup_code"]) == ("lego", 2, "7731")
    assert own["ready_at"] == first["pickup"]["stores"][0]["ready_at"]
    assert seen["eta"] == {"pickup": None}
    assert [it["id"] for it in await pickups(apple)] == [first["id"]]


async def test_shop_sees_no_customer_pay_metadata_or_other_shop(node: RunningNode) -> None:
    counter = Counter(node)
    await Caller(node, "secret-service").submit(order(**SECRETS))
    async with open_app(node.ws, node.token("secret-driver")) as app:
        await app.go_online(position=NEAR)
        await app.ask("accept", offer=(await app.receive("offer"))["offer"])
        (seen,) = await pickups(counter)
    text = json.dumps(seen)
    assert "secret" not in text
    assert "apple" not in text
    assert "987654" not in text
    assert str(HOME["lat"]) not in text
    assert set(seen) == {"id", "state", "stores", "driver", "eta", "external_id"}


async def test_shop_sees_who_comes_and_when(node: RunningNode) -> None:
    counter, other = Counter(node), Counter(node, store="apple")
    job = (await Caller(node).submit(order(pickup=SECRETS["pickup"]))).json()["id"]
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        offer = await ann.receive("offer")
        await ann.ask("accept", offer=offer["offer"])
        (seen,) = await pickups(counter)
        assert (seen["id"], seen["state"]) == (job, "assigned")
        assert seen["driver"]["vehicle"] == "car"
        assert seen["driver"]["alias"]
        assert "ann" not in seen["driver"]["alias"]
        assert datetime.fromisoformat(seen["eta"]["pickup"]).tzinfo
        assert (await pickups(counter))[0]["driver"] == seen["driver"]
        # Two shops cannot find out that the same driver comes to both.
        (elsewhere,) = await pickups(other)
        assert elsewhere["driver"]["alias"] != seen["driver"]["alias"]


async def test_job_is_listed_until_it_ends_and_after_its_pickup(node: RunningNode) -> None:
    counter, shop = Counter(node), Caller(node)
    cancelled = (await shop.submit()).json()["id"]
    await shop.post(f"/v1/jobs/{cancelled}/cancel", {})
    assert await pickups(counter) == []
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = (await shop.submit()).json()["id"]
        offer = await ann.receive("offer")
        attempt = (await ann.ask("accept", offer=offer["offer"]))["jobs"][0]["attempt"]
        for step in ("picked_up", "delivered"):
            await ann.ask("progress", job=job, attempt=attempt, step=step)
            (seen,) = await pickups(counter)
            assert (seen["id"], seen["state"]) == (job, step)


async def test_pages_follow_the_cursor(node: RunningNode) -> None:
    counter, shop = Counter(node), Caller(node)
    jobs = [(await shop.submit()).json()["id"] for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        query: dict[str, Any] = {"limit": 2, "cursor": cursor}
        page = (await counter.get(f"{counter.path}/pickups", **query)).json()
        assert len(page["items"]) <= 2
        found += [it["id"] for it in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == jobs[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1.5",
        "limit=1&limit=2",
        "cursor=x",
        "cursor=job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "cursor=01ARZ3NDEKTSV4RRFFQ69G5FAV%0a",
        "cursor=../../apple",
        "state=queued",
        "market=phoenix",
    ],
)
async def test_bad_query_is_refused(node: RunningNode, query: str) -> None:
    counter = Counter(node)
    problem(await counter.get(f"{counter.path}/pickups", query), 400, "bad_request")


@pytest.mark.parametrize(
    ("zone", "now"),
    [
        ("America/Phoenix", "2026-11-29T00:00:00-07:00"),
        ("America/Phoenix", "2026-11-29T23:59:59.999-07:00"),
        # The days on which summer time begins and ends have 23 and 25 hours.
        ("America/New_York", "2026-03-08T23:30:00-04:00"),
        ("America/New_York", "2026-11-01T23:30:00-05:00"),
    ],
)
def test_day_begins_at_local_midnight(zone: str, now: str) -> None:
    at = datetime.fromisoformat(now).astimezone(ZoneInfo(zone))
    start = datetime.fromtimestamp(
        day_start_ms(OpeningHours(zone), int(at.timestamp() * 1000)) / 1000, ZoneInfo(zone)
    )
    assert (start.date(), start.timetz().isoformat()[:8]) == (at.date(), "00:00:00")
    assert at.timestamp() - start.timestamp() < timedelta(hours=25).total_seconds()
