"""Closed malls, over HTTP: these nodes keep the malls' opening hours."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.core.places import Places
from tests.engine.gateway.conftest import MALL, RunningNode
from tests.engine.gateway.http_support import Caller, order, pointers

PHOENIX_TIME = ZoneInfo("America/Phoenix")


@pytest.fixture(scope="module")
def places() -> Places:
    return Places.load()


def ready_tomorrow(hour: int) -> dict[str, Any]:
    """An order that can be collected tomorrow at this hour, and is wanted the day after."""
    tomorrow = datetime.now(UTC).astimezone(PHOENIX_TIME) + timedelta(days=1)
    ready_at = tomorrow.replace(hour=hour, minute=0, second=0, microsecond=0)
    stores = [{"store": "lego", "ready_at": ready_at.isoformat()}]
    body = order(pickup={"mall": MALL, "stores": stores})
    body["dropoff"]["deadline"] = (ready_at + timedelta(days=1)).isoformat()
    return body


async def test_a_mall_that_is_closed_at_the_ready_time(node: RunningNode) -> None:
    shop = Caller(node)
    for answer in (
        await shop.submit(ready_tomorrow(3)),
        await shop.post("/v1/quotes", ready_tomorrow(3)),
    ):
        assert pointers(answer, "mall_closed") == ["/pickup/mall"]


async def test_an_order_placed_at_night_for_opening_hours(node: RunningNode) -> None:
    answer = await Caller(node).submit(ready_tomorrow(15))
    assert answer.status_code == 201
    job = answer.json()
    assert job["state"] == "scheduled"
    closes = datetime.fromisoformat(job["pickup"]["window_end"]).astimezone(PHOENIX_TIME)
    assert closes.hour in {18, 21}
    assert datetime.fromisoformat(job["expires_at"]) == closes
