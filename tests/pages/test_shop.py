"""The counter in a browser: from an order's first word to a return, by touch and by keyboard."""

import re
import uuid
from collections.abc import Callable
from typing import Any

from playwright.async_api import Page, expect

from tests.e2e.app import App
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.pages.browser import check_accessible, check_fits, check_looks
from tests.pages.conftest import OpenPage
from tests.pages.strangers import XSS
from tests.support import eventually

NewApp = Callable[..., App]


def counter_token(place: Place) -> str:
    return make_token("till", "store", mall=place.mall, store=place.stores[0])


def order_of(place: Place, parcels: int = 1, **changes: Any) -> Json:
    body = place.order(**changes)
    body["pickup"]["stores"][0]["parcels"] = parcels
    body["parcels"]["count"] = parcels
    return body


def card(page: Page, name: str) -> Any:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


async def said(orders: Shop, job: str, state: str) -> Json:
    """Wait for what the order service sees of the shop; return the job."""

    async def reached() -> Json | None:
        seen = await orders.job(job)
        return seen if seen["pickup"]["stores"][0]["state"] == state else None

    found: Json | None = await eventually(reached)
    assert found is not None
    return found


async def accepted(new_app: NewApp, place: Place, **vehicle: Any) -> tuple[App, Json]:
    """Bring a driver who takes the waiting job; return the app and the full job."""
    app = new_app(alias="Blue Heron", name=None)
    await app.online(*place.north(300), **vehicle)
    offer = await app.expect("offer")
    reply = await app.must("accept", offer=offer["offer"])
    job: Json = reply["jobs"][0]
    return app, job


async def test_order_is_ready_and_handed_over_by_a_scanned_code(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    job = await orders.submit(order_of(place, 2))
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        own = card(it.page, job["external_id"])
        await own.get_by_role("button", name="Ready", exact=True).click()
        await said(orders, job["id"], "ready")
        app, held = await accepted(new_app, place)
        await app.must("progress", job=held["job"], attempt=held["attempt"], step="at_mall")
        await it.page.get_by_role("heading", name="Here now").wait_for()
        await check_looks(it.page, "shop-here")
        # A barcode wedge: keys and Enter, with the focus anywhere.
        await it.page.locator("h1").click()
        await it.page.keyboard.type(held["handover_code"], delay=5)
        await it.page.keyboard.press("Enter")
        await it.page.get_by_role("dialog").get_by_role("button", name=job["external_id"]).click()
        await said(orders, job["id"], "collected")
        await it.page.get_by_role("heading", name="Collected today").wait_for()
        assert (await app.expect("job", reason="handed_over"))["job"] == job["id"]


async def scan(page: Page, code: str) -> None:
    await page.keyboard.type(code)
    await page.keyboard.press("Enter")


async def test_code_scanned_twice_acts_on_no_order_by_chance(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    jobs = [await orders.submit(order_of(place)) for _ in range(2)]
    held = [(await accepted(new_app, place))[1] for _ in jobs]
    codes = {job["job"]: job["handover_code"] for job in held}
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        said_of: list[str] = []
        it.page.on("request", lambda one: said_of.append(one.url) if one.method == "POST" else None)
        for job in jobs:
            own = card(it.page, job["external_id"])
            await own.get_by_role("button", name="Hand over").wait_for()
        await scan(it.page, codes[jobs[1]["id"]])
        dialog = it.page.get_by_role("dialog", name="for which order?")
        await dialog.wait_for()
        await scan(it.page, codes[jobs[1]["id"]])
        # Also on a button that has the focus.
        await dialog.get_by_role("button").first.focus()
        await scan(it.page, codes[jobs[1]["id"]])
        await check_looks(it.page)
        assert said_of == []
        # The order's own number answers the question.
        await scan(it.page, jobs[1]["external_id"])
        await said(orders, jobs[1]["id"], "collected")
        await dialog.wait_for(state="detached")
    assert (await orders.job(jobs[0]["id"]))["pickup"]["stores"][0]["state"] == "waiting"


async def test_scan_presses_no_button_of_a_dialog(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    job = await orders.submit(order_of(place))
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        await card(it.page, job["external_id"]).get_by_role("button", name="Ready later").click()
        dialog = it.page.get_by_role("dialog")
        await expect(dialog.get_by_role("button", name="10 min")).to_be_focused()
        await scan(it.page, "A7K2M")
        await expect(dialog).to_be_visible()
        await it.page.keyboard.press("Enter")
        await dialog.wait_for(state="detached")


async def test_wrong_code_is_reported_and_the_right_one_works(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    job = await orders.submit(order_of(place))
    _, held = await accepted(new_app, place)
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        it.expected.append("409")
        # From the keyboard alone: the order's number opens its dialog.
        await card(it.page, job["external_id"]).wait_for()
        await it.page.keyboard.type(job["external_id"])
        await it.page.keyboard.press("Enter")
        field = it.page.get_by_role("dialog").get_by_label("Driver's code")
        await field.wait_for()
        assert await field.evaluate("(it) => it === document.activeElement")
        await it.page.keyboard.type("WRONG1")
        await it.page.keyboard.press("Enter")
        await it.page.get_by_role("alert").get_by_text("not the driver's code").wait_for()
        await check_looks(it.page, "shop-wrong-code")
        await it.page.keyboard.type(held["handover_code"])
        await it.page.keyboard.press("Enter")
        await field.wait_for(state="detached")
        await said(orders, job["id"], "collected")


async def test_counter_reports_short_missing_and_a_later_time(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    short, missing, later = [await orders.submit(order_of(place, 3)) for _ in range(3)]
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        page = it.page
        await card(page, short["external_id"]).get_by_role("button", name="Short").click()
        await page.get_by_role("button", name="One fewer").click()
        await check_looks(page)
        await page.get_by_role("button", name="Only 1 there").click()
        await said(orders, short["id"], "short")
        await card(page, missing["external_id"]).get_by_role("button", name="Missing").click()
        await page.get_by_role("dialog").get_by_role("button", name="Missing").click()
        held = await said(orders, missing["id"], "missing")
        assert held["state"] == "scheduled"
        await card(page, later["external_id"]).get_by_role("button", name="Ready later").click()
        await page.get_by_role("button", name="20 min").click()

        async def is_later() -> bool:
            store = (await orders.job(later["id"]))["pickup"]["stores"][0]
            return bool(store["ready_at"] > later["created_at"])

        await eventually(is_later)


async def test_reports_survive_a_dropped_line_and_a_reload(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    job = await orders.submit(order_of(place))
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        it.expected += ["ERR_INTERNET_DISCONNECTED", "Failed to load resource"]
        own = card(it.page, job["external_id"])
        await own.wait_for()
        await it.page.context.set_offline(True)
        await own.get_by_role("button", name="Ready", exact=True).click()
        await it.page.get_by_text("No connection").wait_for()
        await own.get_by_text("Not sent yet").wait_for()
        await it.page.get_by_text("1 report will be sent").wait_for()
        await check_looks(it.page, "shop-offline")
        assert (await orders.job(job["id"]))["pickup"]["stores"][0]["state"] == "waiting"
        await it.page.context.set_offline(False)
        await said(orders, job["id"], "ready")
        await own.get_by_text("Not sent yet").wait_for(state="detached")
        await it.page.get_by_text("No connection").wait_for(state="detached")


async def test_shop_closes_for_an_hour_and_opens_again(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    job = await orders.submit(order_of(place))
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        await it.page.get_by_role("button", name="Close for an hour").click()
        await said(orders, job["id"], "closed")
        await it.page.get_by_text("Closed until").wait_for()
        await it.page.get_by_role("button", name="Open again").click()
        await said(orders, job["id"], "waiting")


async def test_return_is_received(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    job = await orders.submit(order_of(place))
    app, held = await accepted(new_app, place)
    step = {"job": held["job"], "attempt": held["attempt"]}
    await app.must("progress", **step, step="picked_up")
    cancelled = await orders.http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "customer"})
    assert cancelled.status_code == 202, cancelled.text
    async with open_page("/shop", size="tablet", token=counter_token(place)) as it:
        await it.page.locator(".shop-returns").get_by_text(job["external_id"]).wait_for()
        await it.page.get_by_text("Code for the driver").wait_for()
        await check_looks(it.page, "shop-return")
        await it.page.get_by_role("button", name="Received").click()

        async def is_returned() -> bool:
            return bool((await orders.job(job["id"]))["state"] == "returned")

        await eventually(is_returned)


async def test_empty_counter_says_so(open_page: OpenPage) -> None:
    # No other test has orders there.
    token = make_token("till", "store", mall="scottsdale-fashion-square", store="gucci")
    async with open_page("/shop", size="tablet", token=token) as it:
        await it.page.get_by_text("Nothing to hand over").wait_for()
        await check_looks(it.page, "shop-empty")


async def test_text_of_strangers_stays_text(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    for text in XSS:
        body = order_of(place)
        # What an order may name freely: all of it, though a counter is shown only the code.
        body["pickup"]["stores"][0]["pickup_code"] = text[:64]
        body["dropoff"] |= {"name": text, "note": text, "address": text, "contact": text[:64]}
        body["metadata"] = {"text": text}
        await orders.submit(body)
    async with open_page("/shop", size="phone", token=counter_token(place)) as it:
        await it.page.get_by_text(XSS[0][:64]).first.wait_for()
        assert await it.page.evaluate("window.ran") is None
        assert await it.page.locator("main img, main iframe, main script").count() == 0
        await check_accessible(it.page)
        await check_fits(it.page)
        html = await it.page.content()
        assert "1 Secret Street" not in html
        for text in XSS:
            assert f"note: {text}" not in html


async def test_revoked_counter_is_signed_out_with_the_reason(
    open_page: OpenPage, operator: Shop, node: Node, place: Place
) -> None:
    name = f"till-{uuid.uuid4().hex[:8]}"
    token = make_token(name, "store", mall=place.mall, store=place.stores[0])
    async with open_page("/shop", size="tablet", token=token) as it:
        it.expected.append("401")
        await it.page.get_by_label(re.compile("Scan or type")).wait_for()
        revoked = await operator.http.post("/v1/tokens/revoke", json={"sub": name, "role": "store"})
        assert revoked.is_success, revoked.text
        await it.page.get_by_text("You were signed out").wait_for()
        assert await it.page.evaluate("sessionStorage.getItem('mallard.token')") is None
