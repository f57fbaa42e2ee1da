"""An order's whole life through pages alone: console, counter, driver app, customer's page."""

import re
import uuid
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Page

from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.pages.browser import SIZES, picture
from tests.pages.conftest import OpenPage
from tests.support import eventually


async def submitted(operator: Shop, name: str) -> Json:
    """Wait for the job of an order's number; return it."""

    async def found() -> Json | None:
        answer = await operator.http.get("/v1/jobs", params={"external_id": name})
        items: list[Json] = answer.json()["items"]
        return items[0] if items else None

    job: Json | None = await eventually(found)
    assert job is not None
    return job


async def looks_again(customer: Page, heading: str) -> None:
    """The customer turns to the page again and again, which reads it anew, until it says so."""
    said = customer.get_by_role("heading", level=1).get_by_text(heading)

    async def is_said() -> bool:
        await customer.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        return await said.count() > 0

    await eventually(is_said)


@pytest.mark.parametrize("size", SIZES)
async def test_order_lives_its_whole_life_through_pages(
    open_page: OpenPage, operator: Shop, place: Place, size: str
) -> None:
    name = f"ORD-{uuid.uuid4().hex[:10]}"
    lat, lon = place.north(40)
    async with AsyncExitStack() as stack:
        driver = await stack.enter_async_context(
            open_page(
                "/driver",
                size=size,
                token=make_token(f"driver-{name}", "driver", market="phoenix", alias="Blue Heron"),
                geolocation={"latitude": lat, "longitude": lon, "accuracy": 8},
                permissions=["geolocation"],
            )
        )
        await driver.page.get_by_role("button", name="Go online").click()
        await driver.page.get_by_text("Waiting for an offer").wait_for()

        console = await stack.enter_async_context(
            open_page("/console#/phoenix/new", size=size, token=make_token("ops", "operator"))
        )
        form = console.page
        await form.get_by_label("Mall").select_option(place.mall)
        await form.get_by_label("Shop").select_option(place.stores[0])
        home = place.north(1_500)
        for label, text in (
            ("Order number", name),
            ("Customer", "Ada Private"),
            ("Address", "1 Secret Street"),
            ("Latitude", f"{home[0]:.5f}"),
            ("Longitude", f"{home[1]:.5f}"),
        ):
            await form.get_by_label(label).fill(text)
        await form.get_by_role("button", name="Submit the order").click()
        job = await submitted(operator, name)

        customer = await stack.enter_async_context(open_page(job["tracking_url"], size=size))
        shop = await stack.enter_async_context(
            open_page(
                "/shop",
                size=size,
                token=make_token("till", "store", mall=place.mall, store=place.stores[0]),
            )
        )
        own = shop.page.get_by_role("listitem").filter(
            has=shop.page.get_by_role("heading", name=name)
        )
        await own.get_by_role("button", name="Ready", exact=True).click()

        app = driver.page
        await app.get_by_role("button", name="Accept").click()
        await app.get_by_role("button", name="I am at the mall").click()
        shown = (
            app.locator("div").filter(has=app.get_by_text("Show", exact=True)).locator("dd.code")
        )
        code = (await shown.last.inner_text()).strip()
        # What the README shows: each at the size that people use it at.
        if size == "phone":
            await picture(app, "life-driver-phone-light")
        if size == "desktop":
            await picture(form, "life-console-desktop-light")
        await own.get_by_role("button", name="Hand over").click()
        await shop.page.get_by_role("dialog").get_by_label("Driver's code").fill(code)
        await shop.page.keyboard.press("Enter")

        await looks_again(customer.page, "On its way to you")
        await app.get_by_role("button", name=re.compile("^Delivered")).click()
        await looks_again(customer.page, "Delivered")
        assert "Secret" not in await customer.page.content()
    states = [entry["state"] for entry in (await operator.job(job["id"]))["timeline"]]
    assert [states.count(it) for it in ("assigned", "picked_up", "delivered")] == [1, 1, 1]
