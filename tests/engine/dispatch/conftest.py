"""Nodes on one Redis, stopped at the end: by then nothing of theirs may be left."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.dispatch.worlds import POLICY, Node, RecordingSink

MakeNode = Callable[..., Awaitable[Node]]


@pytest.fixture
def sink() -> RecordingSink:
    """Whom every node hands its pushes to."""
    return RecordingSink()


@pytest.fixture
async def make_node(redis_url: str, sink: RecordingSink) -> AsyncIterator[MakeNode]:
    """Starts a node: ``await make_node("a", cooldown_s=1)``; figures not named are `POLICY`'s."""
    nodes: list[Node] = []

    async def make(name: str = "a", **figures: Any) -> Node:
        node = Node(name, redis_url, replace(POLICY, **figures), sink)
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
    """One node, with the tests' own policy."""
    return await make_node()
