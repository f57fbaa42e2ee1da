"""Pictures of pages compared with those that are kept in docs/screenshots.

A page is drawn with a fixed clock, zone and font, without animations and caret, from a world that
stands still, so the same sources draw the same picture. What is kept has few colours, to be small,
and another build of Chromium draws the edge of a letter a little differently: a pixel differs when
a channel is far off, and a picture when more than a small share of its pixels does.
"""

import io
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from playwright.async_api import Page

from tests.pages.browser import DRAWS, SCREENSHOTS, picture, settled

# Of 255. The kept colours are up to 24 off, and smoothed edges of letters twice that.
_FAR: Final = 64
_MOST_SHARE: Final = 0.002


async def check_picture(page: Page, name: str, folder: Path) -> None:
    """Fail if the page does not look as the picture that is kept; `make screenshots` keeps it anew.

    Args:
        name: of the picture: `docs/screenshots/NAME.png`.
        folder: where the picture is put that does not match, for somebody to look at.
    """
    await page.mouse.move(0, 0)
    await page.evaluate("document.fonts.ready")
    await settled(page)
    if DRAWS:
        await picture(page, name)
        return
    drawn = await page.screenshot(animations="disabled", caret="hide")
    wrong = difference(drawn, (SCREENSHOTS / f"{name}.png").read_bytes())
    if wrong is not None:
        path = folder / f"{name}.png"
        path.write_bytes(drawn)
        raise AssertionError(f"{name}: {wrong}; see {path}, or keep it: make screenshots")


def difference(drawn: bytes, kept: bytes) -> str | None:
    """Return how two pictures differ; None if they look the same."""
    new, old = (np.asarray(Image.open(io.BytesIO(it)).convert("RGB"), int) for it in (drawn, kept))
    if new.shape != old.shape:
        return f"it is {new.shape[1]} × {new.shape[0]}, not {old.shape[1]} × {old.shape[0]}"
    differs = (np.abs(new - old) > _FAR).any(axis=2)
    share = float(differs.mean())
    if share <= _MOST_SHARE:
        return None
    rows, columns = differs.any(axis=1).nonzero()[0], differs.any(axis=0).nonzero()[0]
    place = f"x {columns[0]}–{columns[-1]}, y {rows[0]}–{rows[-1]}"
    return f"{share:.2%} of its pixels differ, at {place}"
