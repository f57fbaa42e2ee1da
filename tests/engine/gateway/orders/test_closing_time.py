"""Orders shortly before closing time. The mall opens again an hour later."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import OpeningHours
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import eventually

pytestmark = [pytest.mark.finding("D2"), pytest.mark.finding("D3")]
FAR = {"lat": 33.45, "lon": -111.95}


@pytest.fixture
def minutes() -> int:
    """Upper bound of the minutes until the mall closes."""
    return 10


@pytest.fixture
def places(minutes: int) -> Places:
    now = datetime.now(UTC)
    at_min = now.hour * 60 + now.minute + minutes
    week: list[tuple[tuple[int, int], ...]] = [()] * 7
    week[now.weekday()] = ((0, at_min), (at_min + 60, at_min + 300))
    shipped = Places.load().market(PHOENIX)
    mall = replace(shipped.malls[MALL], hours=OpeningHours("UTC", tuple(week)))
    return Places([replace(shipped, malls={**shipped.malls, MALL: mall})])


async def explained(node: RunningNode, job: str) -> dict[str, Any]:
    headers = node.bearer("ops", Role.OPERATOR)
    answer: dict[str, Any] = (
        await node.http.get(f"/v1/jobs/{job}/explain", headers=headers)
    ).json()
    return answer


async def test_driver_too_far_to_collect_in_time_gets_no_offer(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("far")) as far:
        await far.go_online(position=FAR)
        job = await node.submit()

        async def seen() -> Any:
            return (await explained(node, job["id"]))["candidates"]

        (candidate,) = await eventually(seen)
        assert (candidate["eligible"], candidate["why_not"]) == (False, "too_late_for_pickup")
        order = {
            "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
            "dropoff": HOME,
        }
        quote = await node.http.post(
            "/v1/quotes", json=order, headers=node.bearer("shop", Role.ORDERS)
        )
        assert quote.json()["would_match"] is False
        assert (await node.job(job["id"]))["state"] == "queued"
        assert not await far.received("offer")
        # An operator may still assign any driver.
        await node.order(f"/v1/jobs/{job['id']}/assign", driver="far")
        assert (await node.job(job["id"]))["state"] == "assigned"


@pytest.mark.parametrize("minutes", [1])
async def test_uncollectable_order_waits_for_the_next_opening(node: RunningNode) -> None:
    job = await node.submit()
    scheduled = await node.job_in(job["id"], "scheduled")
    assert scheduled["timeline"][-1]["cause"] in {"mall_closes", "submitted"}
    assert scheduled["expires_at"] == job["expires_at"]
    assert not scheduled["terminal"]
