"""Calls of the Redis client: order, errors, timeouts and bounds."""

import asyncio
import os
import time
from pathlib import Path

import pytest
import redis

from mallard_engine.ports import StoreFull, StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import (
    LinkReplyError,
    StoreNotReady,
    StoreOutOfMemory,
)
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.support import at_once, eventually


async def test_replies_keep_their_types(link: Link) -> None:
    assert link.connected
    assert link.down_since is None
    assert await link.call("SET", "k", b"\x00v") == b"OK"
    assert await link.call("GET", "k") == b"\x00v"
    assert await link.call("GET", "none") is None
    assert await link.call("INCRBY", "n", 7) == 7
    assert await link.call("MGET", "k") == [b"\x00v"]


async def test_a_thousand_calls_at_once_keep_their_order(link: Link, redis_url: str) -> None:
    replies = await asyncio.gather(*(link.call("INCR", "n") for _ in range(1000)))
    assert replies == list(range(1, 1001))
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("n") == b"1000"


async def test_error_reply_fails_only_its_call(link: Link) -> None:
    commands = (("SET", "k", "v"), ("INCR", "k"), ("GET", "k"))
    replies = await asyncio.gather(
        *(link.call(*command) for command in commands), return_exceptions=True
    )
    good, bad, also_good = replies
    assert (good, also_good) == (b"OK", b"v")
    assert isinstance(bad, LinkReplyError)
    assert bad.code == "ERR"
    with pytest.raises(LinkReplyError) as caught:
        await link.call("EVALSHA", "0" * 40, 0)
    assert caught.value.code == "NOSCRIPT"


async def test_unencodable_argument_is_refused(link: Link) -> None:
    with pytest.raises(TypeError):
        await link.call("SET", "k", None)  # type: ignore[arg-type]
    assert await link.call("PING") == b"PONG"


async def test_cancelled_call_does_not_shift_the_replies(link: Link) -> None:
    call = asyncio.ensure_future(link.call("ECHO", "first"))
    await asyncio.sleep(0)
    call.cancel()
    assert await link.call("ECHO", "second") == b"second"


async def test_full_store_raises_store_full(redis_binary: Path | None) -> None:
    with EmbeddedServer(persistent=False, maxmemory_bytes=1, binary=redis_binary) as server:
        link = Link(server.url)
        await link.connect()
        with pytest.raises(StoreOutOfMemory) as caught:
            await link.call("SET", "k", "v")
        assert isinstance(caught.value, StoreFull)
        await link.close()


async def test_busy_store_counts_as_unavailable(link: Link, redis_server: EmbeddedServer) -> None:
    other = Link(redis_server.url)
    await other.connect()
    await link.call("CONFIG", "SET", "busy-reply-threshold", 1)
    spinning = asyncio.ensure_future(link.call("EVAL", "while true do end", 0))

    async def refusal() -> StoreNotReady | None:
        try:
            await other.call("GET", "k")
        except StoreNotReady as error:
            return error
        return None

    refused = await eventually(refusal)
    assert isinstance(refused, StoreUnavailable)
    assert refused.code == "BUSY"
    await other.call("SCRIPT", "KILL")
    with pytest.raises(LinkReplyError):
        await spinning
    await link.call("CONFIG", "SET", "busy-reply-threshold", 5000)
    await other.close()


async def test_blocked_loop_reads_its_replies_before_a_timeout(redis_url: str) -> None:
    link = Link(redis_url, deadline_s=0.1)
    await link.connect()
    call = asyncio.ensure_future(link.call("PING"))
    for _ in range(3):  # until it is written
        await asyncio.sleep(0)
    busy_until_s = time.monotonic() + 0.3
    while time.monotonic() < busy_until_s:
        pass  # as a stopped or busy process would
    assert await call == b"PONG"
    await link.close()


async def test_waiting_calls_are_bounded_while_down(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url, deadline_s=0.2, grace_s=2.5, max_waiting=2)
        await link.connect()
        os.kill(server.pid, 9)
        await eventually(lambda: not link.connected)
        outcomes = await asyncio.gather(
            *(link.call("GET", "k") for _ in range(3)), return_exceptions=True
        )
        away = f"the store at {link.address} cannot be reached"
        assert [str(outcome).partition(":")[0] for outcome in outcomes] == [
            away,
            away,
            "2 calls are already waiting for the store",
        ]
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        await link.close()


async def test_waiting_calls_are_bounded_while_connected(redis_url: str) -> None:
    link = Link(redis_url, max_waiting=2)
    await link.connect()
    outcomes = await asyncio.gather(*(link.call("PING") for _ in range(3)), return_exceptions=True)
    assert outcomes[:2] == [b"PONG", b"PONG"]
    assert isinstance(outcomes[2], StoreUnavailable)
    await link.close()


async def test_close_fails_waiting_calls(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url)
        await link.connect()
        waiting = asyncio.ensure_future(link.call("BLPOP", "empty", 0))
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await waiting
        with pytest.raises(StoreUnavailable, match="closed"):
            await link.call("PING")


@pytest.mark.finding("B2")
async def test_calls_fail_at_once_while_down(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url, grace_s=0.1)
        await link.connect()
        os.kill(server.pid, 9)
        await eventually(lambda: link.is_away)
        for _ in range(200):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                at_once(link.call("GET", "k"))
        await link.close()
