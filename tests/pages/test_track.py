"""The customer's page in a browser, with a script and without."""

from collections.abc import Callable

from playwright.async_api import expect

from tests.e2e.app import App
from tests.e2e.conftest import Node
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import check_accessible, check_looks
from tests.pages.conftest import OpenPage
from tests.pages.strangers import XSS
from tests.support import eventually

NewApp = Callable[..., App]


async def test_delivery_is_followed_without_a_reload(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    job = await orders.submit(place.order())
    async with open_page(f"{job['tracking_url']}?utm_source=sms", size="phone") as it:
        heading = it.page.get_by_role("heading", level=1)
        await heading.get_by_text("Looking for a driver").wait_for()
        await it.page.evaluate("window.isTheSamePage = true")
        app = new_app(alias="Blue Heron")
        await app.online(*place.north(300))
        offer = await app.expect("offer")
        held = (await app.must("accept", offer=offer["offer"]))["jobs"][0]
        step = {"job": held["job"], "attempt": held["attempt"]}
        await app.must("progress", **step, step="picked_up")
        await heading.get_by_text("On its way to you").wait_for()
        await it.page.get_by_role("link", name="Show on a map").wait_for()
        await check_looks(it.page)
        await app.must("progress", **step, step="delivered")
        await heading.get_by_text("Delivered").wait_for()
        assert await it.page.evaluate("window.isTheSamePage") is True
        assert await it.page.get_by_role("link").count() == 0
        await check_accessible(it.page)


async def test_page_needs_no_script(open_page: OpenPage, orders: Shop, place: Place) -> None:
    job = await orders.submit(place.order())
    async with open_page(job["tracking_url"], size="phone", java_script_enabled=False) as it:
        await it.page.get_by_role("heading", name="Looking for a driver").wait_for()
        assert "30" in (await it.page.locator("noscript").first.inner_html() or "")


async def test_ended_link_says_so(open_page: OpenPage, node: Node) -> None:
    async with open_page(f"/track/{'x' * 24}", size="phone") as it:
        it.expected.append("404")
        await it.page.get_by_role("heading", name="This link has expired").wait_for()
        await check_accessible(it.page)


async def test_nothing_of_the_order_is_on_the_page(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    body = place.order()
    body["dropoff"] |= {"name": XSS[0], "note": XSS[1], "address": XSS[2]}
    job = await orders.submit(body | {"metadata": {"text": XSS[3]}})
    async with open_page(job["tracking_url"], size="phone") as it:
        await it.page.get_by_role("heading", level=1).wait_for()
        assert await it.page.evaluate("window.ran") is None
        html = await it.page.content()
        for text in (*XSS, "Secret", "Ada", "555", "dog", job["id"], job["external_id"]):
            assert text not in html


async def test_lost_connection_is_shown(open_page: OpenPage, orders: Shop, place: Place) -> None:
    job = await orders.submit(place.order())
    async with open_page(job["tracking_url"], size="phone") as it:
        it.expected += ["ERR_INTERNET_DISCONNECTED", "Failed to load resource"]
        await it.page.context.set_offline(True)

        async def is_stale() -> bool:
            # Each time that the page is shown again it is read again.
            await it.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            return await it.page.locator("body.is-stale").count() > 0

        await eventually(is_stale)
        await it.page.context.set_offline(False)
        await it.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await it.page.locator("body:not(.is-stale)").wait_for()


async def test_link_that_has_the_focus_keeps_it_when_the_page_is_read_again(
    open_page: OpenPage, orders: Shop, new_app: NewApp, place: Place
) -> None:
    job = await orders.submit(place.order())
    app = new_app()
    await app.online(*place.north(300))
    (held,) = await app.accept(await app.expect("offer"))
    async with open_page(job["tracking_url"], size="phone") as it:
        link = it.page.get_by_role("link", name="Show on a map")
        await link.focus()
        await app.step(held, "picked_up")
        await it.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await it.page.get_by_role("heading", name="On its way to you").wait_for()
        await expect(link).to_be_focused()
