"""The driver app in Chromium, on bad networks and bad days: nothing lost, nothing doubled."""

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.async_api import Geolocation, expect

from tests.e2e.app import App
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import SIZES, check_looks, settled
from tests.pages.conftest import OpenPage
from tests.pages.driver_app import (
    NETWORK_FAULTS,
    PIN,
    accept_order,
    at_door,
    field_of,
    go_online,
    new_driver,
    one_delivery,
    online_driver,
    order_with_proofs,
    phone,
    photograph,
    press,
    reaches,
    shop_returns,
    sign,
)

NewApp = Callable[..., App]


async def test_order_is_delivered_with_a_thumb(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    name, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        page = it.page
        await page.get_by_role("button", name="Go online").wait_for()
        await check_looks(page)
        await go_online(page)
        await check_looks(page, "driver-waiting")
        stores = [
            {"store": store, "parcels": count, "pickup_code": "7731"}
            for store, count in zip(place.stores, (1, 3), strict=True)
        ]
        body = place.order(pickup={"mall": place.mall, "stores": stores}, parcels={"count": 4})
        job = await orders.submit(body)
        await page.get_by_role("button", name="Accept").wait_for()
        await page.get_by_role("timer").wait_for()
        await check_looks(page)
        await press(page, "Accept")
        await page.get_by_role("button", name="I am at the mall").wait_for()
        await check_looks(page, "driver-way")
        await press(page, "I am at the mall")
        await page.get_by_role("button", name=re.compile("^Collected")).first.wait_for()
        await check_looks(page)
        await press(page, "Collected")
        await press(page, "Collected")
        await page.get_by_text("Ada Private").wait_for()
        await page.get_by_text("mind the hidden dog").wait_for()
        await check_looks(page)
        await press(page, "I am at the door")
        await press(page, "Delivered")
        await page.get_by_text("Waiting for an offer").wait_for()
    await one_delivery(orders, job)
    assert name


async def test_offline_and_killed_in_the_middle_of_a_run(
    open_page: OpenPage, browser: Any, place: Place, orders: Shop
) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        it.expected += NETWORK_FAULTS
        context = it.page.context
        await go_online(it.page)
        job = await accept_order(it.page, orders, place.order())
        await it.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        await context.set_offline(True)
        await press(it.page, "Collected")
        # Shown as done although nobody has heard of it, and counted.
        await it.page.get_by_text("Ada Private").wait_for()
        await it.page.get_by_text("report will be sent").wait_for()
        await it.page.close()
        # The tab was killed; without a line the app opens from what the phone keeps.
        page = await context.new_page()
        await page.goto(it.origin + "driver")
        await page.get_by_text("report will be sent").wait_for()
        await context.set_offline(False)
        await reaches(orders, job, "picked_up")
        await page.get_by_text("Ada Private").wait_for()
        await press(page, "Delivered")
        await one_delivery(orders, job)


async def test_clock_set_back_and_forth_changes_nothing(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        await page.evaluate("const now = Date.now; Date.now = () => now() + 3 * 3_600_000")
        job = await accept_order(page, orders, place.order())
        await page.evaluate("Date.now = () => 1_000_000_000_000")
        await press(page, "Collected")
        await page.get_by_text("Ada Private").wait_for()
        await press(page, "Delivered")
        await one_delivery(orders, job)
        timeline = (await orders.job(job["id"]))["timeline"]
        assert all(entry["occurred_at"][:4] >= "2026" for entry in timeline)


async def test_second_phone_takes_over_and_the_first_shows_it(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as first:
        first.expected += NETWORK_FAULTS
        await go_online(first.page)
        job = await accept_order(first.page, orders, place.order())
        async with open_page("/driver", **phone(place, token)) as second:
            await second.page.get_by_role("button", name=re.compile("^Collected")).wait_for()
            await first.page.get_by_text("another phone").wait_for()
            await press(second.page, "Collected")
            await second.page.get_by_text("Ada Private").wait_for()
            await press(second.page, "Delivered")
            await one_delivery(orders, job)


async def test_expired_token_asks_for_another_one(open_page: OpenPage, place: Place) -> None:
    # Long enough to go online before it expires, even if the machine stands still for seconds.
    _, token = new_driver(exp=time.time() + 30)
    async with open_page("/driver", **phone(place, token)) as it:
        it.expected += NETWORK_FAULTS
        await go_online(it.page)
        await it.page.get_by_label("Token").wait_for()
        await it.page.get_by_text("token has expired").first.wait_for()


async def test_driver_reports_a_short_shop_and_returns_the_rest(
    open_page: OpenPage, place: Place, orders: Shop, operator: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        stores = [{"store": place.stores[0], "parcels": 3}]
        body = place.order(pickup={"mall": place.mall, "stores": stores}, parcels={"count": 3})
        job = await accept_order(page, orders, body)
        await press(page, "Report a problem")
        await check_looks(page, "driver-trouble")
        await press(page, "Fewer than 3")
        await page.get_by_role("button", name="2", exact=True).click()
        await page.get_by_text("Ada Private").wait_for()
        shop = (await orders.job(job["id"]))["pickup"]["stores"][0]
        assert (shop["state"], shop["collected_parcels"]) == ("short", 2)
        await press(page, "Cannot deliver")
        await press(page, "The customer refuses it")
        await page.get_by_text("Bring back").first.wait_for()
        await check_looks(page, "driver-return")
        code = (await shop_returns(operator.http, place))[job["id"]]
        to = (await orders.job(job["id"]))["return_to"]
        where = Geolocation(latitude=to["lat"], longitude=to["lon"], accuracy=8)
        await page.context.set_geolocation(where)
        await press(page, "Parcels returned")
        await page.get_by_role("textbox", name="Code").fill(code)
        await press(page, "Hand over")
        await page.get_by_text("Waiting for an offer").wait_for()
        await reaches(orders, job, "returned")


async def test_photo_and_pin_are_asked_for(open_page: OpenPage, place: Place, orders: Shop) -> None:
    async with online_driver(open_page, place) as page:
        job = await accept_order(page, orders, order_with_proofs(place))
        await press(page, "Collected")
        await press(page, "Delivered")
        done = page.get_by_role("dialog").get_by_role("button", name="Delivered")
        await expect(done).to_be_disabled()
        for width, height in (*SIZES.values(), (390, 640)):
            await page.set_viewport_size({"width": width, "height": height})
            for name in ("Delivered", "Back"):
                last = page.get_by_role("dialog").get_by_role("button", name=name)
                await expect(last).to_be_in_viewport(ratio=1)
        await page.set_viewport_size({"width": 390, "height": 844})
        await settled(page)
        before = await field_of(page).bounding_box()
        await photograph(page, b"no picture", "This file is not a photo.")
        await page.get_by_label("PIN").fill("1234")
        await photograph(page, await page.screenshot())
        await sign(page)
        # Neither an error nor a photo moves what the finger is on.
        await settled(page)
        assert await field_of(page).bounding_box() == before
        await check_looks(page, "driver-proof")
        await done.click()
        await page.get_by_text("The code is wrong. 2 tries left.").wait_for()
        await press(page, "Delivered")
        await page.get_by_label("PIN").fill(PIN)
        await photograph(page, await page.screenshot())
        await sign(page)
        await done.click()
        await reaches(orders, job, "delivered")
    proofs = {proof["kind"] for proof in (await orders.job(job["id"]))["proofs"]}
    assert proofs >= {"photo", "signature", "code"}


async def test_breakdown_is_taken_over_by_another_driver(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    async with online_driver(open_page, place) as page:
        job = await at_door(page, orders, place.order())
        second = new_app()
        await second.online(*place.north(300))
        await press(page, "Cannot deliver")
        await press(page, "My vehicle has broken down")
        await press(page, "Yes, I cannot continue")
        offer = await second.expect("offer")
        taken = (await second.accept(offer))[0]
        code = page.locator(".notice .code")
        await code.wait_for()
        await check_looks(page, "driver-transfer")
        proof = {"kind": "code", "value": (await code.inner_text()).strip()}
        await second.must(
            "progress", job=taken["job"], attempt=taken["attempt"], step="picked_up", proof=proof
        )
        await page.get_by_text("The other driver has taken over").wait_for()
        await expect(page.get_by_text("Ada Private")).to_have_count(0)
    assert (await orders.job(job["id"]))["state"] == "picked_up"
