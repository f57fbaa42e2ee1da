"""Chromium with one page open, watched for what no page may do."""

import io
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.support import GUARD_S

ROOT: Final = Path(__file__).parent.parent.parent
AXE: Final = ROOT / "engine/pages/node_modules/axe-core/axe.min.js"
SCREENSHOTS: Final = ROOT / "docs/screenshots"
# `make screenshots` sets it: pictures are written then, and not otherwise.
DRAWS: Final = "MALLARD_SCREENSHOTS" in os.environ
_MOST_PICTURE_BYTES: Final = 100_000
# Of each wait for an element and each `expect`. It only bounds a test that fails.
_WAIT_MS: Final = GUARD_S * 1000
expect.set_options(timeout=_WAIT_MS)

Scheme = Literal["light", "dark"]
SIZES: Final = {"phone": (390, 844), "tablet": (1024, 768), "desktop": (1440, 900)}
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
# What `session.ts` keeps the token of a tab under.
_TOKEN_KEY: Final = "mallard.token"
# What may be wider than its room: it has its own bar, or fades out.
SCROLLS_SIDEWAYS: Final = ".table-scroll, .chips, .filters, .nav, pre"
_WIDE: Final = """(sideways) => {
  const scrolls = (it) =>
    it === document.documentElement || /auto|scroll/.test(getComputedStyle(it).overflowX);
  return [...document.querySelectorAll("*")]
    .filter((it) => it.scrollWidth > it.clientWidth && scrolls(it) && !it.matches(sideways))
    .map((it) => `${it.tagName} ${it.className}: ${it.scrollWidth} px in ${it.clientWidth} px`);
}"""


def chromium() -> str | None:
    """Return the path of the browser; None without one."""
    return os.environ.get("MALLARD_CHROMIUM") or shutil.which("chromium")


@asynccontextmanager
async def running_browser(flags: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Start Debian's Chromium, with further flags."""
    path = chromium()
    assert path is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path,
            # Tests run as root in containers, where no sandbox can be set up; the pages are ours.
            args=["--no-sandbox", "--disable-dev-shm-usage", *flags],
            env={**os.environ, "FONTCONFIG_FILE": str(Path(__file__).with_name("fonts.conf"))},
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """An open page, and the faults that were seen on it.

    `expected`: parts of console messages that the test provokes, such as the status of a refusal.
    `asked`: how many requests it has made; `asking`: those still open, streams included.
    """

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    asked: int = 0
    asking: set[Request] = field(default_factory=set)

    def watch(self) -> None:
        """Start to watch."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"not caught: {error}"))
        self.page.on("request", self._request)
        self.page.on("requestfinished", self._ended)
        self.page.on("requestfailed", self._ended)

    def _console(self, message: ConsoleMessage) -> None:
        # A violation of the content security policy is an error of the console too.
        if message.type in {"error", "warning"}:
            self.faults.append(f"{message.type}: {message.text}")

    def _ended(self, request: Request) -> None:
        self.asking.discard(request)

    def _request(self, request: Request) -> None:
        self.asked += 1
        self.asking.add(request)
        if urlsplit(request.url).scheme in {"blob", "data"}:
            return
        if not request.url.startswith(self.origin):
            self.faults.append(f"asked another host: {request.url}")
        if "eyJ" in request.url:
            self.faults.append(f"a token in an address: {request.url}")

    def check(self) -> None:
        """Fail if anything is wrong that the test did not expect."""
        wrong = [it for it in self.faults if not any(part in it for part in self.expected)]
        assert wrong == [], wrong


@asynccontextmanager
async def opened(
    browser: Browser,
    url: str,
    *,
    size: str = "desktop",
    scheme: Scheme = "light",
    token: str | None = None,
    script: str | None = None,
    at: datetime | None = None,
    **context: Any,
) -> AsyncIterator[Watched]:
    """Open a page in a browser profile of its own; at the end check what was seen of it.

    Args:
        token: the page is signed in with it from the start.
        script: runs before those of the page.
        at: the time by the page's clock, which stands still; None: the machine's.
        context: further arguments of Playwright's `new_context`.
    """
    width, height = SIZES[size]
    profile = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=size != "desktop",
        reduced_motion="reduce",
        locale="en-US",
        **context,
    )
    try:
        if token is not None:
            await profile.add_init_script(f"sessionStorage.setItem('{_TOKEN_KEY}', '{token}')")
        if script is not None:
            await profile.add_init_script(script)
        profile.set_default_timeout(_WAIT_MS)
        page = await profile.new_page()
        if at is not None:
            await page.clock.set_fixed_time(at)
        parts = urlsplit(url)
        watched = Watched(page, f"{parts.scheme}://{parts.netloc}/")
        watched.watch()
        await page.goto(url)
        yield watched
        assert await profile.cookies() == []
        watched.check()
    finally:
        await profile.close()


async def check_accessible(page: Page, without: Sequence[str] = ()) -> None:
    """Fail for each finding of axe on the page as it is.

    Args:
        without: rules that do not fit here; the test says why.
    """
    # Not `add_script_tag`, which the content security policy forbids.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"rules": {rule: {"enabled": False} for rule in without}}
    found = await page.evaluate("options => axe.run(document, options)", options)
    said = [
        f"{it['id']}: {it['help']}: {node['target']} {node['html'][:200]}"
        for it in found["violations"]
        for node in it["nodes"]
    ]
    if said:
        pytest.fail("\n".join(said))


async def settled(page: Page) -> None:
    """Wait until a change of size or scheme is drawn.

    A colour on its way from one scheme to the other has the contrast of neither. Its transition
    begins with the frame after the change.
    """
    await page.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          for (let turn = 0; turn < 3; turn += 1) {
            await frame();
            await frame();
            await Promise.allSettled(document.getAnimations().map((it) => it.finished));
          }
        }"""
    )


async def check_fits(page: Page) -> None:
    """Fail if the page, or a part of it that scrolls down, is wider than its room."""
    wide = await page.evaluate(_WIDE, SCROLLS_SIDEWAYS)
    assert wide == [], wide


async def check_looks(page: Page, name: str | None = None, without: Sequence[str] = ()) -> None:
    """Check the page as it is, and draw it, in every size and scheme.

    Args:
        name: of the pictures: `docs/screenshots/NAME-SIZE-SCHEME.png`; None: none are drawn.
        without: as in `check_accessible`.
    """
    before = page.viewport_size
    # Otherwise the button that was pressed last is drawn as hovered.
    await page.mouse.move(0, 0)
    for number, (size, (width, height)) in enumerate(SIZES.items()):
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            await settled(page)
            await check_fits(page)
            # Each size and each scheme once: axe takes a second.
            if scheme == SCHEMES[number % 2]:
                await check_accessible(page, without)
            if name is not None:
                await picture(page, f"{name}-{size}-{scheme}")
    if before is not None:
        await page.set_viewport_size(before)
        await settled(page)


async def picture(page: Page, name: str) -> None:
    """Write a picture of the page into `docs/screenshots` under `make screenshots`."""
    if not DRAWS:
        return
    drawn = Image.open(
        io.BytesIO(await page.screenshot(animations="disabled", caret="hide"))
    ).convert("RGB")
    # Flat colours: a palette loses next to nothing, and the picture stays small.
    for colours in (128, 64, 32):
        packed = io.BytesIO()
        flat = drawn.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        flat.save(packed, "PNG", optimize=True)
        if packed.tell() <= _MOST_PICTURE_BYTES:
            break
    assert packed.tell() <= _MOST_PICTURE_BYTES, f"{name} takes {packed.tell()} bytes"
    SCREENSHOTS.mkdir(exist_ok=True)
    (SCREENSHOTS / f"{name}.png").write_bytes(packed.getvalue())
