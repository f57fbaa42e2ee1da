"""Fixtures of the storage tests; each test's Redis is audited at its end."""

from collections.abc import AsyncIterator

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.worlds import MARKET, World, audited_world


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=1)


@pytest.fixture
async def world(redis_url: str, policy: MarketPolicy) -> AsyncIterator[World]:
    """A market in a fresh Redis; afterwards its transitions and an audit are checked."""
    async with audited_world(redis_url, policy) as world:
        yield world


@pytest.fixture
async def planted(world: World) -> AsyncIterator[World]:
    """A market in which a test plants breaches: it is emptied before the final audit."""
    yield world
    await world.redis.flushall()


@pytest.fixture
async def other_store(world: World) -> AsyncIterator[RedisStorage]:
    """The storage of another node, on the same Redis and with the same clock."""
    store = RedisStorage(world.url, {MARKET: world.policy}, now_ms=world.clock)
    await store.connect()
    yield store
    await store.close()
