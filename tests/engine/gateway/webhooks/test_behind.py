"""An endpoint for which more is to be delivered than may wait: it gets the rest later."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from mallard_engine.gateway.webhooks import fan_out
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.webhooks.conftest import LOOPBACK
from tests.engine.gateway.webhooks.receiver import Heard, Receiver, always, answer
from tests.engine.gateway.webhooks.support import create, disabled, read
from tests.support import eventually

EVENTS = 30
MOST = 10


@pytest.fixture
async def held(
    engine_node: NodeFactory, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[RunningNode, str, asyncio.Event]]:
    """A node, an endpoint that is behind, and what lets its receiver answer."""
    monkeypatch.setattr("mallard_engine.storage.calls.events.webhooks.PACED_AT", MOST)
    monkeypatch.setattr(fan_out, "_REPLAY_UNTIL", MOST - 2)
    monkeypatch.setattr(fan_out, "_REPLAY_PAGE", 4)
    node = await engine_node(webhook_allow=(LOOPBACK,))
    gate = asyncio.Event()

    async def reply(_heard: Heard) -> bytes:
        await gate.wait()
        return answer(204)

    receiver.reply = reply
    made = await create(node, receiver.url)
    await node.submit()
    await receiver.hears(1)
    for _ in range(EVENTS - 1):
        await node.submit()

    async def is_behind() -> bool:
        return bool(await node.node.store.webhooks.behind())

    await eventually(is_behind)
    yield node, made["id"], gate
    gate.set()


async def test_endpoint_that_is_behind_gets_all(
    held: tuple[RunningNode, str, asyncio.Event], receiver: Receiver
) -> None:
    node, name, gate = held
    assert (await read(node, name))["waiting"] <= MOST
    gate.set()
    heard = await receiver.hears(EVENTS)
    assert len({it.id for it in heard}) == EVENTS

    async def is_level() -> bool:
        return not await node.node.store.webhooks.behind()

    await eventually(is_level)
    assert (await read(node, name))["state"] == "enabled"
    await node.submit()
    await receiver.hears(EVENTS + 1)


async def test_endpoint_that_missed_events_says_so(
    held: tuple[RunningNode, str, asyncio.Event], receiver: Receiver, redis_url: str
) -> None:
    """The gap is announced, not skipped in silence. Deliveries succeed, so it stays enabled."""
    node, name, gate = held
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        (events,) = await client.keys("*{phoenix}:events")
        await client.xtrim(events, maxlen=1, approximate=False)
    assert "missed_until" not in await read(node, name)
    gate.set()

    async def is_announced() -> bool:
        return "missed_until" in await read(node, name)

    await eventually(is_announced)
    assert (await read(node, name))["state"] == "enabled"


async def test_endpoint_that_does_not_succeed_is_read_on(
    held: tuple[RunningNode, str, asyncio.Event],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its events wait in the stream alone; without being read they would never be too many."""
    node, name, gate = held
    monkeypatch.setattr(fan_out, "BACKLOG_PATIENCE_S", 0)
    monkeypatch.setattr("mallard_engine.storage.calls.events.webhooks.BACKLOG_PATIENCE_S", 0)
    monkeypatch.setattr("mallard_engine.storage.calls.events.webhooks.MAX_WAITING", EVENTS // 2)
    receiver.reply = always(answer(500))
    gate.set()
    seen = await disabled(node, name)
    assert seen["disabled_reason"] == "backlog"
    assert seen["undelivered_since"]
    assert not await node.node.store.webhooks.behind()
