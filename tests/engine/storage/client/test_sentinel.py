"""A master with Sentinels: found, followed after a failover, and named when nobody knows it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.links import Store
from mallard_engine.workload.stores import SentinelGroup, kill
from tests.support import eventually


@pytest.fixture(scope="module")
def group(redis_binary: Path | None) -> Iterator[SentinelGroup]:
    with SentinelGroup(binary=redis_binary) as group:
        yield group


@pytest.fixture
async def link(group: SentinelGroup) -> AsyncIterator[Link]:
    group.heal()
    link = Store(group.url).link()
    assert isinstance(link, Link)
    await link.connect()
    yield link
    await link.close()


async def writes(link: Link) -> bool:
    try:
        return bool(await link.call("SET", "k", "v") == b"OK")
    except StoreUnavailable:
        return False


async def test_calls_go_to_the_master(link: Link, group: SentinelGroup) -> None:
    assert await writes(link)
    assert str(link.address).partition(" ")[0] in group.master().url
    assert link.primaries() == (link,)
    assert link.link_of("k") is link


async def test_planned_failover_is_followed(link: Link, group: SentinelGroup) -> None:
    was, opening = group.master(), link.opening
    await asyncio.to_thread(group.fail_over)
    await eventually(lambda: group.master() is not was, timeout_s=20)
    await eventually(lambda: link.opening > opening, timeout_s=20)
    await eventually(lambda: writes(link), timeout_s=20)
    assert str(link.address).partition(" ")[0] in group.master().url


async def test_killed_master_is_replaced(link: Link, group: SentinelGroup) -> None:
    was = group.master()
    kill(was)
    await eventually(lambda: not link.connected)
    await eventually(lambda: writes(link), timeout_s=20)
    assert group.master() is not was


async def test_sentinel_that_is_away_is_skipped(group: SentinelGroup) -> None:
    group.heal()
    link = Store(group.url.replace("://", "://127.0.0.1:1,")).link()
    await link.connect()
    assert await link.call("PING") == b"PONG"
    await link.close()


async def test_unknown_service_is_named(group: SentinelGroup) -> None:
    link = Store(f"{group.url}-not").link()
    with pytest.raises(StoreUnavailable, match="knows a live master named mallard-not"):
        await link.connect()
    await link.close()


async def test_sentinels_that_are_away_are_named() -> None:
    link = Store("redis+sentinel://127.0.0.1:1/mallard").link()
    with pytest.raises(StoreUnavailable, match=r"Sentinel.* 127\.0\.0\.1:1"):
        await link.connect()
    await link.close()
