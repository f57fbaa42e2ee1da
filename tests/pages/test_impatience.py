"""Impatient people: double taps, an offer under the thumb, a second till."""

from collections.abc import Callable

from playwright.async_api import Locator, Page, expect

from tests.e2e.app import App
from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import settled
from tests.pages.conftest import OpenPage
from tests.pages.driver_app import (
    accept_order,
    new_driver,
    online_driver,
    phone,
    press,
    reaches,
)
from tests.pages.focus import select_row
from tests.pages.test_shop import card, counter_token, order_of, said

# Returns whether the offer's first button takes a tap as soon as it is drawn, on a phone that takes
# half a second to draw it. A page's timers run in the order of their times even after a standstill.
_OFFER_TAKES_TAPS = """() => {
  window.takesTaps = new Promise((done) => {
    const look = () => {
      const button = document.querySelector("dialog.offer[open] .button");
      const { x, y, width, height } = button.getBoundingClientRect();
      const found = document.elementFromPoint(x + width / 2, y + height / 2);
      done(found !== null && button.contains(found));
    };
    const opened = new MutationObserver(() => {
      if (document.querySelector("dialog.offer[open]") === null) return;
      opened.disconnect();
      const until = performance.now() + 500;
      while (performance.now() < until);
      setTimeout(look, 10);
    });
    opened.observe(document.body, { attributes: true, childList: true, subtree: true });
  });
}"""


# Returns the button that a second tap at the same point would press 50 ms after the first one.
_SECOND_TAP = """([x, y]) => {
  window.second = new Promise((done) => {
    const found = () => document.elementFromPoint(x, y)?.closest("button");
    const look = () => done(found()?.textContent ?? null);
    addEventListener("click", () => setTimeout(look, 50), { once: true });
  });
}"""


async def pressed_by_double_tap(page: Page, target: Locator) -> str | None:
    """Tap; return which button a second tap at the same place would press."""
    await target.hover()
    box = await target.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.evaluate(_SECOND_TAP, middle)
    await page.mouse.click(*middle)
    found: str | None = await page.evaluate("window.second")
    return found


async def test_second_tap_does_not_press_what_has_moved_there(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        job = await accept_order(page, orders, place.order())
        await press(page, "Collected")
        # "Delivered" comes to where the first tap was.
        door = page.get_by_role("button", name="I am at the door")
        assert await pressed_by_double_tap(page, door) is None
        await press(page, "Delivered")
        await reaches(orders, job, "delivered")


async def test_offer_does_not_take_the_tap_that_was_meant_for_the_page(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        await page.evaluate(_OFFER_TAKES_TAPS)
        await orders.submit(place.order())
        assert await page.evaluate("window.takesTaps") is False
        await press(page, "Accept")
        await page.get_by_role("button", name="I am at the mall").wait_for()


async def test_offer_stays_over_everything_until_it_is_answered(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        await orders.submit(place.order())
        shown = page.get_by_role("dialog")
        await shown.wait_for()
        # Like the back button of a phone, which a page can refuse once.
        for _ in range(3):
            await page.keyboard.press("Escape")
            await settled(page)
        await expect(shown).to_have_count(1)
        assert await shown.evaluate("(it) => it.matches(':modal')")
        await press(page, "Accept")
        await page.get_by_role("button", name="I am at the mall").wait_for()


async def test_small_buttons_of_the_driver_app_fit_a_thumb(
    open_page: OpenPage, place: Place
) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        box = await it.page.get_by_role("button", name="Menu").bounding_box()
        assert box is not None
        assert box["height"] >= 44


async def test_tapped_button_does_not_stay_marked(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    # On a touch screen the last thing tapped counts as hovered until the next tap.
    job = await orders.submit(order_of(place))
    token = counter_token(place)
    async with open_page("/shop", size="phone", token=token, is_mobile=True) as it:
        button = card(it.page, job["external_id"]).get_by_role("button", name="Ready later")
        await button.wait_for()
        colour = "(it) => getComputedStyle(it).backgroundColor"
        before = await button.evaluate(colour)
        await button.tap()
        await it.page.get_by_role("button", name="Cancel").tap()
        await button.hover()
        assert await button.evaluate(colour) == before


async def test_shop_closed_at_one_till_is_opened_at_another(
    open_page: OpenPage, orders: Shop, place: Place
) -> None:
    job = await orders.submit(order_of(place))
    token = counter_token(place)
    async with (
        open_page("/shop", size="tablet", token=token) as first,
        open_page("/shop", size="tablet", token=token) as second,
    ):
        await first.page.get_by_role("button", name="Close for an hour").click()
        await said(orders, job["id"], "closed")
        reopen = second.page.get_by_role("button", name="Open again")
        await reopen.click()
        await said(orders, job["id"], "waiting")
        close = first.page.get_by_role("button", name="Close for an hour")
        await close.wait_for()


async def test_key_that_is_held_acts_once(
    open_page: OpenPage, place: Place, orders: Shop, new_app: Callable[..., App]
) -> None:
    app = new_app()
    await app.online(*place.north(50))
    job = await orders.submit(place.order())
    await app.accept(await app.expect("offer"))
    await app.must("problem", job=job["id"], attempt=1, kind="accident", text="rear-ended")
    async with open_page("/console#/phoenix/exceptions", token=make_token("ops", "operator")) as it:
        sent: list[str] = []
        it.page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
        await it.page.get_by_text("Accident reported").wait_for()
        await select_row(it.page, job["external_id"])
        for _ in range(3):
            await it.page.keyboard.down("a")
        await it.page.keyboard.up("a")
        await it.page.get_by_text("Accident reported").wait_for(state="detached")
        assert len([it for it in sent if "alerts" in it]) == 1
