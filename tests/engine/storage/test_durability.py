"""Writes that are confirmed only when they are on a replica or on the disk."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
import redis

from mallard_engine.core.model import Need, Submission
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage import replicas
from mallard_engine.storage.durability import WAIT_MS, NotDurable, server_of
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.fitness import inspect_url
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.workload.redis_groups import SentinelGroup
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import LAT, LON, MALL, MARKET, _body
from tests.support import Standstill, eventually

_numbers = itertools.count(1)
_HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def group(redis_binary: Path | None) -> Iterator[SentinelGroup]:
    with SentinelGroup(replicas=1, binary=redis_binary) as group:
        yield group


@pytest.fixture(autouse=True)
def patience() -> None:
    """Leave the limits as they are: these tests are about a Redis that is away."""


def submission(key: str) -> Submission:
    number, now_ms = next(_numbers), int(time.time() * 1000)
    need = Need(
        stores=("lego",),
        ready_ms=now_ms,
        deadline_ms=now_ms + 2 * _HOUR_MS,
        expires_ms=now_ms + _HOUR_MS,
        lat=LAT,
        lon=LON,
        parcels=2,
        weight_g=1_200,
        volume_l=8.5,
        requires=(),
        priority=0,
        created_ms=now_ms,
    )
    return Submission(
        job=f"job_{MARKET}.{number:026d}",
        market=MARKET,
        service="toys",
        mall=MALL,
        key=key,
        body_hash="hash",
        external_id=None,
        state=JobState.QUEUED,
        release_ms=now_ms,
        body=_body(number, ("lego",), {}),
        card=b"card",
        need=need,
    )


@asynccontextmanager
async def storage(
    url: str, durability: Literal["none", "replica", "disk"]
) -> AsyncIterator[RedisStorage]:
    policy = replace(MarketPolicy(), durability=durability)
    store = RedisStorage(url, {MARKET: policy})
    await store.connect()
    yield store
    await store.close()


def replica_of(group: SentinelGroup) -> EmbeddedServer:
    return next(server for server in group.servers if server is not group.master())


def port_of(server: EmbeddedServer) -> int:
    return urlsplit(server.url).port or 0


async def confirms(store: RedisStorage, *, replicas_known: int) -> bool:
    """Submit an order; whether so many replicas are waited for from now on."""
    with suppress(NotDurable):
        await store.jobs.submit(submission(f"known-{next(_numbers)}"))
    link, barriers = store.runner.link.primaries()[0], store.runner.barriers
    assert barriers is not None
    return len(barriers.replicas.wanted(server_of(link.peer))) == replicas_known


def has(server: EmbeddedServer, job: str) -> bool:
    with redis.Redis.from_url(server.url) as client:
        return bool(client.exists(f"mallard:{{{MARKET}}}:job:{job}"))


async def test_confirmed_order_is_on_the_replica(group: SentinelGroup) -> None:
    async with storage(group.url, "replica") as store:
        orders = [submission(f"key-{n}") for n in range(50)]
        done = await asyncio.gather(*(store.jobs.submit(order) for order in orders))
        assert all(has(replica_of(group), each.job.id) for each in done)


async def test_silent_replica_counts_until_it_is_long_behind(
    redis_binary: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SentinelGroup(replicas=2, binary=redis_binary) as group:
        first, second = (it for it in group.servers if it is not group.master())
        async with storage(group.url, "replica") as store:
            await eventually(lambda: confirms(store, replicas_known=2))
            os.kill(first.pid, signal.SIGSTOP)
            try:
                order = submission("first is silent")
                with pytest.raises(NotDurable, match="not on every replica in time"):
                    await store.jobs.submit(order)
                assert has(second, order.job)
                monkeypatch.setattr(replicas, "COUNTS_S", 0.0)
                await store.jobs.submit(submission("without it"))
            finally:
                os.kill(first.pid, signal.SIGCONT)


async def test_replaced_master_with_another_replica_confirms_nothing(
    redis_binary: Path | None,
) -> None:
    with ExitStack() as servers:
        start = partial(EmbeddedServer, tcp=True, binary=redis_binary, persistent=False)
        master = servers.enter_context(start())
        following = {"replicaof": f"127.0.0.1 {port_of(master)}", "repl-diskless-sync-delay": "0"}
        first, _ = (servers.enter_context(start(options=following)) for _ in range(2))
        async with storage(master.url, "replica") as store:
            await eventually(lambda: confirms(store, replicas_known=2))
            # As a planned failover does it: the other one follows only later.
            with redis.Redis.from_url(first.url) as client:
                client.replicaof("NO", "ONE")
            with pytest.raises(NotDurable):
                await store.jobs.submit(submission("to the former master"))


async def test_master_without_replicas_refuses_within_a_second(
    tmp_path: Path, standstill: Standstill
) -> None:
    with EmbeddedServer(tmp_path, tcp=True) as server:
        async with storage(server.url, "replica") as store:
            for orders in (1, 20):
                began_s = time.monotonic()
                done = await asyncio.gather(
                    *(store.jobs.submit(submission(f"{orders}-{n}")) for n in range(orders)),
                    return_exceptions=True,
                )
                assert all(isinstance(each, NotDurable) for each in done)
                assert time.monotonic() - began_s < 5 + standstill.ms / 1000
    assert 2 * WAIT_MS < 1_000


async def test_order_without_its_replica_is_refused_and_found_again(
    group: SentinelGroup, standstill: Standstill
) -> None:
    replica, order = replica_of(group), submission("once")
    async with storage(group.url, "replica") as store:
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(NotDurable, match="not on every replica in time: repeat the call"):
                await store.jobs.submit(order)
            assert time.monotonic() - began < 5 + standstill.ms / 1000
        finally:
            os.kill(replica.pid, signal.SIGCONT)
        await eventually(lambda: has(replica, order.job))
        again = await store.jobs.submit(replace(order, job=submission("other").job))
        assert (again.job.id, again.replayed) == (order.job, True)


async def test_reads_and_other_writes_do_not_wait(group: SentinelGroup) -> None:
    replica = replica_of(group)
    async with storage(group.url, "replica") as store:
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            beat = await asyncio.wait_for(store.leases.beat(MARKET, "n1"), 5)
            assert beat.now_ms
            assert await asyncio.wait_for(store.jobs.counts(MARKET), 5) is not None
        finally:
            os.kill(replica.pid, signal.SIGCONT)


async def test_wait_that_speaks_of_another_server_is_no_confirmation(
    group: SentinelGroup, redis_url: str
) -> None:
    async with storage(group.url, "replica") as store, storage(redis_url, "none") as other:
        await store.jobs.submit(submission("first"))  # which opens the connections
        barriers, keys = store.runner.barriers, store.runner.keys[MARKET]
        assert barriers is not None
        with pytest.raises(NotDurable, match="taken over"):
            await barriers.passed(keys, "replica", other.runner.link.primaries()[0])


async def test_full_master_waits_for_its_replica(group: SentinelGroup) -> None:
    """It refuses orders, and takes and confirms accepts and steps of parcels."""
    async with storage(group.url, "replica") as store:
        await store.jobs.submit(submission("before it is full"))
        link, barriers = store.runner.link.primaries()[0], store.runner.barriers
        assert barriers is not None
        with redis.Redis.from_url(group.master().url) as client:
            client.config_set("maxmemory", 1)
            try:
                await barriers.passed(store.runner.keys[MARKET], "replica", link)
            finally:
                client.config_set("maxmemory", 0)


async def test_confirmed_order_is_on_the_disk(tmp_path: Path, redis_binary: Path | None) -> None:
    options = {"appendfsync": "always"}
    with EmbeddedServer(tmp_path, tcp=True, binary=redis_binary, options=options) as server:
        if redis_binary is not None:
            (finding,) = [it for it in await inspect_url(server.url, demands={"disk"}) if it.refuse]
            assert "needs Redis 7.2" in finding.text
            return
        async with storage(server.url, "disk") as store:
            done = await store.jobs.submit(submission("disk"))
            log = b"".join(path.read_bytes() for path in tmp_path.rglob("*.incr.aof"))
            assert done.job.id.encode() in log


async def test_server_that_cannot_sync_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, tcp=True) as server:
        refused = [it.text for it in await inspect_url(server.url, demands={"disk"}) if it.refuse]
        assert refused == ["durability is disk, and appendfsync is no: set always"]
        async with storage(server.url, "disk") as store:
            with pytest.raises(StoreUnavailable, match="not on the disk in time"):
                await store.jobs.submit(submission("disk"))


async def test_single_replica_is_reported(group: SentinelGroup) -> None:
    found = [it.text for it in await inspect_url(group.url, demands={"replica"})]
    assert any("one replica is connected: run two" in text for text in found)


async def test_missing_replica_is_reported(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, tcp=True) as server:
        found = [it.text for it in await inspect_url(server.url, demands={"replica"})]
        assert any("no replica is connected" in text for text in found)
        assert any("min-replicas-to-write is 0" in text for text in found)
