"""What was given as proof at a door is asked for once, whatever closes the dialog."""

from collections.abc import Awaitable, Callable

from playwright.async_api import Locator, Page, expect

from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import settled
from tests.pages.conftest import OpenPage
from tests.pages.driver_app import (
    PIN,
    at_door,
    go_online,
    new_driver,
    one_delivery,
    online_driver,
    order_with_proofs,
    phone,
    photograph,
    press,
    sign,
)

KEPT = "Object.keys(localStorage).filter((it) => it.startsWith('mallard.drafts'))"


def done(page: Page) -> Locator:
    return page.get_by_role("dialog").get_by_role("button", name="Delivered")


async def give_proofs(page: Page, pin: str = PIN) -> None:
    await press(page, "Delivered")
    await page.get_by_label("PIN").fill(pin)
    await photograph(page, await page.screenshot())
    await sign(page)
    await expect(done(page)).to_be_enabled()


async def test_proof_outlives_the_dialog_and_the_tab(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async def back(page: Page) -> None:
        await press(page, "Back")

    async def escape(page: Page) -> None:
        await page.keyboard.press("Escape")

    async def back_button(page: Page) -> None:
        await page.go_back()
        await page.go_forward()

    async def reload(page: Page) -> None:
        await page.reload()

    closers: list[Callable[[Page], Awaitable[None]]] = [back, escape, back_button, reload]
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        # The fixture's script signs in every document, also the empty one before the page.
        it.expected.append("sessionStorage")
        page = it.page
        await go_online(page)
        job = await at_door(page, orders, order_with_proofs(place))
        await give_proofs(page)
        drawn = await page.locator("canvas").evaluate("(it) => it.toDataURL()")
        for close in closers:
            await close(page)
            await page.get_by_role("dialog").wait_for(state="detached")
            await press(page, "Delivered")
            await expect(page.get_by_label("PIN")).to_have_value(PIN)
            await page.get_by_role("img", name="The photo").wait_for()
            await expect(done(page)).to_be_enabled()
            await settled(page)
            assert await page.locator("canvas").evaluate("(it) => it.toDataURL()") == drawn
        await done(page).click()
        await one_delivery(orders, job)
        await page.get_by_text("Waiting for an offer").wait_for()
        assert await page.evaluate(KEPT) == []
    proofs = {proof["kind"] for proof in (await orders.job(job["id"]))["proofs"]}
    assert proofs >= {"photo", "signature", "code"}


async def test_wrong_pin_asks_for_the_pin_alone(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        job = await at_door(page, orders, order_with_proofs(place))
        await give_proofs(page, "1234")
        await done(page).click()
        await page.get_by_text("The code is wrong. 2 tries left.").wait_for()
        await press(page, "Delivered")
        await expect(page.get_by_label("PIN")).to_have_value("")
        await page.get_by_label("PIN").fill(PIN)
        await done(page).click()
        await one_delivery(orders, job)


async def test_proof_is_forgotten_with_its_order_and_its_driver(
    open_page: OpenPage, place: Place, orders: Shop, operator: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        job = await at_door(page, orders, order_with_proofs(place))
        await give_proofs(page)
        await press(page, "Back")
        assert len(await page.evaluate(KEPT)) == 1
        closing = {"state": "delivered", "reason": "they called"}
        await operator.http.post(f"/v1/jobs/{job['id']}/close", json=closing)
        await page.get_by_text("Waiting for an offer").wait_for()
        assert await page.evaluate(KEPT) == []
        await at_door(page, orders, order_with_proofs(place))
        await give_proofs(page)
        await press(page, "Back")
        assert len(await page.evaluate(KEPT)) == 1
        await press(page, "Menu")
        await press(page, "Sign out")
        await page.get_by_label("Token").wait_for()
        assert await page.evaluate(KEPT) == []


async def test_door_stays_in_front_when_another_order_comes(
    open_page: OpenPage, place: Place, orders: Shop, operator: Shop
) -> None:
    name, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        page = it.page
        await go_online(page)
        await at_door(page, orders, order_with_proofs(place))
        await press(page, "I am at the door")
        await give_proofs(page)
        more = await orders.submit(place.order())
        given = await operator.http.post(f"/v1/jobs/{more['id']}/assign", json={"driver": name})
        assert given.status_code == 200, given.text
        await page.get_by_text("Then 1 stop").wait_for()
        await expect(done(page)).to_be_visible()
        await page.reload()
        await page.get_by_text("Then 1 stop").wait_for()
        await expect(page.locator("main > .run > .card")).to_contain_text("Ada Private")
