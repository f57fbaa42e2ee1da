"""A market in a fresh Redis, and its archive in a folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mallard_engine.core.policy import MarketPolicy
from tests.engine.archive.archives import Archive
from tests.engine.storage.worlds import World, audited_world


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    """A market in virtual time; afterwards its transitions and an audit are checked."""
    async with audited_world(redis_url, MarketPolicy(max_run_jobs=1)) as world:
        yield world


@pytest.fixture
def archive(world: World, tmp_path: Path) -> Archive:
    return Archive(world, tmp_path / "archive")
