"""A market in a fresh store, and its archive in a folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.archive.archives import Archive
from tests.engine.storage.script_calls import RecordingLink
from tests.engine.storage.worlds import MARKET, Clock, World


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    """A market in virtual time; afterwards its transitions and an audit are checked."""
    policy, clock = MarketPolicy(max_run_jobs=1), Clock()
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
def archive(world: World, tmp_path: Path) -> Archive:
    return Archive(world, tmp_path / "archive")
