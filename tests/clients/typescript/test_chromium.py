"""The TypeScript client in Chromium: the scenarios of the Python client, with the same checks."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.apps import TokenProvider
from tests.clients.scenario import as_params, play
from tests.clients.typescript.chromium import Chromium, PageApp, needs_chromium

pytestmark = needs_chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Chromium]:
    async with Chromium.running() as browser:
        yield browser


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", as_params())
async def test_scenario_has_the_recorded_outcome(
    chromium: Chromium, scenario: dict[str, Any]
) -> None:
    def make(url: str, tokens: TokenProvider, options: dict[str, Any]) -> PageApp:
        return PageApp(chromium, url, tokens, options)

    await play(scenario, make, answers_probes=True)
