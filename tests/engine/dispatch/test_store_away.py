"""A node during and after an outage of its store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from mallard_engine.ports import Effects, StoreUnavailable
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.worlds import LONG_LEASE_MS, MARKET, POLICY, Node, RecordingSink
from tests.support import eventually


@pytest.fixture
def server(redis_binary: Path | None, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A persistent server that a test may kill."""
    with EmbeddedServer(tmp_path, binary=redis_binary) as server:
        yield server


@pytest.fixture
async def node(server: EmbeddedServer) -> AsyncIterator[Node]:
    node = Node("a", server.url, POLICY, RecordingSink(), LONG_LEASE_MS)
    await node.start()
    yield node
    await node.stop()


def kill(server: EmbeddedServer) -> None:
    assert server._process is not None
    server._process.kill()
    server._process.wait()


async def test_disconnects_are_sent_after_an_outage(node: Node, server: EmbeddedServer) -> None:
    drivers = [f"d{n}" for n in range(300)]
    epochs = {name: (await node.online(name)).epoch for name in drivers}
    kill(server)
    for name in drivers[:-1]:
        node.dispatcher.drivers.socket_closed(MARKET, name, epochs[name])
    with pytest.raises(StoreUnavailable):
        await node.moves("d299", 900)
    assert len(node.dispatcher._disconnects) == 299
    server.revive()
    await eventually(lambda: len(node.dispatcher._disconnects) == 0)
    assert node.calls.count("disconnect") <= 12
    assert not (await node.driver("d0")).connected
    assert not (await node.driver("d298")).connected
    assert (await node.driver("d299")).connected


async def test_concurrent_closes_share_one_call(node: Node) -> None:
    epochs = {f"d{n}": (await node.online(f"d{n}")).epoch for n in range(20)}
    await node.quiet()
    for name, epoch in epochs.items():
        node.dispatcher.drivers.socket_closed(MARKET, name, epoch)
        node.dispatcher.drivers.socket_closed(MARKET, name, epoch - 1)
    await node.dispatcher._disconnects.flush()
    await node.dispatcher._disconnects.flush()
    assert node.calls.count("disconnect") == 1
    assert await node.free_drivers() == 0


async def test_close_during_an_earlier_disconnect_call_is_sent(node: Node) -> None:
    old = await node.online("d")
    disconnect = node.store.drivers.disconnect

    async def meanwhile(*call: Any) -> Effects:
        node.store.drivers.disconnect = disconnect  # type: ignore[method-assign]
        effects = await disconnect(*call)
        new = await node.hello("d")
        node.dispatcher.drivers.socket_closed(MARKET, "d", new.epoch)
        return effects

    node.store.drivers.disconnect = meanwhile  # type: ignore[method-assign,assignment]
    node.dispatcher.drivers.socket_closed(MARKET, "d", old.epoch)

    async def is_disconnected() -> bool:
        driver = await node.driver("d")
        return (driver.connected, driver.epoch) == (False, old.epoch + 1)

    await eventually(is_disconnected)
    await eventually(lambda: len(node.dispatcher._disconnects) == 0)


async def test_dispatch_continues_after_an_outage(node: Node, server: EmbeddedServer) -> None:
    await node.online("d")
    ref = await node.submit()
    offer = await node.offered(ref, "d")
    other = await node.submit()
    await node.waits(other)
    kill(server)
    with pytest.raises(StoreUnavailable):
        await node.accepts(offer)
    server.revive()
    await eventually(lambda: node.store.down_since(MARKET) is None)
    assert (await node.accepts(offer)).state is JobState.ASSIGNED
    await node.online("e")
    await node.offered(other, "e")


async def test_node_stops_without_its_store(node: Node, server: EmbeddedServer) -> None:
    hello = await node.online("d")
    kill(server)
    node.dispatcher.drivers.socket_closed(MARKET, "d", hello.epoch)
    await node.dispatcher.stop()
    assert len(node.dispatcher._tasks) == len(node.dispatcher._sweeper) == 0
    assert len(node.dispatcher._disconnects) == 1
    server.revive()


@pytest.mark.finding("B10")
async def test_repeated_script_flushes_cause_no_errors(node: Node, server: EmbeddedServer) -> None:
    """Another client sends `SCRIPT FLUSH` repeatedly while jobs are matched."""
    await node.online("d")
    with structlog.testing.capture_logs() as logs, redis.Redis.from_url(server.url) as client:
        for _ in range(100):
            client.script_flush()
            await asyncio.sleep(0.005)
        ref = await node.submit()
        client.script_flush()
        await node.offered(ref, "d")
    assert [line for line in logs if line["log_level"] == "error"] == []
