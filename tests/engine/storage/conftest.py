"""Fixtures of the storage tests; each test's store is audited at its end."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.script_calls import RecordingLink
from tests.engine.storage.worlds import MARKET, Clock, World


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=1)


@pytest.fixture
async def world(redis_url: str, policy: MarketPolicy) -> AsyncIterator[World]:
    """A market in a fresh store; afterwards its transitions and an audit are checked."""
    clock = Clock()
    store = RedisStorage(redis_url, {MARKET: policy}, now_ms=clock)
    store.runner.link = link = RecordingLink(redis_url, MARKET)
    await store.connect()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        world = World(store, client, redis_url, policy, clock, link)
        await world.beat()
        yield world
        await world.check_lifecycle()
        assert await world.breaches(swept=False) == ()
    await store.close()


@pytest.fixture
async def planted(world: World) -> AsyncIterator[World]:
    """A market in which a test plants breaches: it is emptied before the final audit."""
    yield world
    await world.redis.flushall()


@pytest.fixture
async def other_store(world: World) -> AsyncIterator[RedisStorage]:
    """The store of another node, on the same Redis and with the same clock."""
    store = RedisStorage(world.url, {MARKET: world.policy}, now_ms=world.clock)
    await store.connect()
    yield store
    await store.close()
