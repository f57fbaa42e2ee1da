"""How the Redis client notices a lost connection and opens another."""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client import client
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import (
    StoreNotReady,
    StoreTimeout,
)
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.engine.storage.client.serving import serving
from tests.engine.storage.proxy import store_proxy
from tests.support import GUARD_S, Standstill, eventually


async def test_broken_connection_fails_calls_and_reconnects(server: EmbeddedServer) -> None:
    changes: list[str] = []
    with server:
        link = Link(
            server.url,
            grace_s=GUARD_S,
            on_up=lambda: changes.append("up"),
            on_down=lambda: changes.append("down"),
        )
        await link.connect()
        await link.call("SET", "k", "v")
        waiting = asyncio.ensure_future(link.call("BLPOP", "empty", 0))
        await asyncio.sleep(0)
        os.kill(server.pid, 9)
        with pytest.raises(StoreUnavailable):
            await waiting
        await eventually(lambda: not link.connected)
        assert isinstance(link.down_since, float)
        held = asyncio.ensure_future(link.call("GET", "k"))
        await asyncio.sleep(0)
        await eventually(lambda: not server.running)
        assert server.revive()
        assert await held == b"v"
        assert link.down_since is None
        assert changes == ["up", "down", "up"]
        await link.close()


async def test_log_says_nothing_of_an_outage_after_its_end(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    class CountedLog(RateLimitedLog):
        def error(self, event: str, **fields: Any) -> None:
            super().error(event, **fields)
            tried.append(event)

    monkeypatch.setattr(client, "_often", CountedLog(client._log, interval_s=60))
    with server, capture_logs() as lines:
        link = Link(server.url)
        await link.connect()
        os.kill(server.pid, 9)
        await eventually(lambda: len(tried) > 2)
        assert server.revive()
        await eventually(lambda: link.connected)
        said = [line for line in lines if line["event"].startswith("store link")]
        down = [line for line in said if line["event"] == "store link still down"]
        assert sum(line.get("count", 1) for line in down) == len(tried)
        assert said[-1]["event"] == "store link up"
        await link.close()


async def test_overdue_call_fails_and_reconnects(
    server: EmbeddedServer,
) -> None:
    with server:
        link = Link(server.url, deadline_s=0.2)
        await link.connect()
        late = asyncio.ensure_future(link.call("DEBUG", "SLEEP", 3))
        behind = asyncio.ensure_future(link.call("GET", "k"))
        with pytest.raises(StoreTimeout):
            await late
        with pytest.raises(StoreUnavailable):
            await behind
        await eventually(lambda: link.connected)
        assert await link.call("ECHO", "mine") == b"mine"
        await link.close()


@pytest.mark.finding("B2")
async def test_stopped_store_is_noticed_without_a_call(
    server: EmbeddedServer, standstill: Standstill
) -> None:
    with server:
        link = Link(server.url)
        await link.connect()
        os.kill(server.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        try:
            await eventually(lambda: not link.connected)
            assert time.monotonic() - began_s < 4 + standstill.ms / 1000
            with pytest.raises(StoreUnavailable, match="is silent"):
                await link.call("GET", "k")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await eventually(lambda: link.connected)
        assert await link.call("ECHO", "back") == b"back"
        await link.close()


@pytest.mark.finding("B2")
async def test_half_open_connection_is_noticed(redis_url: str) -> None:
    async with store_proxy(redis_url) as proxy:
        link = Link(proxy.url, silence_s=0.3)
        await link.connect()
        proxy.silent = True
        with pytest.raises(StoreTimeout, match="is silent"):
            await link.call("GET", "k")
        assert not link.connected
        proxy.silent = False
        await eventually(lambda: link.connected)
        await link.close()


async def test_server_that_needs_seconds_to_open_a_connection_is_reached(redis_url: str) -> None:
    async with store_proxy(redis_url, late_s=2.5, once=True) as proxy:
        link = Link(proxy.url)
        await link.connect()
        opening = link.opening
        proxy.cut()
        await eventually(lambda: link.opening > opening)
        assert await link.call("ECHO", "late") == b"late"
        # The other attempts have been closed.
        await eventually(lambda: len(proxy.open) == 2)
        await link.close()


async def test_attempt_that_hangs_does_not_delay_the_next(
    redis_url: str, standstill: Standstill
) -> None:
    async with store_proxy(redis_url) as proxy:
        link = Link(proxy.url, silence_s=0.3)
        await link.connect()
        opening = link.opening
        proxy.silent = True
        await eventually(lambda: not link.connected)
        await eventually(lambda: len(proxy.open) >= 2)  # one whose handshake is discarded
        proxy.silent = False
        began_s = time.monotonic()
        await eventually(lambda: link.opening > opening)
        assert time.monotonic() - began_s < 6 + standstill.ms / 1000
        await link.close()


@pytest.mark.finding("B11")
async def test_new_outage_is_retried_within_half_a_second() -> None:
    """The port closes and counts each connection."""
    attempts: list[float] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            await reader.read(65_536)
            writer.write(b"+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+PONG\r\n")

    async with serving(refuse) as port:
        link = Link(f"redis://127.0.0.1:{port}")
        with contextlib.suppress(StoreUnavailable):
            await link.connect()
        link._reconnecting = asyncio.create_task(link._reconnect())
        await eventually(lambda: len(attempts) >= 14)
        # The median, as a busy machine may delay some retries.
        pauses = sorted(b - a for a, b in itertools.pairwise(attempts[4:]))
        assert pauses[len(pauses) // 2] < 0.5
        await link.close()


@pytest.mark.finding("B12")
async def test_connection_to_a_demoted_master_is_closed(redis_binary: Path | None) -> None:
    with EmbeddedServer(persistent=False, tcp=True, binary=redis_binary) as server:
        link = Link(server.url)
        await link.connect()
        with redis.Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreNotReady, match="READONLY"):
                await link.call("SET", "k", "v")
            await eventually(lambda: "replica" in link.why_down)
            assert not link.connected
            client.replicaof("NO", "ONE")
        await eventually(lambda: link.connected)
        await link.call("SET", "k", "v")
        await link.close()
