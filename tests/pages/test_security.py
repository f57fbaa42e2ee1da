"""What strangers could try on the pages: texts that run, foreign pages that call or frame ours.

Texts are tried in every field at once: the recorded answers of a world, in which each free text is
hostile, also those that the engine's own checks would not let in.
"""

import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from mallard_engine.contract.operations.table import OPERATIONS
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.pages.browser import SIZES, check_fits, opened, settled
from tests.pages.conftest import KeepToken, OpenPage
from tests.pages.recorded.load import token
from tests.pages.recorded.people import opened_person, routes
from tests.pages.recorded.server import Recorded, serving
from tests.pages.recorded.world import MARKET, SMALL, World
from tests.pages.strangers import LONG, XSS
from tests.support import GUARD_S

EVIL: Final = " ".join((*XSS, LONG))
# A path that a browser would take for another host.
ELSEWHERE: Final = "https://engine.example//evil.example/track"
# Names of fields whose values people write, or that other programs choose.
FREE: Final = frozenset(
    {"actor", "address", "alias", "cancel_note", "cause", "changed_by", "contact", "detail"}
    | {"external_id", "kind", "name", "note", "operation", "reason", "store", "text"}
    | {"preset", "suspended_for", "what", "why", "why_not", "outcome", "service_level", "version"}
    | {"gate", "qualifications", "requires", "handover_code", "pickup_code", "code", "vehicle"}
)
PLACES: Final = (
    "exceptions",
    "orders",
    "drivers",
    "policy",
    "new",
    "map",
    "replay",
    "job/{job}",
    "job/{job}?tab=explain",
    "driver/driver-0001",
)

PLACES_OF_PEOPLE: Final = (
    "driver-offer",
    "driver-mall",
    "driver-door",
    "driver-no-offers",
    "driver-rest",
    "shop-list",
    "track-on-its-way",
)


def hostile(value: Any, name: str = "") -> Any:
    """The same value with each free text replaced; open objects get a hostile name as well."""
    if isinstance(value, list):
        return [hostile(it, name) for it in value]
    if isinstance(value, dict):
        changed = {key: hostile(it, key) for key, it in value.items()}
        if name in {"metadata", "details", "set", "effective", "terms"}:
            changed[EVIL] = 60 if name == "terms" else EVIL
        return changed
    if name == "tracking_url":
        return ELSEWHERE
    return EVIL if isinstance(value, str) and name in FREE else value


@pytest.fixture(scope="module")
def hostile_url() -> Iterator[str]:
    world = World(SMALL, int(time.time() * 1000))
    kept = world.advance(world.now_ms + 60_000)
    recorded = Recorded(world, kept, is_still=True, change=hostile)
    with serving(recorded, routes(hostile)) as url:
        yield url


@pytest.mark.parametrize("place", PLACES)
async def test_hostile_text_in_every_field_never_runs(
    browser: Any, hostile_url: str, place: str
) -> None:
    where = f"{hostile_url}/console#/{MARKET}/" + place.format(job=f"job_{MARKET}_00000007")
    async with opened(browser, where, token=token()) as it:
        it.expected += ["410", "GPU stall", "GL Driver Message", "WebGL"]
        await it.page.get_by_role("heading", level=1).wait_for()
        # It is shown as it was written: not merely left out.
        await expect(it.page.get_by_text("window.ran = true").first).to_be_attached()
        await it.page.wait_for_timeout(300)
        assert await it.page.evaluate("window.ran") is None
        made = "document.querySelectorAll('main iframe, main img, main script, main svg').length"
        assert await it.page.evaluate(made) == 0
        origins = await it.page.evaluate("[...document.links].map((it) => it.origin)")
        assert set(origins) <= {hostile_url}
        await check_fits_everywhere(it.page)


@pytest.mark.parametrize("name", PLACES_OF_PEOPLE)
async def test_hostile_text_never_runs_on_pages_of_people(
    browser: Any, hostile_url: str, name: str
) -> None:
    async with opened_person(browser, hostile_url, name) as it:
        await expect(it.page.get_by_text("window.ran = true").first).to_be_attached()
        await it.page.wait_for_timeout(300)
        assert await it.page.evaluate("window.ran") is None
        made = "document.querySelectorAll('main iframe, main img, main script, main svg').length"
        assert await it.page.evaluate(made) == 0
        protocols = await it.page.evaluate("[...document.links].map((it) => it.protocol)")
        assert set(protocols) <= {"http:", "https:", "tel:", "geo:"}
        await check_fits_everywhere(it.page)


async def check_fits_everywhere(page: Page) -> None:
    for width, height in SIZES.values():
        await page.set_viewport_size({"width": width, "height": height})
        await settled(page)
        await check_fits(page)


class _Foreign(BaseHTTPRequestHandler):
    """A page of somebody else, on another port and so of another origin."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Foreign</title><h1>Foreign</h1>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@pytest.fixture(scope="module")
def foreign_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest_asyncio.fixture(loop_scope="session")
async def foreign(browser: Any, node: Node, foreign_url: str) -> AsyncIterator[Any]:
    """A foreign page in the profile of somebody who is signed in to the console in another tab."""
    async with opened(browser, f"{node.url}/console", token=make_token("ops", "operator")) as it:
        await it.page.get_by_role("heading", level=1).wait_for()
        page = await it.page.context.new_page()
        await page.goto(foreign_url)
        yield page


CALL: Final = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, { method: "POST", credentials: "include", ...options });
    return [answer.type, answer.status, await answer.text()];
  } catch (error) {
    return ["refused", 0, ""];
  }
}
"""


async def test_call_of_a_foreign_page_is_refused(
    foreign: Any, node: Node, place: Place, operator: Shop
) -> None:
    order = place.order(external_id="by-a-foreign-page")
    sent = (
        {"body": json.dumps(order), "headers": {"content-type": "application/json"}},
        {"body": json.dumps(order), "mode": "no-cors"},
        {"body": json.dumps(order), "mode": "no-cors", "headers": {"content-type": "text/plain"}},
    )
    for options in sent:
        kind, status, text = await foreign.evaluate(CALL, [f"{node.url}/v1/jobs", options])
        assert (kind in {"refused", "opaque"}, status, text) == (True, 0, "")
    found = await operator.http.get("/v1/jobs", params={"external_id": "by-a-foreign-page"})
    assert found.json()["items"] == []


async def test_foreign_page_cannot_read_an_exchanged_token(
    foreign: Any, node: Node, keep: KeepToken
) -> None:
    code = await keep(make_token("ops", "operator"))
    body = json.dumps({"code": code})
    sent = (
        {"body": body, "headers": {"content-type": "application/json"}},
        {"body": body, "headers": {"content-type": "text/plain"}},
        {"body": body, "mode": "no-cors"},
    )
    for options in sent:
        answer = await foreign.evaluate(CALL, [f"{node.url}/v1/session/exchange", options])
        assert answer[0] in {"refused", "opaque"}
        assert answer[2] == ""
    # Nothing of it stays in the browser, so nobody is signed in by a link of others.
    assert await foreign.context.cookies() == []


async def test_foreign_page_cannot_frame_ours(foreign: Any, node: Node) -> None:
    for page in ("console", "driver", "shop", "docs"):
        await foreign.evaluate(
            """(url) => new Promise((done) => {
              const frame = document.createElement("iframe");
              frame.onload = done;
              frame.src = url;
              document.body.replaceChildren(frame);
            })""",
            f"{node.url}/{page}",
        )
        (frame,) = foreign.main_frame.child_frames
        assert node.url not in frame.url, f"/{page} is shown in a frame"


async def test_no_answer_sets_a_cookie_or_lets_others_read(node: Node) -> None:
    """Of pages, their files, the API and what fails: a session is a token in a header only."""
    bearer = {"Authorization": f"Bearer {make_token('ops', 'operator')}"}
    asked = [
        ("GET", path, headers)
        for path in ("/console", "/driver", "/shop", "/docs", f"/track/{'x' * 24}", "/v1/markets")
        for headers in ({}, bearer, {"Origin": "https://evil.example", "Cookie": "session=x"})
    ]
    asked += [("POST", "/v1/session/exchange", {}), ("OPTIONS", "/v1/jobs", bearer)]
    async with httpx2.AsyncClient(base_url=node.url, timeout=GUARD_S) as client:
        for method, path, headers in asked:
            answer = await client.request(method, path, headers=headers)
            assert "set-cookie" not in answer.headers, path
            allowed = [it for it in answer.headers if it.startswith("access-control-")]
            assert allowed == [], path


async def test_no_operation_takes_a_token_from_a_cookie_or_an_address(node: Node) -> None:
    """What a browser sends by itself, from whatever page, signs nobody in."""
    token = make_token("ops", "operator")
    called = 0
    async with httpx2.AsyncClient(base_url=node.url, timeout=GUARD_S) as client:
        for operation in OPERATIONS:
            # The socket takes its token in the first frame.
            if not operation.roles or operation.name == "openDriverSocket":
                continue
            answer = await client.request(
                operation.method.upper(),
                re.sub(r"{[^}]*}", "x", operation.path),
                params={"token": token, "access_token": token},
                headers={
                    "Cookie": f"token={token}; session={token}; Authorization=Bearer {token}",
                    "Origin": "https://evil.example",
                    "Content-Type": "application/json",
                },
            )
            assert answer.status_code == 401, (operation.name, answer.text)
            called += 1
    assert called > 50


async def test_signed_out_page_shows_nothing_of_before(
    open_page: OpenPage, node: Node, orders: Shop, place: Place
) -> None:
    job = await orders.submit(place.order())
    elsewhere = "https://evil.example/"
    path = f"/console?next={elsewhere}&redirect=//evil.example#/phoenix/orders"
    async with open_page(path) as it:
        page = it.page
        field = page.get_by_label("Token")
        await field.fill(make_token("ops", "operator"))
        await page.keyboard.press("Enter")
        await page.get_by_text(job["external_id"]).first.wait_for()
        await page.evaluate("location.hash = '//evil.example/orders'")
        await page.get_by_role("heading", name="Exceptions").wait_for()
        assert page.url.startswith(node.url)
        await page.get_by_role("button", name="Sign out").click()
        await field.wait_for()
        for turn in (page.go_back, page.go_forward, page.reload):
            await turn()
            await field.wait_for()
            assert page.url.startswith(node.url)
            assert job["external_id"] not in await page.content()
        kept = "Promise.all([sessionStorage.length, localStorage.length, caches.keys()])"
        assert await page.evaluate(kept) == [0, 0, []]


async def test_session_of_a_tab_is_not_that_of_another(open_page: OpenPage, node: Node) -> None:
    async with open_page("/console", token=make_token("ops", "operator")) as it:
        await it.page.get_by_role("heading", level=1).wait_for()
        kept = "[sessionStorage.length, localStorage.length, document.cookie]"
        assert await it.page.evaluate(kept) == [1, 0, ""]
        assert "eyJ" not in it.page.url
