"""Each page in each state looks as it is kept in docs/screenshots, to all."""

import io
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image, ImageDraw

from tests.pages.browser import (
    SCHEMES,
    SCREENSHOTS,
    SIZES,
    Scheme,
    check_accessible,
    check_fits,
    settled,
)
from tests.pages.conftest import OpenStill
from tests.pages.focus import check_focus
from tests.pages.recorded.people import STATES as STATES_OF_PEOPLE
from tests.pages.recorded.people import opened_person
from tests.pages.recorded.still import STATES
from tests.pages.snapshots import check_picture, difference

# Each size and each scheme of each state, not every pair: the others differ by colours alone.
LOOKS: Final[tuple[tuple[str, Scheme], ...]] = (
    ("desktop", "light"),
    ("tablet", "dark"),
    ("phone", "light"),
)

# Returns the names of malls that are not wholly visible on the map.
_NAMES_OUTSIDE: Final = """() => {
  const map = document.querySelector(".map").getBoundingClientRect();
  return [...document.querySelectorAll(".map-name")].filter((name) => {
    const box = name.getBoundingClientRect();
    const fitsUpright = box.top >= map.top && box.bottom <= map.bottom;
    return !fitsUpright || box.left < map.left || box.right > map.right;
  }).map((name) => name.textContent);
}"""


@pytest.mark.parametrize("state", STATES)
async def test_state_looks_as_it_is_kept_and_needs_no_mouse(
    open_still: OpenStill, state: str, tmp_path: Path
) -> None:
    async with open_still(state) as it:
        for size, scheme in LOOKS:
            width, height = SIZES[size]
            await it.page.set_viewport_size({"width": width, "height": height})
            await it.page.emulate_media(color_scheme=scheme)
            await settled(it.page)
            await check_fits(it.page)
            await check_accessible(it.page)
            await check_picture(it.page, f"console-{state}-{size}-{scheme}", tmp_path)
        await it.page.set_viewport_size({"width": 1440, "height": 900})
        await check_focus(it.page)


@pytest.mark.parametrize("state", STATES_OF_PEOPLE)
async def test_page_of_people_looks_as_it_is_kept(
    browser: Any, still_url: str, state: str, tmp_path: Path
) -> None:
    async with opened_person(browser, still_url, state) as it:
        for size, (width, height) in SIZES.items():
            await it.page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                await it.page.emulate_media(color_scheme=scheme)
                await settled(it.page)
                await check_fits(it.page)
                await check_picture(it.page, f"{state}-{size}-{scheme}", tmp_path)
            await check_accessible(it.page)


def _png(marks: tuple[int, int, int, int] | None = None, shade: int = 0) -> bytes:
    image = Image.new("RGB", SIZES["phone"], (255 - shade, 255, 255))
    if marks:
        ImageDraw.Draw(image).rectangle(marks, fill="black")
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue()


async def test_only_large_differences_of_pictures_are_reported() -> None:
    assert difference(_png(), _png()) is None
    assert difference(_png(shade=40), _png()) is None
    assert difference(_png((10, 10, 20, 20)), _png()) is None
    said = difference(_png((10, 700, 90, 720)), _png())
    assert said == "0.52% of its pixels differ, at x 10–90, y 700–720"


async def test_changed_style_is_seen(open_still: OpenStill) -> None:
    async with open_still("orders") as it:
        await it.page.evaluate("document.documentElement.style.setProperty('--space-3', '15px')")
        await settled(it.page)
        drawn = await it.page.screenshot(animations="disabled", caret="hide")
    kept = (SCREENSHOTS / "console-orders-desktop-light.png").read_bytes()
    assert "of its pixels differ" in (difference(drawn, kept) or "")


async def test_map_that_nobody_moved_fits_a_resized_window(open_still: OpenStill) -> None:
    async with open_still("map") as it:
        for size in ("phone", "tablet", "desktop"):
            width, height = SIZES[size]
            await it.page.set_viewport_size({"width": width, "height": height})
            await settled(it.page)
            outside = await it.page.evaluate(_NAMES_OUTSIDE)
            assert outside == [], size
