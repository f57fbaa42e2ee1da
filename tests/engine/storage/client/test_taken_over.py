"""A connection that was overtaken while it was opened, or whose link was closed meanwhile."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import pytest
import redis

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.address import Address, P
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.sentinel import KnownMaster, SentinelWay
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.engine.storage.proxy import store_proxy
from tests.support import GUARD_S, eventually


class _Failovers(Protocol):
    async def __call__(self) -> int: ...


class _Way:
    """A way to one server, whose failovers a test makes."""

    moves: Final = True
    asks: Final = True

    def __init__(self, url: str, failovers: _Failovers | None = None) -> None:
        self._server = Address.parse(url)
        self._failovers = failovers
        self.known_failovers = 0
        self.on_open: Callable[[], None] = lambda: None

    async def failovers(self) -> int:
        return self.known_failovers if self._failovers is None else await self._failovers()

    async def open(self, protocol: Callable[[], P]) -> tuple[P, int]:
        before = self.known_failovers
        opened = (await self._server.open(protocol))[0]
        self.on_open()
        return opened, before

    def introduction(self, name: str) -> list[tuple[str | int, ...]]:
        return self._server.introduction(name)


async def test_connection_that_a_failover_overtook_is_not_used(redis_url: str) -> None:
    """Another attempt has heard of it; the server may still take writes, which are lost."""

    def take_over() -> None:
        way.known_failovers = 1

    async with store_proxy(redis_url) as proxy:
        way = _Way(proxy.url)
        way.on_open = take_over
        link = Link(way)
        with pytest.raises(StoreUnavailable, match="another server has taken over"):
            await link.connect()
        await eventually(lambda: not proxy.open)
        link.start()
        assert await link.call("PING") == b"PONG"
        await link.close()


async def test_call_that_a_replica_refused_is_sent_to_the_new_master(
    redis_binary: Path | None,
) -> None:
    with EmbeddedServer(persistent=False, tcp=True, binary=redis_binary) as server:
        way = _Way(server.url)
        link = Link(way, grace_s=GUARD_S)
        await link.connect()
        with redis.Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", 1)
            writing = asyncio.create_task(link.call("SET", "k", "v"))
            await eventually(lambda: "replica" in link.why_down)
            client.replicaof("NO", "ONE")
            assert await writing == b"OK"
        await link.close()


async def test_failover_is_noticed_beside_a_question_that_hangs(redis_url: str) -> None:
    """A majority of the Sentinels is cut off from this node: the others know the new master."""
    asked = 0

    async def failovers() -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        way.known_failovers = 1
        return 1

    way = _Way(redis_url, failovers)
    link = Link(way)
    await link.connect()
    opening = link.opening
    await eventually(lambda: link.opening > opening)
    await link.close()


async def test_link_that_was_closed_while_it_connected_stays_closed(redis_url: str) -> None:
    async with store_proxy(redis_url, late_s=0.3) as proxy:
        link = Link(proxy.url)
        connecting = asyncio.create_task(link.connect())
        await eventually(lambda: proxy.open)
        await link.close()
        with pytest.raises(StoreUnavailable, match="the link was closed"):
            await connecting
        link.start()
        await eventually(lambda: not proxy.open)
        assert not link.connected


async def test_one_sentinel_is_enough_to_notice_a_failover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epoch = 4

    async def answer(_: SentinelWay, host: tuple[str, int]) -> KnownMaster:
        if host[1] != 1:
            await asyncio.Event().wait()
        return KnownMaster(epoch, "h", 6000 + epoch, is_down=False, down_after_ms=2_000)

    monkeypatch.setattr(SentinelWay, "_ask_one", answer)
    way = SentinelWay.parse("redis+sentinel://h:1,h:2,h:3/mallard")
    assert (await way.ask()).port == 6004
    epoch = 5
    async with asyncio.timeout(GUARD_S):
        await way.ask(enough=2)
    assert way.known_failovers == 5


async def test_answers_from_before_a_failover_do_not_undo_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slow Sentinels answer after a later question has found the failover."""
    epoch, may_answer = 4, asyncio.Event()

    async def answer(_: SentinelWay, host: tuple[str, int]) -> KnownMaster:
        found = KnownMaster(epoch, "h", 6000 + epoch, is_down=False, down_after_ms=2_000)
        if host[1] != 1 and epoch == 4:
            await may_answer.wait()
        return found

    monkeypatch.setattr(SentinelWay, "_ask_one", answer)
    way = SentinelWay.parse("redis+sentinel://h:1,h:2,h:3/mallard")
    slow = asyncio.create_task(way.ask(enough=2))
    await asyncio.sleep(0.01)
    epoch = 5
    assert (await way.ask()).port == 6005
    may_answer.set()
    with pytest.raises(StoreUnavailable):
        await slow
    assert way.known_failovers == 5
