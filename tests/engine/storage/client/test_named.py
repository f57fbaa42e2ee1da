"""A host name that leads to another server later, as a managed service's does after a failover."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.storage.client import named
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.links import Store
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.support import GUARD_S, eventually

_NAME = "redis.example.test"
_URL = f"redis://{_NAME}:6379"


class Names:
    """The name service: the addresses of the name; without any it is away."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self._look_up_others = socket.getaddrinfo

    def look_up(self, host: str, *args: Any, **options: Any) -> list[Any]:
        if host != _NAME:
            return self._look_up_others(host, *args, **options)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        tcp = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
        return [(*tcp, each) for each in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    monkeypatch.setattr(named, "_LOOK_S", 0.0)
    return names


@pytest.fixture
def servers(tmp_path: Path, redis_binary: Path | None) -> Iterator[list[EmbeddedServer]]:
    with (
        EmbeddedServer(tmp_path / "a", tcp=True, binary=redis_binary, persistent=False) as a,
        EmbeddedServer(tmp_path / "b", tcp=True, binary=redis_binary, persistent=False) as b,
    ):
        yield [a, b]


def place_of(server: EmbeddedServer) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2].partition("/")[0])


async def test_connections_follow_a_name_while_the_server_before_lives(
    names: Names, servers: list[EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one may still take writes, which are lost."""
    monkeypatch.setattr(named, "_GONE_S", 0.05)
    a, b = map(place_of, servers)
    store = Store(_URL)
    link, tail = store.link(heartbeat_s=0.02), store.tail(heartbeat_s=0.02)
    assert isinstance(link, Link)
    assert isinstance(tail, Link)
    names.addresses = [a]
    try:
        for each in (link, tail):
            await each.connect()
        for there in (a, b, a):
            names.addresses = [there]
            await eventually(partial(_are_at, there, link, tail))
    finally:
        await link.close()
        await tail.close()


def _are_at(there: tuple[str, int], *links: Link) -> bool:
    return all(link.peer == there for link in links)


@pytest.fixture
async def link(names: Names, servers: list[EmbeddedServer]) -> AsyncIterator[Link]:
    """A connection to the first server."""
    names.addresses = [place_of(servers[0])]
    link = Store(_URL).link()
    assert isinstance(link, Link)
    try:
        await link.connect()
        yield link
    finally:
        await link.close()


async def test_name_that_keeps_an_address_or_is_unknown_leads_nowhere_else(
    names: Names, servers: list[EmbeddedServer], link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "_GONE_S", 0.0)
    a, b = map(place_of, servers)
    for addresses in ([a, b], [], [b, a], [a]):
        names.addresses = addresses
        assert await link.address.failovers() == 0
    names.addresses = [b]
    assert await link.address.failovers() == 1


async def test_alternating_answers_lead_nowhere_else(
    names: Names, servers: list[EmbeddedServer], link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches of several resolvers differ for a while."""
    monkeypatch.setattr(named, "_GONE_S", 1_000.0)
    a, b = map(place_of, servers)
    for addresses in ([b], [a], [b], [b]):
        names.addresses = addresses
        assert await link.address.failovers() == 0


async def test_one_name_is_looked_up_at_a_time(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up takes a thread, for seconds if the name service is away."""
    begun, goes_on = threading.Semaphore(0), threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        begun.release()
        goes_on.wait(GUARD_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    link = Store(_URL).link()
    assert isinstance(link, Link)
    first = asyncio.create_task(link.address.failovers())
    try:
        await eventually(partial(begun.acquire, blocking=False))
        assert await link.address.failovers() == 0
        assert not begun.acquire(blocking=False)
    finally:
        goes_on.set()
        await first
