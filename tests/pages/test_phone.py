"""A phone in the hand: turned, its back button, where the focus goes, what each tap is answered."""

import re
from typing import Any

import pytest
from playwright.async_api import ViewportSize, expect

from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import settled
from tests.pages.conftest import OpenPage
from tests.pages.driver_app import accept_order, new_driver, online_driver, phone, press
from tests.pages.recorded.people import opened_person

_UPRIGHT = ViewportSize(width=390, height=844)
_TURNED = ViewportSize(width=844, height=390)


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("driver-offline", ["Go online"]),
        ("driver-no-offers", ["Go offline"]),
        ("driver-offer", ["Accept", "Decline"]),
        ("driver-mall", ["Collected"]),
        ("driver-door", ["I am at the door", "Delivered", "Cannot deliver"]),
    ],
)
async def test_turned_phone_shows_what_is_to_press(
    browser: Any, still_url: str, state: str, buttons: list[str]
) -> None:
    async with opened_person(browser, still_url, state) as it:
        await it.page.set_viewport_size(_TURNED)
        await settled(it.page)
        for name in buttons:
            button = it.page.get_by_role("button", name=re.compile(f"^{name}")).first
            await expect(button).to_be_in_viewport(ratio=1)


async def test_reasons_of_a_turned_phone_fit_beside_the_offer(browser: Any, still_url: str) -> None:
    async with opened_person(browser, still_url, "driver-offer") as it:
        await it.page.set_viewport_size(_TURNED)
        await press(it.page, "Decline")
        await settled(it.page)
        for name in ("Too far", "Back to the offer"):
            await expect(it.page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)


async def test_focus_goes_on_with_the_run(open_page: OpenPage, place: Place, orders: Shop) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        page = it.page

        async def activate(name: str) -> None:
            await page.get_by_role("button", name=re.compile(f"^{name}")).first.focus()
            await page.keyboard.press("Enter")

        await activate("Go online")
        await page.get_by_text("Waiting for an offer").wait_for()
        await expect(page.get_by_role("heading", name="Waiting for an offer")).to_be_focused()
        await orders.submit(place.order())
        await activate("Accept")
        await activate("I am at the mall")
        await expect(page.get_by_role("region", name="Collect at")).to_be_focused()
        await activate("Collected")
        await expect(page.get_by_role("region", name="Deliver")).to_be_focused()
        await activate("I am at the door")
        await page.get_by_role("button", name="I am at the door").wait_for(state="detached")
        await expect(page.get_by_role("region", name="Deliver")).to_be_focused()


async def test_question_with_a_red_button_has_its_focus_on_no(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        await accept_order(page, orders, place.order())
        await press(page, "I cannot take")
        await expect(page.get_by_role("button", name="Keep")).to_be_focused()


async def test_reported_problem_is_confirmed(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        await accept_order(page, orders, place.order())
        await press(page, "Collected")
        await press(page, "Cannot deliver")
        await press(page, "No one answers")
        await page.get_by_text("Reported: no one answers.").wait_for()
        dismiss = await page.get_by_role("button", name="Dismiss").first.bounding_box()
        assert dismiss is not None
        assert min(dismiss["width"], dismiss["height"]) >= 44


async def test_message_does_not_lie_on_the_button_of_an_idle_driver(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with online_driver(open_page, place) as page:
        job = await orders.submit(place.order())
        await page.get_by_role("button", name="Accept").wait_for()
        await orders.cancel(job["id"])
        message = page.locator(".toast", has_text="The offer is gone")
        await message.wait_for()
        for size in (_UPRIGHT, _TURNED):
            await page.set_viewport_size(size)
            await settled(page)
            above = await message.bounding_box()
            button = await page.get_by_role("button", name="Go offline").bounding_box()
            assert above is not None
            assert button is not None
            assert above["y"] + above["height"] <= button["y"]


async def test_return_by_photo_is_a_return(open_page: OpenPage, place: Place, orders: Shop) -> None:
    async with online_driver(open_page, place) as page:
        await accept_order(page, orders, place.order())
        await press(page, "Collected")
        await press(page, "Cannot deliver")
        await press(page, "Bring it back")
        await press(page, "Yes, bring it back")
        await press(page, "Parcels returned")
        await press(page, "No code")
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_role("button", name="Delivered")).to_have_count(0)
        await dialog.get_by_role("button", name="Parcels returned").wait_for()
        await press(page, "Back")
        # The position that a return needs may take seconds.
        await page.evaluate("navigator.geolocation.getCurrentPosition = () => undefined")
        await press(page, "Parcels returned")
        await page.get_by_role("textbox", name="Code").fill("1")
        await press(page, "Hand over")
        busy = page.get_by_role("button", name="Parcels returned")
        await expect(busy).to_have_attribute("aria-disabled", "true")


async def test_menu_of_an_offline_driver_offers_no_way_offline(
    open_page: OpenPage, place: Place
) -> None:
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        await it.page.get_by_role("button", name="Go online").wait_for()
        await press(it.page, "Menu")
        await it.page.get_by_role("button", name="Sign out").wait_for()
        for name in ("Go offline", "Pause offers"):
            await expect(it.page.get_by_role("button", name=name)).to_have_count(0)
