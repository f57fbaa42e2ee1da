"""Fixtures of the dispatch tests: nodes on one Redis, checked for leaks when they stop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.dispatch.worlds import LONG_LEASE_MS, POLICY, Node, RecordingSink

MakeNode = Callable[..., Awaitable[Node]]


@pytest.fixture
def sink() -> RecordingSink:
    """The sink that receives the pushes of every node."""
    return RecordingSink()


@pytest.fixture
async def make_node(redis_url: str, sink: RecordingSink) -> AsyncIterator[MakeNode]:
    """Start a node: ``await make_node("a", cooldown_s=1)`` changes `POLICY` for that node."""
    nodes: list[Node] = []

    async def make(name: str = "a", *, lease_ms: int = LONG_LEASE_MS, **changes: Any) -> Node:
        node = Node(name, redis_url, replace(POLICY, **changes), sink, lease_ms)
        nodes.append(node)
        return await node.start()

    yield make
    for node in nodes:
        await node.stop()
        assert len(node.dispatcher._tasks) == 0
        assert len(node.dispatcher._sweeper) == 0
        assert len(node.dispatcher._disconnects) == 0


@pytest.fixture
async def node(make_node: MakeNode) -> Node:
    """One node with `POLICY`."""
    return await make_node()
