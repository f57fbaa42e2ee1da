"""A shop closes for a time by its own word: `POST /v1/stores/{mall}/{store}/hours`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, Counter, order, pointers, problem


def soon(**since: float) -> str:
    return (datetime.now(UTC) + timedelta(**since)).isoformat()


def same_ms(one: str, other: str) -> bool:
    apart = datetime.fromisoformat(one) - datetime.fromisoformat(other)
    return abs(apart) < timedelta(milliseconds=1)


async def closed(counter: Counter, until: str | None) -> Any:
    answered = await counter.post(f"{counter.path}/hours", {"closed_until": until})
    assert answered.status_code == 200, answered.text
    return answered.json()["closed_until"]


async def test_closed_shop_is_searched_only_once_it_opens(node: RunningNode) -> None:
    counter = Counter(node)
    until = soon(hours=1)
    assert same_ms(await closed(counter, until), until)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = await node.submit()
        held = (await node.job(job["id"]))["held"]
        assert (held["why"], held["store"]) == ("store_closed", "lego")
        assert same_ms(held["until"], until)
        assert not await ann.received("offer")
        assert await closed(counter, None) is None
        assert [it["job"] for it in (await ann.receive("offer"))["jobs"]] == [job["id"]]
    assert (await node.job(job["id"]))["held"] is None


async def test_earlier_and_later_times_replace_the_last(node: RunningNode) -> None:
    counter = Counter(node)
    job = await node.submit()
    for hours in (2, 1, 3, 3):
        until = soon(hours=hours)
        await closed(counter, until)
        assert same_ms((await node.job(job["id"]))["held"]["until"], until)


@pytest.mark.parametrize("until", [None, "1970-01-01T00:00:00Z", "2020-02-02T02:02:02+02:00"])
async def test_null_or_past_opens_the_shop(node: RunningNode, until: str | None) -> None:
    counter = Counter(node)
    await closed(counter, soon(hours=1))
    for _ in range(2):
        assert await closed(counter, until) is None
    assert (await counter.post(f"{counter.path}/hours", {})).json() == {"closed_until": None}
    assert (await node.job((await node.submit())["id"]))["held"] is None


async def test_shop_that_opens_again_by_itself_is_searched(node: RunningNode) -> None:
    counter = Counter(node)
    await closed(counter, soon(seconds=1.5))
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = await node.submit()
        assert [it["job"] for it in (await ann.receive("offer"))["jobs"]] == [job["id"]]


async def test_other_shops_stay_open(node: RunningNode) -> None:
    await closed(Counter(node), soon(hours=1))
    other = order(pickup={"mall": Counter(node).mall, "stores": [{"store": "apple"}]})
    job = (await Caller(node).submit(other)).json()["id"]
    assert (await node.job(job))["held"] is None


async def test_ready_order_does_not_open_a_closed_shop(node: RunningNode) -> None:
    until = soon(hours=1)
    await closed(Counter(node), until)
    job = (await node.submit())["id"]
    ready = {"store": "lego", "ready_at": datetime.now(UTC).isoformat()}
    assert (await Caller(node).post(f"/v1/jobs/{job}/ready", ready)).status_code == 200
    assert same_ms((await node.job(job))["held"]["until"], until)


async def test_drivers_report_does_not_shorten_the_shops_own_hours(node: RunningNode) -> None:
    counter = Counter(node)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        await node.submit()
        offer = await ann.receive("offer")
        (job,) = (await ann.ask("accept", offer=offer["offer"]))["jobs"]
        until = soon(hours=2)
        await closed(counter, until)
        await ann.ask(
            "problem", kind="not_ready", job=job["job"], attempt=job["attempt"], store="lego",
        )  # fmt: skip
        other = await node.submit()
        held = (await node.job(other["id"]))["held"]
        assert (held["why"], same_ms(held["until"], until)) == ("store_closed", True)

        # The shop's word wins over what the driver said before.
        assert await closed(counter, None) is None
        assert (await node.job(other["id"]))["held"] is None


def shop_states(job: dict[str, Any]) -> list[str]:
    return [it["state"] for it in job["pickup"]["stores"]]


async def test_closing_withdraws_the_live_offer(node: RunningNode) -> None:
    counter = Counter(node)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = (await node.submit())["id"]
        offer = await ann.receive("offer")
        for _ in range(2):
            await closed(counter, soon(hours=1))
        gone = await ann.receive("offer_closed")
        assert (gone["offer"], gone["why"]) == (offer["offer"], "withdrawn")
        seen = await node.job(job)
        assert (seen["state"], shop_states(seen)) == ("queued", ["closed"])
        items = (await counter.get(f"{counter.path}/pickups")).json()["items"]
        assert [it["state"] for item in items for it in item["stores"]] == ["closed"]
        await closed(counter, None)
        assert [it["job"] for it in (await ann.receive("offer"))["jobs"]] == [job]
    assert shop_states(await node.job(job)) == ["waiting"]


async def test_driver_on_its_way_loses_the_job_of_a_closed_shop(node: RunningNode) -> None:
    counter = Counter(node)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = (await node.submit())["id"]
        offer = await ann.receive("offer")
        await ann.ask("accept", offer=offer["offer"])
        until = soon(hours=1)
        for _ in range(2):
            await closed(counter, until)
        assert (await ann.receive("job"))["reason"] == "held"
        seen = await node.job(job)
        assert (seen["state"], seen["held"]["why"], seen["attempt"]) == (
            "scheduled",
            "store_closed",
            2,
        )
        assert same_ms(seen["held"]["until"], until)
        later = soon(hours=1, minutes=10)
        await closed(counter, later)
        assert same_ms((await node.job(job))["held"]["until"], later)
        await closed(counter, None)
        assert [it["job"] for it in (await ann.receive("offer"))["jobs"]] == [job]


async def test_order_that_does_not_wait_fails_with_its_shop(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = (await Caller(node).submit(order(on_missing="fail"))).json()["id"]
        await ann.ask("accept", offer=(await ann.receive("offer"))["offer"])
        await closed(Counter(node), soon(hours=1))
        assert (await ann.receive("job"))["state"] == "failed"
    seen = await node.job(job)
    assert (seen["state"], seen["reason"]) == ("failed", "store_closed")


async def test_driver_who_arrives_after_the_opening_keeps_the_job(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job = (await node.submit())["id"]
        await ann.ask("accept", offer=(await ann.receive("offer"))["offer"])
        await closed(Counter(node), soon(seconds=5))
        heard = await ann.receive("job")
        assert (heard["state"], heard["reason"]) == ("assigned", "updated")
    seen = await node.job(job)
    assert (seen["state"], shop_states(seen)) == ("assigned", ["closed"])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"closed_until": 7}, "/closed_until"),
        ({"closed_until": "noon"}, "/closed_until"),
        ({"closed_until": "2026-11-22T10:00:00"}, "/closed_until"),
        ({"closed_until": "2101-01-01T00:00:00Z"}, "/closed_until"),
        ({"closed_until": []}, "/closed_until"),
        ({"until": None}, "/until"),
        ({"closed_until": "2026-11-22T10:00:00Z", "store": "apple"}, "/store"),
    ],
)
async def test_bad_hours_are_refused_with_a_pointer(
    node: RunningNode, body: dict[str, Any], where: str
) -> None:
    counter = Counter(node)
    assert pointers(await counter.post(f"{counter.path}/hours", body)) == [where]


async def test_body_of_hours_is_a_json_object(node: RunningNode) -> None:
    counter = Counter(node)
    problem(await counter.post(f"{counter.path}/hours"), 400, "malformed_json")
    assert pointers(await counter.post(f"{counter.path}/hours", [])) == [""]
    problem(await counter.post(f"{counter.path}/hours?x=1", {}), 400, "bad_request")
