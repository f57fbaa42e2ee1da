"""A master with Sentinels: found, followed after a failover, and named when nobody knows it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.links import Store
from mallard_engine.storage.client.sentinel import KnownMaster, SentinelWay
from mallard_engine.storage.fitness import inspect_url
from mallard_engine.workload.redis_groups import DOWN_AFTER_MS, SERVICE, SentinelGroup, ask, kill
from tests.engine.storage.proxy import store_proxy
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
    await eventually(lambda: group.master() is not was)
    await eventually(lambda: link.opening > opening)
    await eventually(lambda: writes(link))
    assert str(link.address).partition(" ")[0] in group.master().url


async def test_killed_master_is_replaced(link: Link, group: SentinelGroup) -> None:
    was = group.master()
    kill(was)
    await eventually(lambda: not link.connected)
    await eventually(lambda: writes(link))
    assert group.master() is not was


async def test_connection_leaves_a_master_that_was_replaced(
    link: Link, group: SentinelGroup
) -> None:
    was, opening = group.master(), link.opening
    # They demote a former master only after four of these.
    debug(group, "publish-period", 60_000)
    try:
        await asyncio.to_thread(group.fail_over)
        await eventually(lambda: group.master() is not was)
        await eventually(lambda: link.opening > opening)
        assert group.client(was).info("replication")["role"] == "master"
        assert str(link.address).partition(" ")[0] in group.master().url
    finally:
        debug(group, "publish-period", 500)


async def test_sentinel_that_has_missed_a_failover_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late, new = master_at(6001, epoch=4), master_at(6002, epoch=5)
    answers: dict[int, object] = {1: late, 2: replace(new, is_down=True), 3: new, 4: "no answer"}

    async def answer(_: SentinelWay, host: tuple[str, int]) -> object:
        return answers[host[1]]

    monkeypatch.setattr(SentinelWay, "_ask_one", answer)
    way = SentinelWay.parse("redis+sentinel://h:1,h:2,h:3,h:4/mallard")
    assert (await way.ask()).port == 6002
    answers |= {2: "no answer", 3: "no answer"}
    with pytest.raises(StoreUnavailable, match="knows a live master"):
        await way.ask()
    answers |= {2: late, 3: late}  # a majority, which was set up anew
    assert (await way.ask()).port == 6001


async def test_too_short_a_timeout_is_reported(group: SentinelGroup) -> None:
    group.heal()
    for after_ms, is_short in ((900, True), (DOWN_AFTER_MS, False)):
        for sentinel in group.sentinels:
            ask(sentinel, "SENTINEL", "SET", SERVICE, "down-after-milliseconds", after_ms)
        found = [it.text for it in await inspect_url(group.url) if "down-after" in it.text]
        assert bool(found) is is_short


def debug(group: SentinelGroup, *periods: str | int) -> None:
    for sentinel in group.sentinels:
        ask(sentinel, "SENTINEL", "DEBUG", *periods)


def master_at(port: int, *, epoch: int) -> KnownMaster:
    return KnownMaster(epoch, "h", port, is_down=False, down_after_ms=2_000)


async def test_sentinel_that_is_away_is_skipped(group: SentinelGroup) -> None:
    group.heal()
    link = Store(group.url.replace("://", "://127.0.0.1:1,")).link()
    await link.connect()
    assert await link.call("PING") == b"PONG"
    await link.close()


async def test_sentinels_that_answer_after_a_second_are_waited_for(group: SentinelGroup) -> None:
    group.heal()
    async with AsyncExitStack() as stack:
        hosts = urlsplit(group.url).netloc.split(",")
        fronts = [
            await stack.enter_async_context(store_proxy(f"redis://{host}/0", late_s=1.0))
            for host in hosts
        ]
        slow = ",".join(front.host for front in fronts)
        link = Store(f"redis+sentinel://{slow}/{SERVICE}").link()
        stack.push_async_callback(link.close)
        await link.connect()
        assert await link.call("PING") == b"PONG"


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
