"""Closed malls over HTTP, on nodes that apply opening hours."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import is_open, next_opening_ms
from tests.engine.gateway.conftest import MALL, RunningNode
from tests.engine.gateway.http_support import Caller, order, pointers

PHOENIX_TIME = ZoneInfo("America/Phoenix")


@pytest.fixture(scope="module")
def places() -> Places:
    return Places.load()


def ready_soon(places: Places, hour: int, *, is_open_then: bool) -> dict[str, Any]:
    """An order that can be collected at this hour of the next day on which the mall is open then,
    or closed (tomorrow may be a holiday), and is wanted the day after."""
    at = datetime.now(UTC).astimezone(PHOENIX_TIME).replace(hour=hour, minute=0, microsecond=0)
    hours = places.mall(MALL).hours
    ready_at = next(
        day
        for day in (at + timedelta(days=days) for days in range(1, 8))
        if is_open(hours, int(day.timestamp() * 1000)) is is_open_then
    )
    stores = [{"store": "lego", "ready_at": ready_at.isoformat()}]
    body = order(pickup={"mall": MALL, "stores": stores})
    body["dropoff"]["deadline"] = (ready_at + timedelta(days=1)).isoformat()
    return body


async def test_closed_mall_at_the_ready_time_is_refused(node: RunningNode, places: Places) -> None:
    shop = Caller(node)
    closed = ready_soon(places, 3, is_open_then=False)
    ready_at = datetime.fromisoformat(closed["pickup"]["stores"][0]["ready_at"])
    closed["dropoff"]["deadline"] = (ready_at + timedelta(hours=2)).isoformat()
    for answer in (
        await shop.submit(closed),
        await shop.post("/v1/quotes", closed),
    ):
        assert pointers(answer, "mall_closed") == ["/pickup/mall"]


async def test_order_ready_at_night_waits_for_the_morning(
    node: RunningNode, places: Places
) -> None:
    body = ready_soon(places, 3, is_open_then=False)
    ready_at = datetime.fromisoformat(body["pickup"]["stores"][0]["ready_at"])
    hours = places.mall(MALL).hours
    opens_ms = next_opening_ms(hours, int(ready_at.timestamp() * 1000))
    body["dropoff"]["deadline"] = datetime.fromtimestamp(
        opens_ms / 1000 + 36 * 3600, UTC
    ).isoformat()
    answer = await Caller(node).submit(body)
    assert answer.status_code == 201
    job = answer.json()
    assert job["state"] == "scheduled"
    assert job["expires_at"] == job["pickup"]["window_end"].replace("Z", ".000Z")
    assert job["pickup"]["window_end"] == job["dropoff"]["deadline"]


async def test_order_for_the_opening_hours_is_scheduled(node: RunningNode, places: Places) -> None:
    body = ready_soon(places, 15, is_open_then=True)
    answer = await Caller(node).submit(body)
    assert answer.status_code == 201
    job = answer.json()
    assert job["state"] == "scheduled"
    # Parcels that no driver collects before closing wait for the next day.
    assert job["pickup"]["window_end"] == job["dropoff"]["deadline"]
    assert datetime.fromisoformat(job["expires_at"]) == datetime.fromisoformat(
        body["dropoff"]["deadline"]
    )
