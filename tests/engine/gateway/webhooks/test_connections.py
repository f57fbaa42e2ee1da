"""Connections that are kept open carry one request at a time."""

import asyncio
from typing import Any, cast

import httpcore2
import pytest

from mallard_engine.core.webhooks.destinations import Destination
from mallard_engine.gateway.webhooks import connections as connections_module
from mallard_engine.gateway.webhooks.connections import Connections
from tests.support import eventually

THERE = Destination("http", "shop.example", 80)


class Stream(httpcore2.AsyncNetworkStream):
    """A connection. `has_ended`: the other side has closed it; closing it takes until `go_on`."""

    def __init__(self) -> None:
        self.has_ended = False
        self.closing, self.go_on = asyncio.Event(), asyncio.Event()

    def get_extra_info(self, info: str) -> bool:
        assert info == "is_readable"
        return self.has_ended

    async def aclose(self) -> None:
        self.closing.set()
        await self.go_on.wait()


class Network(httpcore2.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self, host: str, *_: object, **__: object
    ) -> httpcore2.AsyncNetworkStream:
        assert host == THERE.host
        return Stream()


async def test_two_requests_never_share_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """One looks for a connection while the other sweeps those that have ended."""
    used: list[Stream] = []
    answered = asyncio.Event()

    async def exchange(stream: Stream, _request: bytes) -> tuple[int, bool]:
        used.append(stream)
        await answered.wait()
        return 204, True

    monkeypatch.setattr(connections_module, "exchange", exchange)
    connections = Connections(cast(Any, {"http": Network()}), None)
    begun = [asyncio.create_task(connections.ask(THERE, b"")) for _ in range(2)]
    await eventually(lambda: len(used) == 2)
    answered.set()
    await asyncio.gather(*begun)
    good, ended = used
    assert good is not ended
    ended.has_ended = True
    used.clear()
    answered.clear()
    first = asyncio.create_task(connections.ask(THERE, b""))
    await ended.closing.wait()
    monkeypatch.setattr(connections_module, "_SWEEP_S", 0.0)
    second = asyncio.create_task(connections.ask(THERE, b""))
    await eventually(lambda: used == [good])
    ended.go_on.set()
    await eventually(lambda: len(used) == 2)
    answered.set()
    await asyncio.gather(first, second)
    assert used[0] is not used[1]
