"""The console in Chromium: exceptions and what to do about them, lists, an order, the policy."""

import asyncio
import re
from collections.abc import Callable

from playwright.async_api import Page, Route, expect

from tests.e2e.app import App
from tests.e2e.conftest import make_token
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.pages.browser import check_accessible, check_looks, settled
from tests.pages.conftest import OpenPage
from tests.pages.focus import go_by_keys, select_row
from tests.support import eventually

# Each would run if a page made HTML or an address of it.
HOSTILE = (
    '<img src=x onerror="window.ran=true">',
    "<script>window.ran=true</script>",
    '"><svg onload=window.ran=true>',
    "javascript:window.ran=true",
    "{{constructor.constructor('window.ran=true')()}}",
)
NewApp = Callable[..., App]


def token() -> str:
    return make_token("ops", "operator")


async def assigned(
    place: Place, orders: Shop, new_app: NewApp, **changes: object
) -> tuple[App, Json]:
    """Return a driver with an accepted order."""
    app = new_app()
    await app.online(*place.north(50))
    job = await orders.submit(place.order(**changes))
    await app.accept(await app.expect("offer"))
    return app, job


async def row(page: Page, text: str) -> None:
    await expect(page.get_by_role("row").filter(has_text=text).first).to_be_visible()


async def test_missing_parcel_is_put_right_by_one_key(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    app, job = await assigned(place, orders, new_app)
    await app.step(
        (await app.must("status", state="available")) and {"job": job["id"], "attempt": 1},
        "at_mall",
    )
    async with open_page("/console#/phoenix/exceptions", token=token()) as it:
        await app.must(
            "progress", job=job["id"], attempt=1, step="collected", store=place.stores[0], parcels=0
        )
        await row(it.page, "Parcels are missing")
        await check_accessible(it.page)
        await select_row(it.page, job["external_id"])
        await it.page.keyboard.press("y")
        await expect(it.page.get_by_text("Marked as ready")).to_be_visible()

        async def looks_again() -> bool:
            return await orders.state(job["id"]) != "scheduled"

        await eventually(looks_again)
        await expect(it.page.get_by_text("Parcels are missing")).to_have_count(0)


async def test_accident_is_alerted_and_acknowledged(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp, operator: Shop
) -> None:
    app, job = await assigned(place, orders, new_app)
    async with open_page("/console#/phoenix/exceptions", token=token()) as it:
        await it.page.get_by_role("status").get_by_text("Live").wait_for()
        await app.must("problem", job=job["id"], attempt=1, kind="accident", text=HOSTILE[0])
        own = it.page.get_by_role("row").filter(has_text="Accident reported")
        own = own.filter(has_text=job["external_id"])
        await own.wait_for()
        await own.focus()
        await it.page.keyboard.press("a")
        await expect(it.page.get_by_text("Acknowledged")).to_be_visible()
        await expect(own).to_have_count(0)
    alerts = (await operator.http.get("/v1/alerts", params={"state": "open"})).json()["items"]
    assert [alert for alert in alerts if alert.get("job") == job["id"]] == []


async def test_order_is_found_explained_and_assigned(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    job = await orders.submit(place.order(requires=["cold_chain"]))
    app = new_app()
    await app.online(*place.north(80), vehicle={"kind": "car", "equipment": ["cold_chain"]})
    async with open_page("/console#/phoenix/exceptions", token=token()) as it:
        page = it.page
        await page.get_by_role("heading", name="Exceptions").wait_for()
        await go_by_keys(page, "go", "orders")
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type(job["external_id"])
        await expect(page).to_have_url(re.compile(rf"q={job['external_id']}"))
        await page.reload()
        await row(page, job["external_id"])
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name=job["external_id"]).wait_for()
        await page.get_by_role("tab", name="Why this driver?").click()
        await page.get_by_text("Round").first.wait_for()
        await check_looks(page)
        await page.get_by_role("button", name=re.compile("^Assign")).click()
        await page.get_by_role("textbox", name="Driver").fill(app.driver)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text(f"Assigned to {app.driver}")).to_be_visible()
    assert (await orders.job(job["id"]))["state"] == "assigned"


async def test_order_by_hand_names_what_is_wrong(open_page: OpenPage, place: Place) -> None:
    async with open_page("/console#/phoenix/new", token=token()) as it:
        it.expected.append("422")
        page = it.page
        await page.get_by_label("Latitude").fill("north")
        await page.get_by_label("Longitude").fill("-111.9")
        await page.get_by_role("button", name="Submit the order").click()
        await expect(page.get_by_label("Latitude")).to_have_attribute("aria-invalid", "true")
        lat, lon = place.north(1_500)
        await page.get_by_label("Latitude").fill(str(lat))
        await page.get_by_label("Longitude").fill(str(lon))
        await page.get_by_label("Customer").fill("Ms Ito")
        await check_looks(page)
        await page.get_by_role("button", name="Submit the order").click()
        await page.get_by_role("heading", level=1).wait_for()
        await expect(page).to_have_url(re.compile(r"#/phoenix/job/job_phoenix"))
        await expect(page.get_by_text("Ms Ito")).to_be_visible()


async def test_text_of_strangers_is_shown_and_never_run(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    body = place.order(metadata={"note": HOSTILE[0], HOSTILE[1]: HOSTILE[2]})
    body["dropoff"] |= dict(zip(("name", "address", "note", "contact"), HOSTILE, strict=False))
    job = await orders.submit(body)
    app = new_app()
    await app.online(*place.north(50))
    offer = await app.expect("offer")
    await app.must("decline", offer=offer["offer"], reason=HOSTILE[4])
    await orders.cancel(job["id"], HOSTILE[1])
    places = (
        "exceptions",
        "orders?state=cancelled,queued",
        "drivers",
        f"job/{job['id']}",
        f"job/{job['id']}?tab=explain",
    )
    for where in places:
        async with open_page(f"/console#/phoenix/{where}", token=token()) as it:
            await it.page.get_by_role("status").get_by_text("Live").wait_for()
            await it.page.get_by_role("heading", level=1).wait_for()
            await it.page.wait_for_timeout(300)
            assert await it.page.evaluate("window.ran") is None
            hrefs = await it.page.evaluate("[...document.links].map((it) => it.protocol)")
            assert set(hrefs) <= {"http:"}


async def test_lost_connection_is_shown_and_caught_up(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    async with open_page("/console#/phoenix/orders", token=token()) as it:
        it.expected += ["ERR_INTERNET_DISCONNECTED", "Failed to load resource"]
        await it.page.get_by_role("status").get_by_text("Live").wait_for()
        await it.page.context.set_offline(True)
        # The page counts the stream as dead after 40 s.
        await it.page.get_by_text("No connection").wait_for(timeout=90_000)
        job = await orders.submit(place.order())
        await it.page.context.set_offline(False)
        await row(it.page, job["external_id"])
        await expect(it.page.get_by_text("No connection")).to_have_count(0)


async def test_policy_is_changed_by_one_operator_at_a_time(
    open_page: OpenPage, operator: Shop
) -> None:
    async with open_page("/console#/phoenix/policy", token=token()) as it:
        page = it.page
        it.expected += ["412", "422"]
        await page.get_by_role("button", name="Change cooldown_s").click()
        await page.get_by_label("New value of cooldown_s").fill("-1")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("alert").wait_for()
        await page.get_by_label("New value of cooldown_s").fill("31")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("row", name=re.compile("cooldown_s 31")).wait_for()
        await check_looks(page)
        version = (await operator.http.get("/v1/markets/phoenix/policy")).json()["version"]
        emptied = await operator.http.put(
            "/v1/markets/phoenix/policy",
            json={"set": {"cooldown_s": 40}},
            headers={"If-Match": f'"{version}"'},
        )
        assert emptied.status_code == 200, emptied.text
        await page.get_by_role("button", name="Reset cooldown_s").click()
        await page.get_by_text("Another operator has changed the policy").wait_for()
    tag = {"If-Match": "*"}
    put_back = await operator.http.put("/v1/markets/phoenix/policy", json={}, headers=tag)
    assert put_back.status_code == 200, put_back.text


async def test_every_place_is_accessible_and_fits(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    app, job = await assigned(place, orders, new_app)
    await orders.submit(place.order(requires=["cold_chain"]))
    await app.must("problem", job=job["id"], attempt=1, kind="unsafe", text="dark car park")
    async with open_page("/console#/phoenix/exceptions", token=token()) as it:
        page = it.page
        # The replay asks from before the first event and learns which is kept; the map is drawn
        # by the processor here.
        it.expected += ["410", "GPU stall", "GL Driver Message", "WebGL"]
        await row(page, "Driver feels unsafe")
        await check_looks(page)
        for key, name in (("o", "orders"), ("d", "drivers"), ("m", "map"), ("r", "replay")):
            await go_by_keys(page, f"g{key}", name)
            await page.get_by_role("heading", level=1).wait_for()
            if name in ("map", "replay"):
                await page.locator(".maplibregl-canvas").wait_for()
            await check_looks(page)
        await page.goto(page.url.partition("#")[0] + f"#/phoenix/driver/{app.driver}")
        await page.get_by_role("heading", name=app.driver).wait_for()
        await check_looks(page)


# The places of the bar that are not wholly visible: the bar fades out at its right end.
_COVERED = """(which) => {
  const bar = document.querySelector(".nav");
  const room = bar.getBoundingClientRect();
  const fade = parseFloat(getComputedStyle(bar).paddingRight);
  return [...bar.querySelectorAll(which)].filter((place) => {
    const box = place.getBoundingClientRect();
    return box.left < room.left || box.right > room.right - fade + 1;
  }).map((place) => place.textContent);
}"""


async def test_bar_on_a_phone_scrolls_to_the_open_place(open_page: OpenPage) -> None:
    async with open_page("/console#/phoenix/policy", size="phone", token=token()) as it:
        page = it.page
        here = '[aria-current="page"]'
        for path, name in (
            ("policy", "Policy"),
            ("new", "New order"),
            ("exceptions", "Exceptions"),
        ):
            await page.evaluate(f"location.hash = '/phoenix/{path}'")
            await page.locator(f".nav {here}").get_by_text(name).wait_for()
            await settled(page)
            assert await page.evaluate(_COVERED, here) == [], name
        await page.locator(".nav a").first.focus()
        for _ in range(6):
            await page.keyboard.press("Tab")
            await settled(page)
            assert await page.evaluate(_COVERED, ":focus") == []
        # Turned from a wide screen, too.
        await page.set_viewport_size({"width": 1024, "height": 390})
        await page.evaluate("location.hash = '/phoenix/new'")
        await page.locator(f".nav {here}").get_by_text("New order").wait_for()
        await page.set_viewport_size({"width": 390, "height": 844})
        await settled(page)
        assert await page.evaluate(_COVERED, here) == []


async def test_command_on_a_slow_line_is_shown_and_sent_once(
    open_page: OpenPage, place: Place, orders: Shop, new_app: NewApp
) -> None:
    app, job = await assigned(place, orders, new_app)
    await app.must("problem", job=job["id"], attempt=1, kind="accident", text="rear-ended")
    answer = asyncio.Event()
    sent: list[str] = []

    async def late(route: Route) -> None:
        sent.append(route.request.url)
        await answer.wait()
        await route.continue_()

    async with open_page("/console#/phoenix/exceptions", token=token()) as it:
        page = it.page
        await page.route("**/acknowledge", late)
        await row(page, "Accident reported")
        await select_row(page, job["external_id"])
        for _ in range(2):
            await page.keyboard.press("a")
        await page.get_by_role("status").get_by_text("Sending…").wait_for()
        answer.set()
        await page.get_by_text("Accident reported").wait_for(state="detached")
        await page.get_by_role("status").get_by_text("Live").wait_for()
    assert len(sent) == 1


async def test_question_that_was_not_answered_keeps_what_was_typed(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    job = await orders.submit(place.order())
    async with open_page(f"/console#/phoenix/job/{job['id']}", token=token()) as it:
        it.expected += ["ERR_FAILED", "Failed to load resource"]
        page = it.page
        await page.route("**/cancel", lambda route: route.abort())
        await page.get_by_role("button", name="Cancel").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Note").fill("out of stock since noon")
        await page.keyboard.press("Enter")
        await dialog.get_by_role("alert").get_by_text("No answer").wait_for()
        await expect(dialog.get_by_label("Note")).to_have_value("out of stock since noon")
        await check_accessible(page)
        await page.unroute("**/cancel")
        await dialog.get_by_role("button", name="Cancel the order").click()
        await dialog.wait_for(state="detached")
    assert await orders.state(job["id"]) == "cancelled"


async def test_back_button_closes_a_question_and_keeps_a_draft(
    open_page: OpenPage, place: Place, orders: Shop
) -> None:
    job = await orders.submit(place.order())
    async with open_page("/console#/phoenix/new", token=token()) as it:
        page = it.page
        await page.get_by_label("Customer").fill("Ms Ito")
        await page.evaluate(f"location.hash = '/phoenix/job/{job['id']}'")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("dialog").wait_for()
        await page.go_back()
        await page.get_by_role("heading", name="New order").wait_for()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.get_by_label("Customer")).to_have_value("Ms Ito")
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_label("Token").fill(token())
        await page.keyboard.press("Enter")
        await page.evaluate("location.hash = '/phoenix/new'")
        await expect(page.get_by_label("Customer")).to_have_value("")
