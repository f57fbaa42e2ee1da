"""What a driver does on the driver's page, and what its orders show of it."""

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from playwright.async_api import FilePayload, Locator, Page

from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.pages.conftest import OpenPage
from tests.support import GUARD_S, eventually

NETWORK_FAULTS = ["ERR_INTERNET_DISCONNECTED", "WebSocket connection to", "Failed to load resource"]
PIN = "4711"


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


@asynccontextmanager
async def online_driver(open_page: OpenPage, place: Place) -> AsyncIterator[Page]:
    """Open the page of a new driver, who has gone online in front of the mall."""
    _, token = new_driver()
    async with open_page("/driver", **phone(place, token)) as it:
        await go_online(it.page)
        yield it.page


async def accept_order(page: Page, orders: Shop, body: Json) -> Json:
    job = await orders.submit(body)
    await press(page, "Accept")
    await press(page, "I am at the mall")
    await page.get_by_role("button", name=re.compile("^Collected")).first.wait_for()
    return job


async def at_door(page: Page, orders: Shop, body: Json) -> Json:
    """Collect an order; its driver is on the way to the door."""
    job = await accept_order(page, orders, body)
    await press(page, "Collected")
    await page.get_by_text("Ada Private").wait_for()
    return job


def order_with_proofs(place: Place) -> Json:
    body = place.order(proof_required=["pin", "photo", "signature"])
    body["dropoff"]["pin"] = PIN
    return body


async def reaches(orders: Shop, job: Json, state: str, timeout_s: float = GUARD_S) -> None:
    async def reached() -> bool:
        return await orders.state(job["id"]) == state

    await eventually(reached, timeout_s)


async def one_delivery(orders: Shop, job: Json, timeout_s: float = GUARD_S) -> None:
    """The order is delivered, and each of its steps was taken once."""
    await reaches(orders, job, "delivered", timeout_s)
    states = [entry["state"] for entry in (await orders.job(job["id"]))["timeline"]]
    assert states.count("picked_up") == states.count("delivered") == states.count("assigned") == 1


async def shop_returns(http: httpx2.AsyncClient, place: Place) -> dict[str, str]:
    """Return the codes of the returns to the first store, as its counter shows them."""
    token = make_token("counter", "store", mall=place.mall, store=place.stores[0])
    answer = await http.get(
        f"/v1/stores/{place.mall}/{place.stores[0]}/returns",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text
    return {item["id"]: item["code"] for item in answer.json()["items"]}


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
