"""The Python client on bad networks, as `scenarios/driver.json` tells it."""

from typing import Any

import pytest

from tests.clients.scenario import scenarios, staged


def _param(scenario: dict[str, Any]) -> Any:
    marks = [pytest.mark.finding(row) for row in scenario["findings"]]
    return pytest.param(scenario, id=scenario["name"], marks=marks)


@pytest.mark.parametrize("scenario", [_param(scenario) for scenario in scenarios()])
async def test_scenario(scenario: dict[str, Any]) -> None:
    async with staged(scenario.get("options", {})) as stage:
        for number, step in enumerate(scenario["steps"], 1):
            try:
                await stage.play(step)
            except BaseException as error:
                error.add_note(f"in step {number}: {step}")
                raise
