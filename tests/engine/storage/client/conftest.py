"""A server that a test may kill, and a link to a shared one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mallard_engine.storage.client.client import Link
from mallard_engine.storage.embedded.server import EmbeddedServer


@pytest.fixture(autouse=True)
def patience() -> None:
    """Leave the limits as they are: these tests are about a Redis that is away."""


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(redis_url)
    await link.connect()
    yield link
    await link.close()


@pytest.fixture
def server(redis_binary: Path | None, tmp_path: Path) -> EmbeddedServer:
    """A server that a test may kill; the test starts it."""
    return EmbeddedServer(tmp_path, binary=redis_binary, options={"enable-debug-command": "local"})
