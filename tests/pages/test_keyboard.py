"""A dispatcher's whole task without a mouse."""

import re
from collections.abc import Callable

from playwright.async_api import expect

from tests.e2e.app import App
from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import check_accessible
from tests.pages.conftest import OpenPage
from tests.pages.focus import select_row, tab_to


async def test_exception_to_assignment_and_back_by_keyboard_alone(
    open_page: OpenPage, place: Place, orders: Shop, new_app: Callable[..., App]
) -> None:
    app = new_app()
    await app.online(*place.north(50))
    job = await orders.submit(place.order())
    await app.accept(await app.expect("offer"))
    other = new_app()
    await other.online(*place.north(400))
    await app.must("problem", job=job["id"], attempt=1, kind="accident", text="rear-ended")
    async with open_page("/console#/phoenix/exceptions", token=make_token("ops", "operator")) as it:
        page = it.page
        row = page.get_by_role("row").filter(has_text="Accident reported")
        await row.filter(has_text=job["external_id"]).wait_for()
        await select_row(page, job["external_id"])
        await page.keyboard.press("o")
        await page.get_by_role("heading", name=job["external_id"]).wait_for()
        await tab_to(page, r"^Why this driver\?$")
        await page.keyboard.press("Enter")
        await page.get_by_text("Round").first.wait_for()
        await check_accessible(page)
        await page.keyboard.press("Escape")
        await expect(page).to_have_url(re.compile(r"/exceptions$"))
        # The list is shown again, and the row from before is selected.
        own = row.filter(has_text=job["external_id"])
        await expect(own).to_be_focused()
        await page.keyboard.press("o")
        await page.get_by_role("heading", name=job["external_id"]).wait_for()
        await tab_to(page, r"^Assign to another")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("textbox", name="Driver")).to_be_focused()
        await check_accessible(page)
        await page.keyboard.type(other.driver)
        await page.keyboard.press("Enter")
        await page.get_by_text(f"Assigned to {other.driver}").wait_for()
        await page.keyboard.press("Escape")
        await expect(page).to_have_url(re.compile(r"/exceptions$"))
        # The row is still the selected one: the next key goes on from it.
        await own.wait_for()
    assert (await orders.job(job["id"]))["state"] in {"assigned", "offered", "queued"}


# Presses keys so fast that the page handles them before it has drawn the effect of the first one.
_PRESS_AT_ONCE = """(keys) => {
  for (const key of keys)
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}"""


async def test_key_that_follows_at_once_acts_on_the_row_just_selected(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    job = await orders.submit(place.order(requires=["cold_chain"]))
    listed = f"/console#/phoenix/orders?q={job['external_id']}"
    async with open_page(listed, token=make_token("ops", "operator")) as it:
        await it.page.get_by_role("row").filter(has_text=job["external_id"]).wait_for()
        await it.page.evaluate(_PRESS_AT_ONCE, ["j", "Enter"])
        await it.page.get_by_role("heading", name=job["external_id"]).wait_for()


# Presses two keys with so many ms between them; the page handles the second one 3 s later.
_PRESS_TWO = """([first, second, apart]) => {
  const press = (key, at) => {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    Object.defineProperty(event, "timeStamp", { value: at });
    document.body.dispatchEvent(event);
  };
  const at = performance.now();
  press(first, at);
  const now = Date.now;
  Date.now = () => now() + 3000;
  press(second, at + apart);
  Date.now = now;
  return location.hash;
}"""


async def test_two_keys_pressed_in_time_count_on_a_busy_page(open_page: OpenPage) -> None:
    async with open_page("/console#/phoenix/exceptions", token=make_token("ops", "operator")) as it:
        await it.page.get_by_role("heading", name="Exceptions").wait_for()
        assert await it.page.evaluate(_PRESS_TWO, ["g", "o", 1600]) == "#/phoenix/exceptions"
        assert await it.page.evaluate(_PRESS_TWO, ["g", "o", 200]) == "#/phoenix/orders"
