"""Writes that are confirmed only when they are on a replica or on the disk."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import redis

from mallard_engine.core.model import Need, Submission
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.durability import WAIT_MS, NotDurable
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.fitness import inspect_url
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.workload.stores import SentinelGroup
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import LAT, LON, MALL, MARKET, _body
from tests.support import eventually

_numbers = itertools.count(1)
_HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def group(redis_binary: Path | None) -> Iterator[SentinelGroup]:
    with SentinelGroup(replicas=1, binary=redis_binary) as group:
        yield group


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


def has(server: EmbeddedServer, job: str) -> bool:
    with redis.Redis.from_url(server.url) as client:
        return bool(client.exists(f"mallard:{{{MARKET}}}:job:{job}"))


async def test_confirmed_order_is_on_the_replica(group: SentinelGroup) -> None:
    async with storage(group.url, "replica") as store:
        orders = [submission(f"key-{n}") for n in range(50)]
        done = await asyncio.gather(*(store.jobs.submit(order) for order in orders))
        assert all(has(replica_of(group), each.job.id) for each in done)


async def test_every_replica_that_answers_is_waited_for(redis_binary: Path | None) -> None:
    with SentinelGroup(replicas=2, binary=redis_binary) as group:
        first, second = (it for it in group.servers if it is not group.master())
        async with storage(group.url, "replica") as store:
            await store.jobs.submit(submission("which finds out how many there are"))
            order = submission("waits")
            os.kill(first.pid, signal.SIGSTOP)
            try:
                submitting = asyncio.ensure_future(store.jobs.submit(order))
                await eventually(lambda: has(second, order.job))
                await asyncio.sleep(0.1)
                assert not submitting.done()
                await submitting  # without it, after a while
                began_s = time.monotonic()
                for number in range(5):
                    await store.jobs.submit(submission(f"left out {number}"))
                assert time.monotonic() - began_s < 5 * WAIT_MS / 1000
            finally:
                os.kill(first.pid, signal.SIGCONT)


async def test_order_without_its_replica_is_refused_and_found_again(group: SentinelGroup) -> None:
    replica, order = replica_of(group), submission("once")
    async with storage(group.url, "replica") as store:
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(NotDurable, match="not on a replica in time: repeat the call"):
                await store.jobs.submit(order)
            assert time.monotonic() - began < 5
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
        with pytest.raises(NotDurable, match="failed over"):
            await barriers.passed(keys, "replica", other.runner.link.primaries()[0])


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


async def test_missing_replica_is_reported(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, tcp=True) as server:
        found = [it.text for it in await inspect_url(server.url, demands={"replica"})]
        assert any("no replica is connected" in text for text in found)
        assert any("min-replicas-to-write is 0" in text for text in found)
