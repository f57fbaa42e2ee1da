"""Orders of one mall: how many are worked on at a time, and whose is next."""

import asyncio
from typing import Any

import pytest

from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http import submissions
from mallard_engine.gateway.http.submissions import Submissions
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.http_support import order
from tests.support import eventually


@pytest.mark.finding("A9")
async def test_operator_named_as_a_service_has_its_own_turn_at_a_mall(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "_PER_MALL", 1)
    orders = Submissions(node.node.services)
    store = orders._submit
    stored: list[str] = []
    may_store = asyncio.Event()

    async def stored_later(*args: Any, key: str, **how: Any) -> Any:
        await may_store.wait()
        stored.append(key)
        return await store(*args, key=key, **how)

    monkeypatch.setattr(orders, "_submit", stored_later)

    def submit(role: Role, key: str) -> asyncio.Task[Any]:
        caller = Principal("shop", role, None, expires_ms=0)
        return asyncio.create_task(orders.submit(order(), caller, key=key))

    crowd = [submit(Role.ORDERS, f"service-{number}") for number in range(5)]
    await eventually(lambda: len(orders._per_mall) == len(crowd))
    neighbour = submit(Role.OPERATOR, "operator")
    await eventually(lambda: len(orders._per_mall) == len(crowd) + 1)
    may_store.set()
    await asyncio.gather(*crowd, neighbour)
    # The first order holds the turn already, and the next of the service waited before.
    assert stored[:3] == ["service-0", "service-1", "operator"]
