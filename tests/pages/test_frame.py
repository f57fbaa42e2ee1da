"""What all pages share: they open, keep to their policy, and sign people in."""

import pytest

from tests.e2e.conftest import make_token
from tests.pages.browser import check_looks
from tests.pages.conftest import OpenPage
from tests.support import eventually

ROLES = {"/console": "operator", "/driver": "driver", "/shop": "store"}


async def test_sign_in_form_is_accessible(open_page: OpenPage) -> None:
    async with open_page("/shop") as it:
        await it.page.get_by_label("Token").wait_for()
        await check_looks(it.page, "sign-in")


@pytest.mark.parametrize("path", ROLES)
async def test_token_of_another_role_is_refused_on_the_page(open_page: OpenPage, path: str) -> None:
    wrong = make_token("x", "orders")
    async with open_page(path) as it:
        field = it.page.get_by_label("Token")
        for token, said in ((wrong, "role “orders”"), ("nonsense", "not a token")):
            await field.fill(token)
            await it.page.keyboard.press("Enter")
            await it.page.get_by_role("alert").get_by_text(said).wait_for()
        assert await field.get_attribute("aria-invalid") == "true"
        assert await it.page.evaluate("sessionStorage.length") == 0


async def test_api_reference_is_read_and_searched(open_page: OpenPage) -> None:
    async with open_page("/docs") as it:
        search = it.page.get_by_label("Search operations and messages")
        await search.wait_for()
        await search.fill("post jobs cancel")
        await it.page.get_by_role("link", name="/v1/jobs/{id}/cancel").click()
        await it.page.get_by_role("heading", level=2).get_by_text("/v1/jobs/{id}/cancel").wait_for()
        await it.page.get_by_text("not_cancellable").first.wait_for()
        await check_looks(it.page, "docs")


async def test_inline_script_and_foreign_requests_are_blocked(open_page: OpenPage) -> None:
    async with open_page("/docs") as it:
        ran = await it.page.evaluate(
            """() => {
              const element = document.createElement("div");
              element.innerHTML = '<img src="/assets/none" onerror="window.ran = true">';
              document.body.append(element);
              const script = document.createElement("script");
              script.textContent = "window.ran = true";
              document.body.append(script);
              return new Promise((done) => setTimeout(() => done(window.ran === true), 300));
            }"""
        )
        assert ran is False
        it.expected += ["Content Security Policy", "404"]
        # The browser's message may come after the result of the script above.
        await eventually(lambda: any("Content Security Policy" in fault for fault in it.faults))
