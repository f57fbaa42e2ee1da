"""The way of the focus through a page, for those who have no mouse."""

import re
from typing import Any, Final

import pytest
from playwright.async_api import Page

from tests.support import eventually

# What has the focus: its name, whether one sees that it has it, and whether it can be seen itself.
_FOCUSED: Final = """() => {
  const it = document.activeElement;
  if (it === null || it === document.body) return null;
  const style = getComputedStyle(it);
  const box = it.getBoundingClientRect();
  const label = it.id ? document.querySelector(`label[for="${CSS.escape(it.id)}"]`) : null;
  const named = it.getAttribute("aria-labelledby");
  return {
    name: (it.getAttribute("aria-label") ?? (named && document.getElementById(named)?.textContent)
      ?? label?.textContent ?? it.closest("label")?.textContent ?? it.textContent).trim(),
    isMarked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    isShown: box.width > 0 && box.height > 0 && style.visibility === "visible",
    tag: it.outerHTML.slice(0, 120),
  };
}"""
MOST_STOPS: Final = 200


async def check_focus(page: Page) -> None:
    """Fail unless each stop of the focus has a name, is seen and is marked, and none holds it."""
    was_open = await page.locator("dialog[open]").count() == 1
    stops = int(await _focused(page) is not None)
    for _ in range(MOST_STOPS):
        await page.keyboard.press("Tab")
        found = await _focused(page)
        if found is None:
            break  # past the last one: the focus is with the browser
        stops += 1
        assert found["name"], found["tag"]
        assert found["isMarked"], found["tag"]
        assert found["isShown"], found["tag"]
    else:
        assert was_open, "the focus is held outside of a dialog"
    assert stops > 0


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until something of that name (a pattern) has the focus."""
    for _ in range(MOST_STOPS):
        await page.keyboard.press("Tab")
        found = await _focused(page)
        if found is not None and re.search(name, found["name"]):
            return
    pytest.fail(f"the focus never comes to {name}")


async def go_by_keys(page: Page, keys: str, place: str) -> None:
    """Press the two keys of a place until they lead there, and wait until it is shown.

    The second key must follow soon: if the machine stood still in between, both are pressed again.
    """

    async def is_there() -> bool:
        await page.keyboard.type(keys)
        return str(await page.evaluate("location.hash")).endswith(f"/{place}")

    await eventually(is_there)
    await page.locator(f'.nav [aria-current="page"][href$="/{place}"]').wait_for()


async def select_row(page: Page, text: str) -> None:
    """Press `j` until the row with that text is the selected one."""
    for _ in range(MOST_STOPS):
        await page.keyboard.press("j")
        # The row gets the focus with the next frame.
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => done()))")
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => done()))")
        if text in await page.evaluate("document.activeElement.textContent"):
            return
    pytest.fail(f"no row with {text}")


async def _focused(page: Page) -> Any:
    return await page.evaluate(_FOCUSED)
