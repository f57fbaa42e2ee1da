"""`service_level` of an order over HTTP."""

from typing import Any

import pytest

from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.http_support import Caller, order, pointers


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.mark.parametrize("level", ["express", "pooled", "same_day"])
async def test_level_of_an_order_is_shown(shop: Caller, level: str) -> None:
    job = (await shop.submit(order(service_level=level))).json()
    assert job["service_level"] == level
    assert (await shop.get(f"/v1/jobs/{job['id']}")).json()["service_level"] == level


@pytest.mark.parametrize("body", [{}, {"service_level": None}])
async def test_order_without_a_level_has_the_preset(
    engine_node: NodeFactory, body: dict[str, Any]
) -> None:
    shop = Caller(await engine_node(preset="same_day"))
    assert (await shop.submit(order(**body))).json()["service_level"] == "same_day"


@pytest.mark.parametrize("level", ["", "Express", "EXPRESS", "same-day", "next_day", 1, True, []])
async def test_wrong_level_is_refused_at_its_field(shop: Caller, level: object) -> None:
    body = order(service_level=level)
    assert pointers(await shop.submit(body)) == ["/service_level"]
    assert pointers(await shop.post("/v1/quotes", body)) == ["/service_level"]


async def test_repeated_order_keeps_its_level(engine_node: NodeFactory) -> None:
    shop = Caller(await engine_node(preset="pooled"))
    first = (await shop.submit(order(), key="k")).json()
    again = await shop.submit(order(), key="k")
    assert again.json()["id"] == first["id"]
    assert again.json()["service_level"] == "pooled"
    changed = await shop.submit(order(service_level="pooled"), key="k")
    assert changed.status_code == 422
