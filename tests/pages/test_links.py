"""The link of `mallard token … --link` opens a page signed in, once."""

from tests.e2e.conftest import make_token
from tests.pages.conftest import KeepToken, OpenPage


async def test_link_signs_in_and_leaves_the_address(open_page: OpenPage, keep: KeepToken) -> None:
    code = await keep(make_token("counter", "store", mall="chandler-fashion-center", store="lego"))
    async with open_page(f"/shop#{code}") as it:
        await it.page.get_by_role("heading", name="Lego").wait_for()
        assert "#" not in it.page.url
        stored = await it.page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
        assert code not in stored
        await it.page.reload()
        await it.page.get_by_role("heading", name="Lego").wait_for()
    async with open_page(f"/shop#{code}") as again:
        again.expected.append("404")
        await again.page.get_by_text("has been used or is too old").wait_for()
        assert "#" not in again.page.url
