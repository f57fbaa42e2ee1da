"""The customer's page: what it says in each state, and what it never says."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from mallard_engine.gateway.pages.files import page_files
from mallard_engine.gateway.pages.tracking import content_of
from mallard_engine.gateway.timestamps import Moment
from mallard_protocol.codes import Role
from mallard_protocol.lifecycle import TERMINAL, JobState
from mallard_protocol.resources import Eta, TrackedDriver, Tracking
from tests.engine.gateway.conftest import HOME, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, problem

PERSONAL = {**HOME, "name": "Ada", "contact": "+1 555", "address": "1 Main", "note": "dog"}
ZONE = ZoneInfo("America/Phoenix")
DUE = Moment.at_ms(1_795_996_800_000)
MOST_BYTES = 40_000
XSS = '"><img src=x onerror=alert(1)>'


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


async def page_of(node: RunningNode, url: str) -> str:
    answer = await node.http.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers
    return answer.text


@pytest.mark.parametrize("state", [*JobState, "a_state_of_tomorrow"])
def test_every_state_has_a_heading(state: str) -> None:
    html = content_of(Tracking(state, Eta(None, None), None, None), ZONE, 0)
    assert len(re.findall("<h1", html)) == 1
    assert "_" not in text_of(html)
    # Only what can still change is read again.
    assert ("data-ended" in html) == (state in TERMINAL)


def test_expected_time_is_of_the_malls_zone() -> None:
    html = content_of(Tracking("picked_up", Eta(None, DUE), None, 2), ZONE, 0)
    assert f'<time datetime="{DUE.isoformat(timespec="seconds")}">' in html
    assert f"{DUE.astimezone(ZONE):%H:%M}" in text_of(html)
    assert f"{DUE.astimezone(ZONE):%H:%M}" != f"{DUE.astimezone(UTC):%H:%M}"
    assert "2 stops before yours" in html


def test_text_of_strangers_is_escaped() -> None:
    driver = TrackedDriver(XSS, XSS, 33.3, -111.8, None, datetime.now(UTC))
    html = content_of(Tracking(XSS, Eta(None, None), driver, 0), ZONE, 0)
    assert "<img" not in html
    assert "&lt;img" in html


async def test_page_follows_a_delivery_and_tells_nothing_else(node: RunningNode) -> None:
    job = await node.submit(dropoff=PERSONAL)
    url = job["tracking_url"]
    assert "Looking for a driver" in await page_of(node, f"{url}?utm_source=sms&utm_source=x")
    async with open_app(node.ws, node.token("d1", alias="Max")) as driver:
        await driver.go_online(position=NEAR)
        offer = await driver.receive("offer")
        held = (await driver.ask("accept", offer=offer["offer"]))["jobs"][0]
        await driver.progress(held, "picked_up")
        html = await page_of(node, url)
        assert "On its way to you" in html
        assert "Max, car" in html
        assert f"geo:{NEAR['lat']:.5f},{NEAR['lon']:.5f}" in html
        await driver.progress(held, "delivered")
        html = await page_of(node, url)
    assert "Delivered" in html
    assert "geo:" not in html
    for text in ("Ada", "+1 555", "1 Main", "dog", job["id"], "d1"):
        assert text not in html


async def test_position_is_hidden_before_another_stop(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        first = await node.submit()
        offer = await driver.receive("offer")
        held = (await driver.ask("accept", offer=offer["offer"]))["jobs"][0]
        await driver.progress(held, "picked_up")
        second = await node.submit()
        await node.order(f"/v1/jobs/{second['id']}/assign", driver="d1")
        html = await page_of(node, first["tracking_url"])
    assert "1 stop before yours" in text_of(html) or "On its way to you" in html
    assert "geo:" not in html


@pytest.mark.parametrize("token", ["x", "x" * 24, "%2e%2e", "a b", "é" * 24, "<script>"])
async def test_unknown_link_is_a_page_that_says_so(node: RunningNode, token: str) -> None:
    answer = await node.http.get(f"/track/{token}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "This link has expired" in answer.text
    assert "<script>" not in answer.text


async def test_ended_tracking_ends_the_page(node: RunningNode) -> None:
    job = await node.submit()
    assert (await node.http.head(job["tracking_url"])).status_code == 200
    path = f"/v1/jobs/{job['id']}/tracking"
    await node.http.delete(path, headers=node.bearer("shop", Role.ORDERS))
    assert (await node.http.get(job["tracking_url"])).status_code == 404


async def test_links_are_limited_by_address(engine_node: NodeFactory) -> None:
    node = await engine_node(address_rate_per_s=0.001, address_burst=2)
    statuses = [(await node.http.get("/track/x")).status_code for _ in range(3)]
    assert statuses == [404, 404, 429]
    problem(await node.http.post("/track/x"), 429, "rate_limited")


async def test_whole_page_is_below_its_budget(node: RunningNode) -> None:
    html = await page_of(node, (await Caller(node).submit()).json()["tracking_url"])
    names = re.findall(r'"/(assets/[^"]+)"', html)
    assert len(names) == 3
    size = len(html) + sum(len(page_files()[name].content) for name in names)
    assert size < MOST_BYTES
