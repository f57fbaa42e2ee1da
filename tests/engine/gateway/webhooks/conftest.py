"""Receivers of webhooks, and nodes that may post to loopback."""

from collections.abc import AsyncIterator

import pytest

from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.webhooks.receiver import Receiver, receiving

LOOPBACK = "127.0.0.0/8"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as it:
        yield it


@pytest.fixture
async def node(engine_node: NodeFactory) -> RunningNode:
    return await engine_node(webhook_allow=(LOOPBACK,))
