"""What comes back to a shop: `GET …/returns` and `POST …/returns/{job}`."""

import time
from typing import Any

import pytest

from tests.engine.gateway.conftest import MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, Counter, order, problem
from tests.support import eventually

LEGO = order(pickup={"mall": MALL, "stores": [{"store": "lego", "parcels": 3}]})


async def turned_back(node: RunningNode, driver: DriverApp) -> tuple[str, int]:
    """A job that its driver brings back, with its attempt."""
    job = (await Caller(node).submit(LEGO)).json()["id"]
    offer = await driver.receive("offer")
    (full,) = (await driver.ask("accept", offer=offer["offer"]))["jobs"]
    for step in ("picked_up", "returning"):
        reply = await driver.ask(
            "progress", job=job, attempt=full["attempt"], step=step, at_ms=int(time.time() * 1000)
        )
    assert reply["job_state"] == "returning", reply
    return job, full["attempt"]


async def returns(counter: Counter) -> list[dict[str, Any]]:
    found = await counter.get(f"{counter.path}/returns")
    assert found.status_code == 200, found.text
    items: list[dict[str, Any]] = found.json()["items"]
    return items


async def test_shop_sees_what_comes_back_and_receives_it(node: RunningNode) -> None:
    counter, other = Counter(node), Counter(node, store="apple")
    assert await returns(counter) == []
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job, _ = await turned_back(node, ann)

        async def coming() -> list[dict[str, Any]]:
            return await returns(counter)

        (seen,) = await eventually(coming)
        assert (seen["id"], seen["state"], seen["parcels"]) == (job, "returning", 3)
        assert seen["code"]
        assert "ann" not in seen["driver"]["alias"]
        assert await returns(other) == []
        problem(await other.post(f"{other.path}/returns/{job}"), 404, "not_found")
        for _ in range(2):
            done = await counter.post(f"{counter.path}/returns/{job}")
            assert (done.status_code, done.json()["state"]) == (200, "returned"), done.text
        assert await returns(counter) == []
        assert (await ann.receive("job"))["state"] == "returned"
        entry = (await node.job(job))["timeline"][-1]
        assert (entry["state"], entry["actor"]) == ("returned", "store/lego")


async def test_job_that_turns_round_comes_back_no_more(node: RunningNode) -> None:
    counter = Counter(node)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        job, attempt = await turned_back(node, ann)
        reply = await ann.ask(
            "progress", job=job, attempt=attempt, step="resume", at_ms=int(time.time() * 1000) + 5
        )
        assert reply["job_state"] == "picked_up"
        assert await returns(counter) == []
        problem(await counter.post(f"{counter.path}/returns/{job}"), 404, "not_found")


async def test_job_that_does_not_come_back_is_missing(node: RunningNode) -> None:
    counter = Counter(node)
    job = (await Caller(node).submit(LEGO)).json()["id"]
    for name in (job, "x", "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        problem(await counter.post(f"{counter.path}/returns/{name}"), 404, "not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "code=1"])
async def test_bad_query_of_returns_is_refused(node: RunningNode, query: str) -> None:
    counter = Counter(node)
    problem(await counter.get(f"{counter.path}/returns", query), 400, "bad_request")
