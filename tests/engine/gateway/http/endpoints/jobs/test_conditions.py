"""`If-Match` and `If-None-Match` of an order."""

import pytest

from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http.endpoints.jobs.test_changes import on_the_way, rich
from tests.engine.gateway.http_support import Caller, problem
from tests.support import eventually


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


async def test_stale_if_match_is_refused(shop: Caller) -> None:
    path = await rich(shop)
    tag = (await shop.get(path)).headers["etag"]
    done = await shop.patch(path, {"priority": 3}, headers={"If-Match": tag})
    assert done.status_code == 200
    assert done.headers["etag"] == (await shop.get(path)).headers["etag"] != tag
    refused = await shop.patch(path, {"priority": 4}, headers={"If-Match": tag})
    problem(refused, 412, "precondition_failed")
    assert (await shop.get(path)).json()["priority"] == 3
    for good_one in ("*", f'"x", {done.headers["etag"]}'):
        again = await shop.patch(path, {"priority": 3}, headers={"If-Match": good_one})
        assert again.status_code == 200


@pytest.mark.parametrize("tag", ["x", "", '"x', '"x" "y"', "W/x"])
async def test_malformed_if_match_is_refused(shop: Caller, tag: str) -> None:
    path = await rich(shop)
    problem(await shop.patch(path, {"priority": 4}, headers={"If-Match": tag}), 400, "bad_request")


async def test_weak_if_match_never_matches(shop: Caller) -> None:
    path = await rich(shop)
    tag = "W/" + (await shop.get(path)).headers["etag"]
    refused = await shop.patch(path, {"priority": 4}, headers={"If-Match": tag})
    problem(refused, 412, "precondition_failed")


async def test_job_as_it_is_known_is_not_sent_again(shop: Caller) -> None:
    path = await rich(shop)
    caller = Caller(shop.node, headers={})
    tag = (await caller.get(path)).headers["etag"]
    caller.headers = {"If-None-Match": f'"other", W/{tag}'}
    answer = await caller.get(path)
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    await shop.patch(path, {"priority": 1})
    assert (await caller.get(path)).status_code == 200


async def test_moved_estimate_keeps_if_match_valid(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, "assigned")
        tag = (await shop.get(path)).headers["etag"]
        job = await shop.node.node.store.jobs.get(path.rpartition("/")[2])
        key = shop.node.node.store.runner.keys[job.market].job(job.id)
        link = shop.node.node.store.runner.link
        await link.call("HSET", key, "eta_dropoff_ms", (job.eta_dropoff_ms or 0) + 60_000)

        async def moved() -> bool:
            return bool((await shop.get(path)).headers["etag"] != tag)

        await eventually(moved)
        answer = await shop.patch(path, {"dropoff": {"note": "x"}}, headers={"If-Match": tag})
        assert answer.status_code == 200
