"""The places and states of the console in a world that stands still, each the same every time."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from tests.pages.browser import Watched, opened, settled
from tests.pages.recorded.load import token
from tests.pages.recorded.people import routes
from tests.pages.recorded.server import Recorded, serving
from tests.pages.recorded.world import MARKET, SMALL, World
from tests.support import eventually

START_MS: Final = 1_780_000_000_000
JOB: Final = f"job_{MARKET}_00000007"
# Name of the state → where it is, and the keys that lead to it from there.
STATES: Final = {
    "exceptions": ("exceptions", ()),
    "exceptions-selected": ("exceptions", ("j", "j")),
    "exceptions-actions": ("exceptions?group=late", ("j", ".")),
    "exceptions-none": ("exceptions?group=silent", ()),
    "keys": ("orders", ("?",)),
    "orders": ("orders", ()),
    "orders-none": ("orders?q=nothing+like+it", ()),
    "order": (f"job/{JOB}", ()),
    "explain": (f"job/{JOB}?tab=explain", ()),
    "drivers": ("drivers", ()),
    "driver": ("driver/driver-0001", ()),
    "policy": ("policy", ()),
    "new-order": ("new", ()),
    "map": ("map", ()),
    "replay": ("replay", ()),
}
# Without a style element, which the content security policy forbids.
_HIDE_PAINTED: Final = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(".maplibregl-canvas { visibility: hidden }");
  document.adoptedStyleSheets.push(sheet);
}"""
# Lists are drawn at most each 250 ms. The page's own timers run in order: however busy the machine
# is, a draw that waits comes first.
_DRAWN: Final = "new Promise((done) => setTimeout(done, 300))"


@contextmanager
def serving_still() -> Iterator[str]:
    """Serve all pages with such a world, and what happened in the minute before."""
    world = World(SMALL, START_MS - 60_000)
    kept = world.advance(START_MS)
    with serving(Recorded(world, kept, is_still=True), routes()) as url:
        yield url


async def _drawn(it: Watched) -> None:
    """Wait until everything is drawn. An answer may make the page request more."""
    asked = -1
    while asked != it.asked:
        asked = it.asked
        await eventually(lambda: all("/v1/events" in request.url for request in it.asking))
        await it.page.evaluate(_DRAWN)


@asynccontextmanager
async def opened_still(browser: Any, url: str, state: str) -> AsyncIterator[Watched]:
    """Open a state of the console, and wait until it is drawn."""
    place, keys = STATES[state]
    async with opened(
        browser,
        f"{url}/console#/{MARKET}/{place}",
        token=token(),
        at=datetime.fromtimestamp(START_MS / 1000, UTC),
        timezone_id="America/Phoenix",
    ) as it:
        it.expected += ["410", "GPU stall", "GL Driver Message", "WebGL"]
        page = it.page
        await page.get_by_role("status").get_by_text("Live").wait_for()
        await page.get_by_role("heading", level=1).wait_for()
        await page.get_by_text("Loading…").wait_for(state="detached")
        if state in ("map", "replay"):
            await page.locator(".maplibregl-canvas").wait_for()
            await page.get_by_text("Reading").wait_for(state="detached")
            # What the processor paints below the spots differs from one machine to another. A
            # change of the scheme makes another map.
            await page.evaluate(_HIDE_PAINTED)
        await _drawn(it)
        for key in keys:
            await page.locator(".grid-row").first.wait_for()
            await page.keyboard.press(key)
            # A row gets the focus with the frame after, and the next key goes on from there.
            await settled(page)
        yield it
