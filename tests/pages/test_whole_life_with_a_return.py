"""An order's bad day through pages alone: a short shop, a breakdown, a transfer, a return."""

import re
import uuid
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Geolocation, Locator, Page

from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import SIZES, check_looks
from tests.pages.conftest import OpenPage
from tests.pages.test_whole_life import looks_again, submitted


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=re.compile(f"^{name}")).first


class Pages:
    """The pages of one order's day, all of one size."""

    def __init__(self, open_page: OpenPage, stack: AsyncExitStack, place: Place, size: str) -> None:
        self.place = place
        self._open, self._stack, self._size = open_page, stack, size

    async def open(self, path: str, **options: Any) -> Page:
        watched = await self._stack.enter_async_context(
            self._open(path, size=self._size, **options)
        )
        return watched.page

    async def driver(self, name: str, metres: float) -> Page:
        """A driver so far north of the mall, who goes online."""
        lat, lon = self.place.north(metres)
        page = await self.open(
            "/driver",
            token=make_token(f"{name}-{uuid.uuid4().hex[:8]}", "driver", market="phoenix"),
            geolocation={"latitude": lat, "longitude": lon, "accuracy": 8},
            permissions=["geolocation"],
        )
        await button(page, "Go online").click()
        await page.get_by_text("Waiting for an offer").wait_for()
        return page

    async def counter(self, store: str, mall: str | None = None) -> Page:
        mall = mall or self.place.mall
        return await self.open("/shop", token=make_token("till", "store", mall=mall, store=store))

    async def ordered(self, form: Page, name: str) -> None:
        """Fill the form: two parcels of the first shop, one of the second."""
        await form.get_by_label("Mall").select_option(self.place.mall)
        await form.get_by_label("Shop").select_option(self.place.stores[0])
        await button(form, "Add a shop").click()
        await (
            form.get_by_role("group", name="Shop 2")
            .get_by_role("combobox")
            .select_option(self.place.stores[1])
        )
        home = self.place.north(1_500)
        for label, text in (
            ("Parcels", "2"),
            ("Order number", name),
            ("Customer", "Ada Private"),
            ("Address", "1 Secret Street"),
            ("Latitude", f"{home[0]:.5f}"),
            ("Longitude", f"{home[1]:.5f}"),
        ):
            await form.get_by_label(label, exact=True).fill(text)
        await button(form, "Submit the order").click()


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


async def broken_down(first: Page, second: Page, *, looks: bool) -> None:
    """The first breaks down, the second takes all of it over by the first's code."""
    await button(first, "Menu").click()
    await button(first, "Breakdown").click()
    await button(first, "My vehicle has broken down").click()
    await button(first, "Yes, I cannot continue").click()
    await button(second, "Accept").click()
    code = first.locator(".notice .code")
    await code.wait_for()
    await button(second, "I have the parcels").click()
    if looks:
        await check_looks(second, "driver-meeting-code")
    await second.get_by_role("textbox", name="Code").fill((await code.inner_text()).strip())
    await button(second, "Take over").click()
    await first.get_by_text("The other driver has taken over").wait_for()


async def brought_back(driver: Page, place: Page, name: str) -> None:
    """The driver goes where its page says and types the code that the place's page shows."""
    await button(driver, "Parcels returned").wait_for()
    to = await driver.get_by_role("link", name="Navigate").get_attribute("href")
    lat, lon = parse_qs(urlsplit(to or "").query)["destination"][0].split(",")
    where = Geolocation(latitude=float(lat), longitude=float(lon), accuracy=8)
    await driver.context.set_geolocation(where)
    code = await card(place, name).locator(".shop-return-code").inner_text()
    await button(driver, "Parcels returned").click()
    await driver.get_by_role("textbox", name="Code").fill(code.strip())
    await button(driver, "Hand over").click()
    await place.get_by_text("No parcels are on their way back").wait_for()


# The same story in three sizes takes minutes: one size each time, the others by `test-pages-slow`.
SLOW_SIZES = [pytest.param(it, marks=pytest.mark.slow) for it in SIZES if it != "phone"]


@pytest.mark.parametrize("size", ["phone", *SLOW_SIZES])
async def test_short_order_is_transferred_and_comes_back(
    open_page: OpenPage, operator: Shop, place: Place, size: str
) -> None:
    name = f"ORD-{uuid.uuid4().hex[:10]}"
    async with AsyncExitStack() as stack:
        pages = Pages(open_page, stack, place, size)
        console = await pages.open("/console#/phoenix/new", token=make_token("ops", "operator"))
        await pages.ordered(console, name)
        job = await submitted(operator, name)
        customer = await pages.open(job["tracking_url"])

        counters = [await pages.counter(store) for store in place.stores]
        await card(counters[0], name).get_by_role("button", name="Short").click()
        await button(counters[0], "Only 1 there").click()
        await card(counters[1], name).get_by_role("button", name="Ready", exact=True).click()

        first = await pages.driver("first", 40)
        await button(first, "Accept").click()
        await button(first, "I am at the mall").click()
        await button(first, "Collected").wait_for()
        if size == "phone":
            await check_looks(first, "driver-short")
        # Each shop by itself, in the order of the visit.
        for _ in place.stores:
            await button(first, "Collected").click()
        await first.get_by_text("Ada Private").wait_for()
        await looks_again(customer, "On its way to you")

        second = await pages.driver("second", 200)
        await broken_down(first, second, looks=size == "phone")
        await second.get_by_text("Ada Private").wait_for()

        # The door stays closed; the dispatcher has it brought back.
        await button(second, "I am at the door").click()
        await button(second, "Cannot deliver").click()
        await button(second, "No one answers").click()
        await console.get_by_label("Problems").get_by_role("button", name="Bring it back").click()
        await looks_again(customer, "Going back to the shop")
        # Of two shops neither takes the whole order: the market's station does.
        to = (await operator.job(job["id"]))["return_to"]
        await brought_back(second, await pages.counter(to["store"], to["mall"]), name)
        await looks_again(customer, "Back at the shop")
        await second.get_by_text("Waiting for an offer").wait_for()
        assert "Secret" not in await customer.content()
    seen = await operator.job(job["id"])
    steps = [(entry["state"], entry["cause"] == "transferred") for entry in seen["timeline"]]
    expected = ["queued", "offered", "assigned", "at_mall", "picked_up", "returning", "returned"]
    assert [state for state, is_transfer in steps if not is_transfer] == expected
    assert [state for state, is_transfer in steps if is_transfer] == ["picked_up"]
    shops = [(it["state"], it["collected_parcels"]) for it in seen["pickup"]["stores"]]
    assert shops == [("short", 1), ("collected", 1)]
