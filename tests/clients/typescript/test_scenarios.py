"""The TypeScript client on bad networks: the scenarios, and the checks, of the Python client."""

from typing import Any

import pytest

from tests.clients.scenario import as_params, play
from tests.clients.typescript.agents import needs_node
from tests.clients.typescript.node_app import NodeApp

pytestmark = needs_node


@pytest.mark.parametrize("scenario", as_params())
async def test_scenario_has_the_recorded_outcome(scenario: dict[str, Any]) -> None:
    await play(scenario, NodeApp)
