"""The driver app in Chromium, on bad networks and bad days: nothing lost, nothing doubled."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
from playwright.async_api import FilePayload, Geolocation, Locator, Page, expect

from tests.e2e.app import App
from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.pages.browser import SIZES, check_looks, settled
from tests.pages.conftest import OpenPage
from tests.support import GUARD_S, eventually

NewApp = Callable[..., App]
NETWORK_FAULTS = ["ERR_INTERNET_DISCONNECTED", "WebSocket connection to", "Failed to load resource"]


def new_driver(**claims: Any) -> tuple[str, str]:
    """Return a driver's name and token."""
    name = f"driver-{uuid.uuid4().hex[:12]}"
    return name, make_token(name, "driver", **({"market": "phoenix"} | claims))


def at(place: Place, metres: float) -> dict[str, float]:
    lat, lon = place.north(metres)
    return {"latitude": lat, "longitude": lon, "accuracy": 8}


def phone(place: Place, token: str) -> dict[str, Any]:
    """Return the options of a page: a phone in front of the mall.

    At the gate the engine would detect the arrival, perhaps before a slow test reports it.
    """
    return {
        "size": "phone",
        "token": token,
        "geolocation": at(place, 60),
        "permissions": ["geolocation"],
    }


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=re.compile(f"^{name}")).first.click()


async def go_online(page: Page) -> None:
    await press(page, "Go online")
    await page.get_by_text("Waiting for an offer").wait_for()


async def accept_order(page: Page, orders: Shop, body: Json) -> Json:
    job = await orders.submit(body)
    await press(page, "Accept")
    await press(page, "I am at the mall")
    await page.get_by_role("button", name=re.compile("^Collected")).first.wait_for()
    return job


async def reaches(orders: Shop, job: Json, state: str, timeout_s: float = GUARD_S) -> None:
    async def reached() -> bool:
        return await orders.state(job["id"]) == state

    await eventually(reached, timeout_s)


async def one_delivery(orders: Shop, job: Json, timeout_s: float = GUARD_S) -> None:
    """The order is delivered, and each of its steps was taken once."""
    await reaches(orders, job, "delivered", timeout_s)
    states = [entry["state"] for entry in (await orders.job(job["id"]))["timeline"]]
    assert states.count("picked_up") == states.count("delivered") == states.count("assigned") == 1


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
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        await go_online(it.page)
        await it.page.evaluate("const now = Date.now; Date.now = () => now() + 3 * 3_600_000")
        job = await accept_order(it.page, orders, place.order())
        await it.page.evaluate("Date.now = () => 1_000_000_000_000")
        await press(it.page, "Collected")
        await it.page.get_by_text("Ada Private").wait_for()
        await press(it.page, "Delivered")
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
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        page = it.page
        await go_online(page)
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


async def shop_returns(http: httpx2.AsyncClient, place: Place) -> dict[str, str]:
    """Return the codes of the returns to the first store, as its counter shows them."""
    token = make_token("counter", "store", mall=place.mall, store=place.stores[0])
    answer = await http.get(
        f"/v1/stores/{place.mall}/{place.stores[0]}/returns",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text
    return {item["id"]: item["code"] for item in answer.json()["items"]}


async def test_photo_and_pin_are_asked_for(open_page: OpenPage, place: Place, orders: Shop) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        page = it.page
        await go_online(page)
        body = place.order(proof_required=["pin", "photo", "signature"])
        body["dropoff"]["pin"] = "4711"
        job = await accept_order(page, orders, body)
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
        await page.get_by_label("PIN").fill("4711")
        await photograph(page, await page.screenshot())
        await sign(page)
        await done.click()
        await reaches(orders, job, "delivered")
    proofs = {proof["kind"] for proof in (await orders.job(job["id"]))["proofs"]}
    assert proofs >= {"photo", "signature", "code"}


async def photograph(page: Page, content: bytes, fault: str | None = None) -> None:
    """Give the page a file as the camera would; wait until it is shown, or the fault."""
    taken = FilePayload(name="door.png", mimeType="image/png", buffer=content)
    await page.locator("input[type=file]").set_input_files(taken)
    if fault is not None:
        await page.get_by_role("alert").get_by_text(fault).wait_for()
        return
    photo = page.get_by_role("img", name="The photo")
    await photo.wait_for()
    await photo.evaluate("(it) => it.decode()")


def field_of(page: Page) -> Locator:
    return page.get_by_label("Signature field")


async def sign(page: Page) -> None:
    """Draw a line on the signature field, where it is at this moment."""
    field = field_of(page)
    await field.scroll_into_view_if_needed()
    box = await field.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 20, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] + 120, box["y"] + 60)
    await page.mouse.up()


async def test_breakdown_is_taken_over_by_another_driver(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        page = it.page
        await go_online(page)
        job = await accept_order(page, orders, place.order())
        await press(page, "Collected")
        await page.get_by_text("Ada Private").wait_for()
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
