"""A shop hands parcels over against the driver's code, and says what it has of a job."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, Counter, order, pointers, problem

UNKNOWN = "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV"
TWO = {"mall": MALL, "stores": [{"store": "lego", "parcels": 3}, {"store": "apple", "parcels": 2}]}


def lego(parcels: int = 3, **fields: Any) -> dict[str, Any]:
    stores = [{"store": "lego", "parcels": parcels}]
    return order(pickup={"mall": MALL, "stores": stores}, **fields)


async def taken(driver: DriverApp, job: str) -> dict[str, Any]:
    """Accept the offer of a job; return the full job."""
    offer = await driver.receive("offer")
    reply = await driver.ask("accept", offer=offer["offer"])
    (full,) = (it for it in reply["jobs"] if it["job"] == job)
    found: dict[str, Any] = full
    return found


async def submitted(node: RunningNode, body: Mapping[str, Any] | None = None) -> str:
    job: str = (await Caller(node).submit(dict(body or lego()))).json()["id"]
    return job


@asynccontextmanager
async def holder(
    node: RunningNode, body: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[DriverApp, dict[str, Any]]]:
    """Sign a driver in near the mall, who takes an order; yield the app and the full job."""
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        yield ann, await taken(ann, await submitted(node, body))


async def hand_over(counter: Counter, job: str, code: str, **more: Any) -> httpx2.Response:
    path = f"{counter.path}/pickups/{job}/handover"
    return await counter.post(path, {"code": code, **more})


async def report(counter: Counter, job: str, state: str, **more: Any) -> httpx2.Response:
    return await counter.post(f"{counter.path}/pickups/{job}", {"state": state, **more})


def wrong(code: str, number: int = 1) -> str:
    return f"{(int(code) + number) % 1_000_000:06d}"


async def test_handover_has_the_effect_of_the_drivers_report(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (ann, full):
        job, code = full["job"], full["handover_code"]
        done = await hand_over(counter, job, code)
        assert done.status_code == 200, done.text
        (own,) = done.json()["stores"]
        assert (done.json()["state"], own["state"]) == ("picked_up", "collected")
        assert own["collected_parcels"] == 3
        pushed = await ann.receive("job")
        assert (pushed["job"], pushed["reason"]) == (job, "handed_over")
        assert pushed["state"] == "picked_up"
        # Either report is enough, and each may be repeated.
        assert (await hand_over(counter, job, code)).json() == done.json()
        reply = await ann.ask(
            "progress", job=job, attempt=pushed["attempt"], step="collected", store="lego"
        )
        assert reply["job_state"] == "picked_up"
        entry = (await node.job(job))["timeline"][-1]
        assert entry["actor"] == "store/lego"
        reply = await ann.ask("progress", job=job, attempt=pushed["attempt"], step="delivered")
        assert reply["job_state"] == "delivered"
        assert (await hand_over(counter, job, code)).status_code == 200


async def test_each_shop_hands_over_its_own(node: RunningNode) -> None:
    counter, other = Counter(node), Counter(node, store="apple")
    async with holder(node, order(pickup=TWO)) as (_, full):
        job, code = full["job"], full["handover_code"]
        first = (await hand_over(counter, job, code, parcels=3)).json()
        assert first["stores"][0]["state"] == "collected"
        (waiting,) = (await other.get(f"{other.path}/pickups")).json()["items"]
        assert (waiting["state"], waiting["stores"][0]["state"]) == ("picked_up", "waiting")
        second = (await hand_over(other, job, code)).json()
        assert second["stores"][0]["collected_parcels"] == 2


async def test_fewer_parcels_are_short(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (_, full):
        job, code = full["job"], full["handover_code"]
        done = (await hand_over(counter, job, code, parcels=2)).json()["stores"][0]
        assert (done["state"], done["collected_parcels"]) == ("short", 2)


async def test_five_wrong_codes_bar_a_job_for_ten_minutes(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (ann, full):
        job = full["job"]
        code = full["handover_code"]
        for number in range(1, 6):
            for _ in range(2):  # a repeated request counts once
                refused = await hand_over(counter, job, wrong(code, number))
                if number < 5 or _ == 0:
                    assert problem(refused, 409, "wrong_code")["tries_left"] == 5 - number
        for tried in (code, wrong(code)):
            barred = await hand_over(counter, job, tried)
            problem(barred, 429, "rate_limited")
            assert 500 < int(barred.headers["retry-after"]) <= 600
        assert await node.metric('mallard_alerts_total{kind="wrong_handover_code"}') == 1
        # The driver's own word is enough, and other jobs go on.
        reply = await ann.ask(
            "progress", job=job, attempt=full["attempt"], step="collected", store="lego"
        )
        assert reply["job_state"] == "picked_up"


async def test_codes_of_many_jobs_cannot_be_tried(node: RunningNode) -> None:
    counter = Counter(node)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        first = await submitted(node)
        code = (await taken(ann, first))["handover_code"]
        operator = Caller(node, "ops", Role.OPERATOR)
        jobs = [first]
        for number in range(5):
            async with open_app(node.ws, node.token(f"d-{number}")) as driver:
                await driver.hello(position=NEAR)
                job = await submitted(node)
                await operator.post(f"/v1/jobs/{job}/assign", {"driver": f"d-{number}"})
                jobs.append(job)
        answers = [
            (await hand_over(counter, job, f"{number:06d}x")).status_code
            for job in jobs
            for number in range(4)
        ]
        assert answers == [409] * 20 + [429] * 4
        problem(await hand_over(counter, first, code), 429, "rate_limited")
        other = Counter(node, store="apple")
        problem(await hand_over(other, first, code), 404, "not_found")
        assert await node.metric('mallard_alerts_total{kind="wrong_handover_code"}') == 1


async def test_code_of_an_earlier_holder_is_its_claim_of_custody(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (ann, full), open_app(node.ws, node.token("bob")) as bob:
        job = full["job"]
        await bob.hello(position=NEAR)
        await node.order(f"/v1/jobs/{job}/assign", driver="bob")
        assert (await ann.receive("job"))["reason"] == "unassigned"
        assert (await bob.receive("job"))["reason"] == "assigned"
        done = await hand_over(counter, job, full["handover_code"])
        assert (done.status_code, done.json()["state"]) == (200, "picked_up"), done.text
        assert (await bob.receive("job"))["reason"] == "collected"
        pushed = await ann.receive("job")
        assert (pushed["reason"], pushed["state"]) == ("handed_over", "picked_up")
        assert pushed["attempt"] > full["attempt"] + 1
        assert (await hand_over(counter, job, full["handover_code"])).status_code == 200
        seen = await node.order(f"/v1/jobs/{job}/close", state="delivered", reason="x")
        assert seen["driver"] == "ann"


async def test_code_of_a_driver_who_gave_up_is_wrong(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (ann, full), open_app(node.ws, node.token("bob")) as bob:
        job = full["job"]
        await ann.ask("progress", job=job, attempt=full["attempt"], step="give_up")
        problem(await hand_over(counter, job, full["handover_code"]), 409, "wrong_state")
        await bob.hello(position=NEAR)
        await node.order(f"/v1/jobs/{job}/assign", driver="bob")
        problem(await hand_over(counter, job, full["handover_code"]), 409, "wrong_code")


async def test_job_without_a_driver_is_not_handed_over(node: RunningNode) -> None:
    counter = Counter(node)
    job = await submitted(node)
    problem(await hand_over(counter, job, "123456"), 409, "wrong_state")
    await Caller(node).post(f"/v1/jobs/{job}/cancel", {})
    problem(await hand_over(counter, job, "123456"), 409, "wrong_state")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "/code"),
        ({"code": ""}, "/code"),
        ({"code": 123456}, "/code"),
        ({"code": "1" * 65}, "/code"),
        ({"code": "1", "parcels": 0}, "/parcels"),
        ({"code": "1", "parcels": -1}, "/parcels"),
        ({"code": "1", "parcels": 4}, "/parcels"),
        ({"code": "1", "parcels": 1.5}, "/parcels"),
        ({"code": "1", "parcels": "2"}, "/parcels"),
        ({"code": "1", "parcels": 10**9}, "/parcels"),
        ({"code": "1", "driver": "ann"}, "/driver"),
    ],
)
async def test_bad_handover_is_refused_with_a_pointer(
    node: RunningNode, body: dict[str, Any], where: str
) -> None:
    counter = Counter(node)
    job = await submitted(node)
    path = f"{counter.path}/pickups/{job}/handover"
    assert pointers(await counter.post(path, body)) == [where]


async def test_jobs_of_other_shops_are_missing(node: RunningNode) -> None:
    counter = Counter(node)
    other = await submitted(node, order(pickup={"mall": MALL, "stores": [{"store": "apple"}]}))
    for job in (other, UNKNOWN, "x", "job_phoenix.x", "job_las-vegas.01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        problem(await hand_over(counter, job, "123456"), 404, "not_found")
        problem(await report(counter, job, "ready"), 404, "not_found")


async def test_missing_parcels_wait_for_ready_from_the_shop(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (ann, full):
        job = full["job"]
        for _ in range(2):
            said = await report(counter, job, "missing")
            assert said.status_code == 200, said.text
            assert said.json()["stores"][0]["state"] == "missing"
        pushed = await ann.receive("job")
        assert (pushed["reason"], pushed["state"]) == ("held", "scheduled")
        held = await node.job(job)
        assert (held["state"], held["held"]["why"]) == ("scheduled", "missing")
        assert held["attempt"] == full["attempt"] + 1
        said = await report(counter, job, "ready")
        assert said.json()["stores"][0]["state"] == "ready", said.text
        # Its driver may be asked again.
        again = await taken(ann, job)
        assert again["attempt"] > full["attempt"]
        assert again["handover_code"] != full["handover_code"]


async def test_missing_parcels_end_an_order_that_says_so(node: RunningNode) -> None:
    counter = Counter(node)
    job = await submitted(node, lego(on_missing="fail"))
    assert (await report(counter, job, "missing")).json()["state"] == "failed"
    seen = await node.job(job)
    assert (seen["state"], seen["reason"]) == ("failed", "not_at_counter")
    problem(await report(counter, job, "ready"), 409, "wrong_state")


async def test_short_order_goes_on_with_what_is_there(node: RunningNode) -> None:
    counter = Counter(node)
    async with holder(node) as (ann, full):
        job, code = full["job"], full["handover_code"]
        said = (await report(counter, job, "short", parcels=2)).json()
        assert (said["state"], said["stores"][0]["state"]) == ("assigned", "short")
        assert (await ann.receive("job"))["reason"] == "updated"
        done = (await hand_over(counter, job, code)).json()["stores"][0]
        assert (done["state"], done["collected_parcels"]) == ("short", 2)
        for state, more in (("ready", {}), ("missing", {}), ("short", {"parcels": 1})):
            problem(await report(counter, job, state, **more), 409, "wrong_state")


async def test_ready_time_is_reported_and_repeatable(node: RunningNode) -> None:
    counter = Counter(node)
    job = await submitted(node)
    later = datetime.now(UTC) + timedelta(minutes=30)
    for _ in range(2):
        said = (await report(counter, job, "ready", ready_at=later.isoformat())).json()
        ready_at = datetime.fromisoformat(said["stores"][0]["ready_at"])
        assert abs(ready_at - later) < timedelta(seconds=1)
    first = (await report(counter, job, "ready")).json()
    assert datetime.fromisoformat(first["stores"][0]["ready_at"]) <= datetime.now(UTC)
    await asyncio.sleep(0.05)
    assert (await report(counter, job, "ready")).json() == first
    entries = (await node.job(job))["timeline"]
    assert {it["actor"] for it in entries} <= {"shop", "engine"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "/state"),
        ({"state": "collected"}, "/state"),
        ({"state": "waiting"}, "/state"),
        ({"state": None}, "/state"),
        ({"state": 1}, "/state"),
        ({"state": "short"}, "/parcels"),
        ({"state": "short", "parcels": 0}, "/parcels"),
        ({"state": "short", "parcels": 3}, "/parcels"),
        ({"state": "short", "parcels": 4}, "/parcels"),
        ({"state": "short", "parcels": -1}, "/parcels"),
        ({"state": "short", "parcels": "2"}, "/parcels"),
        ({"state": "missing", "parcels": 1}, "/parcels"),
        ({"state": "ready", "parcels": 2}, "/parcels"),
        ({"state": "ready", "parcels": 4}, "/parcels"),
        ({"state": "ready", "ready_at": "soon"}, "/ready_at"),
        ({"state": "ready", "ready_at": "2026-11-29T10:00:00"}, "/ready_at"),
        ({"state": "ready", "ready_at": "2101-01-01T00:00:00Z"}, "/ready_at"),
        ({"state": "missing", "ready_at": "2026-11-29T10:00:00Z"}, "/ready_at"),
        ({"state": "ready", "store": "apple"}, "/store"),
    ],
)
async def test_bad_report_is_refused_with_a_pointer(
    node: RunningNode, body: dict[str, Any], where: str
) -> None:
    counter = Counter(node)
    job = await submitted(node)
    assert pointers(await counter.post(f"{counter.path}/pickups/{job}", body)) == [where]
    assert (await node.job(job))["state"] == "queued"
