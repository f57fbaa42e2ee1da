"""The driver app where all goes wrong in the middle of a run: nothing is lost, nothing doubled.

The ends are those of the Python client in tests/clients: a step counts from when it was taken.
"""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Geolocation, Page, expect

from tests.clients.fault_proxy import FaultProxy
from tests.e2e.app import App
from tests.e2e.conftest import Node, make_token, start_node
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.pages.browser import Watched, check_looks, opened
from tests.pages.conftest import SETTINGS, OpenPage
from tests.pages.driver_app import (
    NETWORK_FAULTS,
    accept_order,
    at_door,
    go_online,
    new_driver,
    one_delivery,
    online_driver,
    phone,
    photograph,
    press,
    reaches,
    shop_returns,
)
from tests.support import eventually

NewApp = Callable[..., App]
SLOW_MS = 40_000.0
SLOW_S = SLOW_MS / 1000
# How far apart the clocks of the page and of the engine may be taken to be.
_CLOCKS = timedelta(seconds=3)


async def killed_and_opened_again(page: Page, origin: str) -> Page:
    """Kill the tab; open the app anew, as the phone keeps it."""
    context = page.context
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.close()
    page = await context.new_page()
    await page.goto(origin + "driver")
    return page


@dataclass
class Line:
    """A phone's line, which both ends see go down."""

    page: Page
    proxy: FaultProxy

    async def down(self) -> None:
        self.proxy.set("refuse")
        self.proxy.cut()
        await self.page.context.set_offline(True)

    async def up(self) -> None:
        self.proxy.set("open")
        await self.page.context.set_offline(False)


@asynccontextmanager
async def behind_a_line(
    browser: Any, port: int, place: Place, token: str
) -> AsyncIterator[tuple[Watched, Line]]:
    """Open the driver app of the engine at a port through a line that can be cut."""
    async with FaultProxy.to(port) as proxy:
        url = proxy.url.replace("ws://", "http://") + "/driver"
        async with opened(browser, url, **phone(place, token)) as it:
            it.expected += NETWORK_FAULTS
            yield it, Line(it.page, proxy)


@pytest.fixture(scope="module")
def strict_node(nodes_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """An engine with the shortest limits, but for a person's or a slow browser's answer."""
    folder = tmp_path_factory.mktemp("strict")
    node = start_node(folder, nodes_redis, MALLARD_OFFER_TIMEOUT_MS="30000")
    yield node
    node.stop()


async def test_ten_minutes_without_a_line_in_proportion(
    browser: Any, strict_node: Node, place: Place, orders: Shop
) -> None:
    """A holder's silence is bounded by 2 to 15 minutes: here by as many seconds, or fewer."""
    await _away(browser, strict_node, place, orders, minute_s=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_real_minutes_without_a_line(
    browser: Any, nodes_redis: str, tmp_path: Path, place: Place, orders: Shop
) -> None:
    limits = dict.fromkeys(("RESUME_TTL_S", "SILENCE_STRETCH", "AT_MALL_SILENCE_S"), "")
    limits |= {"OFFER_TIMEOUT_MS": "30000"}
    settings = {f"MALLARD_{name}": value for name, value in limits.items()}
    node = start_node(tmp_path, nodes_redis, **settings)
    try:
        await _away(browser, node, place, orders, minute_s=60)
    finally:
        node.stop()


async def _away(browser: Any, node: Node, place: Place, orders: Shop, *, minute_s: float) -> None:
    _, token = new_driver()
    async with behind_a_line(browser, node.port, place, token) as (it, line):
        job, tapped = await _ten_minutes(it, line, place, orders, minute_s)
    timeline = (await orders.job(job["id"]))["timeline"]
    delivered = next(it for it in timeline if it["state"] == "delivered")
    occurred = datetime.fromisoformat(delivered["occurred_at"])
    before, after = tapped
    assert before - _CLOCKS < occurred < after + _CLOCKS


async def _ten_minutes(
    it: Watched, line: Line, place: Place, orders: Shop, minute_s: float
) -> tuple[Json, tuple[datetime, datetime]]:
    """Two shops, a killed tab, a delivery with a photo.

    Returns:
        The job; before and after "Delivered" was tapped.
    """
    page = it.page
    await go_online(page)
    stores = [{"store": store, "parcels": 1} for store in place.stores]
    pickup = {"mall": place.mall, "stores": stores}
    body = place.order(pickup=pickup, parcels={"count": 2}, proof_required=["photo"])
    job = await accept_order(page, orders, body)
    await press(page, "Collected")
    await reaches(orders, job, "picked_up")
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    began = time.monotonic()

    async def minute(number: int) -> None:
        await asyncio.sleep(max(0.0, began + number * minute_s - time.monotonic()))

    await line.down()
    await minute(1)
    await press(page, "Collected")
    await minute(3)
    await press(page, "I am at the door")
    await minute(5)
    page = await killed_and_opened_again(page, it.origin)
    await page.get_by_text("reports will be sent").wait_for(timeout=SLOW_MS)
    await minute(7)
    await press(page, "Delivered")
    await photograph(page, await page.screenshot())
    before = datetime.now(UTC)
    await page.get_by_role("dialog").get_by_role("button", name="Delivered").click()
    tapped = (before, datetime.now(UTC))
    await page.get_by_text("Nothing is left to do").wait_for()
    await minute(10)
    assert await orders.state(job["id"]) == "picked_up"
    await line.up()
    await reaches(orders, job, "delivered", SLOW_S)
    await one_delivery(orders, job)
    shops = (await orders.job(job["id"]))["pickup"]["stores"]
    assert [(it["state"], it["collected_parcels"]) for it in shops] == [("collected", 1)] * 2
    proofs = [it["kind"] for it in (await orders.job(job["id"]))["proofs"]]
    assert proofs == ["photo"]
    await page.get_by_text("will be sent when you are back").wait_for(state="detached")
    return job, tapped


async def test_parcels_collected_offline_win_over_the_next_driver(
    browser: Any, strict_node: Node, place: Place, orders: Shop, new_app: NewApp
) -> None:
    _, token = new_driver()
    async with behind_a_line(browser, strict_node.port, place, token) as (it, line):
        page = it.page
        await go_online(page)
        job = await accept_order(page, orders, place.order())
        await line.down()
        await press(page, "Collected")
        # The engine hears nothing: the order goes to somebody else.
        second = new_app()
        await second.online(*place.north(50))
        held = (await second.accept(await second.expect("offer", SLOW_S)))[0]
        assert held["job"] == job["id"]
        await line.up()
        await second.expect("job", SLOW_S, job=job["id"], reason="collected")
        await reaches(orders, job, "picked_up", SLOW_S)
        await press(page, "Delivered")
        await reaches(orders, job, "delivered", SLOW_S)
        states = [entry["state"] for entry in (await orders.job(job["id"]))["timeline"]]
        assert (states.count("picked_up"), states.count("delivered")) == (1, 1)


async def test_token_that_expires_without_a_line_loses_nothing(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    # Long enough to go offline with an order before it expires, even if the machine stands still.
    until = time.time() + 45
    name, token = new_driver(exp=until)
    async with open_page("/driver", **phone(place, token)) as it:
        it.expected += [*NETWORK_FAULTS, "401"]
        page = it.page
        await go_online(page)
        job = await accept_order(page, orders, place.order())
        await page.context.set_offline(True)
        await press(page, "Collected")
        await page.get_by_text("report will be sent").wait_for()
        # Whether it is the engine or the app that notices first.
        await asyncio.sleep(max(0.0, until + 1 - time.time()))
        await page.context.set_offline(False)
        field = page.get_by_label("Token")
        await field.wait_for(timeout=SLOW_MS)
        assert await orders.state(job["id"]) in {"at_mall", "queued", "offered"}
        await field.fill(make_token(name, "driver", market="phoenix"))
        await page.keyboard.press("Enter")
        await reaches(orders, job, "picked_up", SLOW_S)
        await press(page, "Delivered")
        await reaches(orders, job, "delivered", SLOW_S)


async def test_drain_in_the_middle_of_a_run_is_not_noticed(
    browser: Any, nodes_redis: str, tmp_path: Path, place: Place, orders: Shop
) -> None:
    node = start_node(tmp_path, nodes_redis, **SETTINGS)
    other = start_node(tmp_path, nodes_redis, **SETTINGS)
    _, token = new_driver()
    try:
        async with behind_a_line(browser, node.port, place, token) as (it, line):
            page = it.page
            await go_online(page)
            job = await accept_order(page, orders, place.order())
            line.proxy.leads_to(other.port)
            node.process.send_signal(signal.SIGTERM)
            await press(page, "Collected")
            await page.get_by_text("Ada Private").wait_for()
            await reaches(orders, job, "picked_up", SLOW_S)
            await asyncio.to_thread(node.process.wait)
            await press(page, "Delivered")
            await one_delivery(orders, job, SLOW_S)
    finally:
        node.stop()
        other.stop()


async def test_answer_to_an_offer_outlives_a_killed_tab(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        it.expected += NETWORK_FAULTS
        await go_online(it.page)
        job = await orders.submit(place.order())
        await it.page.get_by_role("button", name="Accept").wait_for()
        await it.page.context.set_offline(True)
        await press(it.page, "Accept")
        await it.page.get_by_text("Your answer will be sent").wait_for()
        page = await killed_and_opened_again(it.page, it.origin)
        await page.get_by_text("Accept the offer").wait_for(state="attached")
        await page.context.set_offline(False)
        await reaches(orders, job, "assigned", SLOW_S)
        await page.get_by_role("button", name="I am at the mall").wait_for(timeout=SLOW_MS)
        states = [entry["state"] for entry in (await orders.job(job["id"]))["timeline"]]
        assert (states.count("offered"), states.count("assigned")) == (1, 1)


async def test_problem_and_wish_outlive_a_killed_tab(
    open_page: OpenPage, place: Place, orders: Shop, operator: Shop
) -> None:
    name, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        it.expected += NETWORK_FAULTS
        await go_online(it.page)
        job = await accept_order(it.page, orders, place.order())
        await press(it.page, "Collected")
        await reaches(orders, job, "picked_up")
        await it.page.context.set_offline(True)
        await press(it.page, "I am at the door")
        await press(it.page, "Cannot deliver")
        await press(it.page, "No one answers")
        await press(it.page, "Menu")
        await press(it.page, "Pause")
        page = await killed_and_opened_again(it.page, it.origin)
        await page.get_by_text("3 reports will be sent").wait_for(timeout=SLOW_MS)
        await page.get_by_text("3 reports will be sent").click()
        await check_looks(page, "driver-no-line")
        await page.context.set_offline(False)

        async def has_a_problem() -> bool:
            return bool((await orders.job(job["id"])).get("problems"))

        await eventually(has_a_problem, SLOW_S)
        await page.get_by_text("will be sent when you are back").wait_for(
            state="detached", timeout=SLOW_MS
        )
        (problem,) = (await orders.job(job["id"]))["problems"]
        assert (problem["kind"], problem["state"]) == ("customer_unreachable", "open")
        await press(page, "Delivered")
        await one_delivery(orders, job)

        async def is_paused() -> bool:
            answer = await operator.http.get(f"/v1/markets/phoenix/drivers/{name}")
            return bool(answer.json()["state"] == "paused")

        await eventually(is_paused, SLOW_S)


async def test_return_refused_away_from_the_place_is_reported_again(
    open_page: OpenPage, place: Place, orders: Shop, operator: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        job = await at_door(page, orders, place.order())
        far = place.north(2_000)
        await page.context.set_geolocation(
            Geolocation(latitude=far[0], longitude=far[1], accuracy=8)
        )
        await press(page, "Cannot deliver")
        await press(page, "The customer refuses it")
        await press(page, "Parcels returned")
        code = (await shop_returns(operator.http, place))[job["id"]]
        await page.get_by_role("textbox", name="Code").fill(code)
        await press(page, "Hand over")
        await page.get_by_text(re.compile("the report is repeated automatically")).first.wait_for(
            timeout=SLOW_MS
        )
        await check_looks(page, "driver-return-doubted")
        await expect(page.get_by_role("button", name="Parcels returned")).to_be_visible()
        assert await orders.state(job["id"]) == "returning"
        to = (await orders.job(job["id"]))["return_to"]
        there = Geolocation(latitude=to["lat"], longitude=to["lon"], accuracy=8)
        await page.context.set_geolocation(there)
        await reaches(orders, job, "returned", SLOW_S)
        await page.get_by_text("Waiting for an offer").wait_for(timeout=SLOW_MS)
