"""The Python client on bad networks, as `scenarios/driver.json` tells it."""

from typing import Any

import pytest

from tests.clients.scenario import as_params, play


@pytest.mark.parametrize("scenario", as_params())
async def test_scenario_has_the_recorded_outcome(scenario: dict[str, Any]) -> None:
    await play(scenario)
