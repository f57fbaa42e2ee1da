"""Nodes at rest write to Redis at the same moments; see `tasks.move_turns`."""

import pytest

from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway import node as node_module
from tests.engine.gateway.conftest import RunningNode
from tests.support import eventually


async def test_moments_follow_the_clock_of_redis_only_at_rest(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[float | None] = []
    monkeypatch.setattr(node_module, "move_turns", clocks.append)
    await eventually(lambda: bool(clocks))
    assert set(clocks) == {None}
    monkeypatch.setattr(Dispatcher, "is_at_rest", True)
    clocks.clear()
    await eventually(lambda: bool(clocks))
    now_s = node.node.store.now_ms() / 1000
    assert clocks[0] == pytest.approx(now_s, abs=1.0)
