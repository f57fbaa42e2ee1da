"""Where a job is: for its order service, and by the customer's link."""

import time
from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order, problem
from tests.engine.gateway.test_driver_reports import held_by
from tests.support import eventually

PERSONAL = {**HOME, "name": "Ada", "contact": "+1 555", "address": "1 Main", "note": "dog"}
DAY_MS = 86_400_000


async def tracked(node: RunningNode, job: dict[str, Any]) -> Any:
    """What the customer sees; the same as the order service."""
    by_link = await node.http.get("/v1" + job["tracking_url"])
    own = await Caller(node).get(f"/v1/jobs/{job['id']}/tracking")
    assert by_link.status_code == own.status_code == 200
    assert by_link.json() == own.json()
    assert by_link.headers["cache-control"] == "no-store"
    for text in ("Ada", "+1 555", "1 Main", "dog", job["id"], '"d1"'):
        assert text not in by_link.text
    return by_link.json()


async def test_link_says_nothing_of_its_job(node: RunningNode) -> None:
    first, second = await node.submit(), await node.submit()
    url = first["tracking_url"]
    assert url.startswith("/track/")
    assert len(url) == len("/track/") + 24
    assert first["id"].rpartition(".")[2] not in url
    assert url != second["tracking_url"]
    assert (await node.job(first["id"]))["tracking_url"] == url


async def test_link_starts_with_the_public_url_whatever_the_host(engine_node: NodeFactory) -> None:
    node = await engine_node(public_url="https://api.example/")
    caller = Caller(node, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    job = (await caller.submit()).json()
    assert job["tracking_url"].startswith("https://api.example/track/")
    page = (await caller.get("/v1/jobs")).json()["items"]
    assert page[0]["tracking_url"] == job["tracking_url"]


async def test_waiting_job_has_no_driver(node: RunningNode) -> None:
    job = await node.submit(dropoff=PERSONAL)
    assert await tracked(node, job) == {
        "state": "queued",
        "eta": {"pickup": None, "dropoff": None},
        "driver": None,
        "stops_before": None,
    }


async def test_driver_is_followed_from_assignment_to_the_end(node: RunningNode) -> None:
    job = await node.submit(dropoff=PERSONAL)
    async with open_app(node.ws, node.token("d1", alias="Max")) as driver:
        await driver.go_online(position=NEAR)
        offer = await driver.receive("offer")
        assert (await tracked(node, job))["driver"] is None
        held = (await driver.ask("accept", offer=offer["offer"]))["jobs"][0]
        for step in ("at_mall", "picked_up"):
            await driver.progress(held, step)
            seen = await tracked(node, job)
            assert (seen["state"], seen["stops_before"]) == (step, 0)
            place = seen["driver"]
            assert (place["alias"], place["vehicle"]) == ("Max", "car")
            assert (place["lat"], place["lon"]) == pytest.approx((NEAR["lat"], NEAR["lon"]))
            assert place["at"]
        assert seen["driver"]["heading_deg"] is None
        place = [time.time_ns() // 1_000_000, NEAR["lat"], NEAR["lon"], 5, 90.5, 3]
        await driver.send("location", fixes=[place])

        async def has_heading() -> bool:
            found = (await node.http.get("/v1" + job["tracking_url"])).json()
            return bool(found["driver"]["heading_deg"] == 90.5)

        await eventually(has_heading)
        await driver.progress(held, "delivered")
        seen = await tracked(node, job)
        assert (seen["state"], seen["driver"], seen["stops_before"]) == ("delivered", None, None)


async def test_place_is_hidden_before_another_jobs_stop(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        first = await held_by(node, driver)
        await driver.progress(first, "picked_up")
        second = await node.submit()
        await node.order(f"/v1/jobs/{second['id']}/assign", driver="d1")
        behind = await tracked(node, await node.job(first["job"]))
        assert behind["stops_before"] == 1
        assert behind["driver"]["alias"]
        hidden = {name: behind["driver"][name] for name in ("lat", "lon", "heading_deg", "at")}
        assert set(hidden.values()) == {None}
        assert (await tracked(node, second))["driver"]["lat"] is not None


@pytest.mark.parametrize("token", ["x", "x" * 24, "%2e%2e", "a b", "job_phoenix.x", "é" * 24])
async def test_unknown_token_is_not_found(node: RunningNode, token: str) -> None:
    await node.submit()
    problem(await node.http.get(f"/v1/track/{token}"), 404, "not_found")


async def test_other_parameters_of_a_link_do_not_matter(node: RunningNode) -> None:
    url = "/v1" + (await node.submit())["tracking_url"]
    answer = await node.http.get(f"{url}?utm_source=sms&utm_source=x&wait_s=9")
    assert answer.status_code == 200
    assert (await node.http.head(url)).status_code == 200
    problem(await node.http.post(url), 405, "method_not_allowed")


async def test_tracking_is_ended_for_good(node: RunningNode) -> None:
    job = await node.submit()
    path, headers = f"/v1/jobs/{job['id']}/tracking", node.bearer("shop", Role.ORDERS)
    for _ in range(2):
        ended = await node.http.delete(path, headers=headers)
        assert (ended.status_code, ended.content) == (204, b"")
    problem(await node.http.get("/v1" + job["tracking_url"]), 404, "not_found")
    assert (await node.job(job["id"]))["tracking_url"] is None
    assert (await Caller(node).get(path)).status_code == 200


async def test_tracking_of_another_service_is_not_found(node: RunningNode) -> None:
    job = await node.submit()
    path = f"/v1/jobs/{job['id']}/tracking"
    for sub, role, status in (("other", Role.ORDERS, 404), ("d1", Role.DRIVER, 403)):
        headers = node.bearer(sub, role)
        assert (await node.http.get(path, headers=headers)).status_code == status
        assert (await node.http.delete(path, headers=headers)).status_code == status
    assert (await node.http.get(path)).status_code == 401
    problem(await Caller(node).get(path, wait_s=1), 400, "bad_request")
    assert (await Caller(node, "ops", Role.OPERATOR).get(path)).status_code == 200
    assert (await node.http.get("/v1" + job["tracking_url"])).status_code == 200


async def test_link_ends_a_day_after_its_job(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await node.submit()
    await node.order(f"/v1/jobs/{job['id']}/cancel", reason="customer")
    store = node.node.store
    ended_ms = (await store.jobs.get(job["id"])).ended_ms
    assert ended_ms is not None
    for after_ms, status in ((DAY_MS - 1, 200), (DAY_MS, 404)):
        monkeypatch.setattr(store, "now_ms", lambda at=ended_ms + after_ms: at)
        assert (await node.http.get("/v1" + job["tracking_url"])).status_code == status
    monkeypatch.undo()


async def test_links_are_limited_by_address(engine_node: NodeFactory) -> None:
    node = await engine_node(address_rate_per_s=0.001, address_burst=3)
    url = "/v1" + (await Caller(node).submit(order())).json()["tracking_url"]
    answers = [await node.http.get(url) for _ in range(4)]
    assert [it.status_code for it in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"]


async def test_token_is_in_no_event(node: RunningNode) -> None:
    token = (await node.submit())["tracking_url"].rpartition("/")[2]
    runner = node.node.store.runner
    events = await runner.link.call("XRANGE", runner.keys[PHOENIX].key("events"), "-", "+")
    assert token not in str(events)
