"""A cluster of real servers: routing, slots that move, primaries that are lost or replaced."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import Store
from mallard_engine.storage.client.streams import StreamReader
from mallard_engine.storage.scripts import all_scripts, load_commands
from mallard_engine.workload.redis_groups import ClusterGroup, ask, kill
from tests.engine.storage.proxy import store_proxy
from tests.support import Standstill, at_once, eventually

MARKETS = ("phoenix", "northern-virginia", "las-vegas")
PHOENIX, VIRGINIA, VEGAS = (f"mallard:{{{market}}}:x" for market in MARKETS)
KEYS = (PHOENIX, VIRGINIA, VEGAS)


@pytest.fixture(scope="module")
def servers(redis_binary: Path | None) -> Iterator[ClusterGroup]:
    with ClusterGroup(binary=redis_binary) as group:
        yield group


@pytest.fixture
def cluster(servers: ClusterGroup) -> ClusterGroup:
    """The cluster, complete and empty."""
    servers.heal()
    servers.flush()
    return servers


@pytest.fixture
async def link(cluster: ClusterGroup) -> AsyncIterator[ClusterLink]:
    link = Store(cluster.url).link(handshake=load_commands())
    assert isinstance(link, ClusterLink)
    await link.connect()
    yield link
    await link.close()


def of(link: ClusterLink, key: str) -> Link:
    found = link.link_of(key)
    assert found is not None
    return found


def address_of(link: ClusterLink, key: str) -> str:
    return str(of(link, key).address)


async def test_each_key_goes_to_its_primary(link: ClusterLink, cluster: ClusterGroup) -> None:
    assert link.connected
    replies = await asyncio.gather(*(link.call("SET", key, key) for key in KEYS))
    assert replies == [b"OK"] * 3
    assert len({address_of(link, key) for key in KEYS}) == 3
    for key in KEYS:
        assert address_of(link, key) in cluster.primary_of(key).url
        assert await link.call("GET", key) == key.encode()
        assert await link.call("SCAN", "0", "MATCH", key) == [b"0", [key.encode()]]
    assert await link.call("PING") == b"PONG"
    with pytest.raises(LinkReplyError, match="same slot"):
        await link.call("MGET", PHOENIX, VEGAS)


async def test_seed_that_answers_after_a_second_is_waited_for(cluster: ClusterGroup) -> None:
    seed = urlsplit(cluster.url).netloc.partition(",")[0]
    async with store_proxy(f"redis://{seed}/0", late_s=1.0) as front:
        link = Store(f"redis+cluster://{front.host}").link()
        await link.connect()
        assert await link.call("SET", PHOENIX, "x") == b"OK"
        await link.close()


async def test_reading_of_a_silent_cluster_ends_with_its_link(
    cluster: ClusterGroup, standstill: Standstill
) -> None:
    seed = urlsplit(cluster.url).netloc.partition(",")[0]
    async with store_proxy(f"redis://{seed}/0") as front:
        front.silent = True
        link = Store(f"redis+cluster://{front.host}").link()
        connecting = asyncio.create_task(link.connect())
        await asyncio.sleep(0.1)
        connecting.cancel()
        began_s = time.monotonic()
        await asyncio.wait({connecting})
        await link.close()
        assert time.monotonic() - began_s < 4 + standstill.ms / 1000
        await eventually(lambda: not front.open)


async def test_link_that_never_connected_closes_beside_another(cluster: ClusterGroup) -> None:
    store = Store(cluster.url)
    link, unused = store.link(), store.link()
    await link.connect()
    await asyncio.gather(link.close(), unused.close())


async def test_every_primary_has_the_scripts(link: ClusterLink) -> None:
    script = all_scripts()["hold_role"]
    assert [await each.call("SCRIPT", "EXISTS", script.sha) for each in link.primaries()] == [
        [1], [1], [1],
    ]  # fmt: skip


async def test_slot_that_has_moved_is_followed(link: ClusterLink, cluster: ClusterGroup) -> None:
    await link.call("SET", PHOENIX, "here")
    source, target = cluster.primary_of(PHOENIX), cluster.primary_of(VEGAS)
    opening = of(link, PHOENIX).opening
    await asyncio.to_thread(cluster.migrate, PHOENIX, target)
    assert await link.call("GET", PHOENIX) == b"here"
    assert address_of(link, PHOENIX) == address_of(link, VEGAS)
    assert of(link, PHOENIX).opening != opening
    # Back, and a link that has seen neither move is led there as well.
    await asyncio.to_thread(cluster.migrate, PHOENIX, source)
    assert await link.call("GET", PHOENIX) == b"here"
    assert address_of(link, PHOENIX) in source.url


async def test_keys_of_a_slot_that_is_moving_are_reached(
    link: ClusterLink, cluster: ClusterGroup
) -> None:
    other = PHOENIX + "2"
    await link.call("SET", PHOENIX, "moved")
    await link.call("SET", other, "not yet")
    source, target = cluster.primary_of(PHOENIX), cluster.primary_of(VEGAS)
    cluster.begin_to_migrate(PHOENIX, target)
    cluster.migrate_keys(source, target, [PHOENIX])
    assert await link.call("GET", PHOENIX) == b"moved"  # by ASK
    assert await link.call("GET", other) == b"not yet"
    # The script needs both, and waits until they are together again: TRYAGAIN.
    both = asyncio.ensure_future(
        link.call("EVAL", "return redis.call('MGET', KEYS[1], KEYS[2])", 2, PHOENIX, other)
    )
    await asyncio.sleep(0.1)
    assert not both.done()
    cluster.migrate(PHOENIX, target)
    assert await both == [b"moved", b"not yet"]
    cluster.migrate(PHOENIX, source)


async def test_slot_that_keeps_moving_is_refused_in_time(
    link: ClusterLink, cluster: ClusterGroup, standstill: Standstill
) -> None:
    other = PHOENIX + "2"
    await link.call("SET", PHOENIX, "moved")
    await link.call("SET", other, "not yet")
    source, target = cluster.primary_of(PHOENIX), cluster.primary_of(VEGAS)
    cluster.begin_to_migrate(PHOENIX, target)
    cluster.migrate_keys(source, target, [PHOENIX])
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="TRYAGAIN"):
        await link.call("EVAL", "return 1", 2, PHOENIX, other)
    assert 1 < time.monotonic() - began < 10 + standstill.ms / 1000
    cluster.migrate(PHOENIX, target)
    cluster.migrate(PHOENIX, source)


async def test_killed_primary_stops_its_own_keys_only(
    link: ClusterLink, cluster: ClusterGroup
) -> None:
    opening = of(link, VIRGINIA).opening
    lost = cluster.primary_of(VIRGINIA)
    kill(lost)
    await eventually(lambda: of(link, VIRGINIA).is_away)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        at_once(link.call("SET", VIRGINIA, "1"))
    assert await link.call("SET", PHOENIX, "1") == b"OK"
    assert await link.call("SET", VEGAS, "1") == b"OK"
    assert not link.connected

    async def is_taken_over() -> bool:
        try:
            return bool(await link.call("SET", VIRGINIA, "1") == b"OK")
        except StoreUnavailable:
            return False

    await eventually(is_taken_over)
    assert address_of(link, VIRGINIA) not in lost.url
    assert of(link, VIRGINIA).opening > opening
    script = all_scripts()["hold_role"]

    async def has_the_scripts() -> bool:
        return bool(await of(link, VIRGINIA).call("SCRIPT", "EXISTS", script.sha) == [1])

    await eventually(has_the_scripts)
    await eventually(lambda: link.connected)


async def test_planned_failover_refuses_no_call(link: ClusterLink, cluster: ClusterGroup) -> None:
    before = address_of(link, VEGAS)
    await asyncio.to_thread(cluster.fail_over, cluster.primary_of(VEGAS))

    async def is_elsewhere() -> bool:
        assert await link.call("SET", VEGAS, "1") == b"OK"
        return address_of(link, VEGAS) != before

    await eventually(is_elsewhere)


async def test_slot_without_a_server_is_refused_within_a_second(
    link: ClusterLink, cluster: ClusterGroup, standstill: Standstill
) -> None:
    alone = "mallard:{nobody}:x"
    server = cluster.primary_of(alone)
    for each in cluster.live():
        ask(cluster.client(each), "CLUSTER", "DELSLOTS", cluster.slot_of(alone))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await link.call("GET", alone)
    assert time.monotonic() - began < 5 + standstill.ms / 1000
    ask(cluster.client(server), "CLUSTER", "ADDSLOTS", cluster.slot_of(alone))

    async def is_served() -> bool:
        try:
            return await link.call("GET", alone) is None
        except StoreUnavailable:
            return False

    await eventually(is_served)


async def test_streams_of_several_primaries_are_read_together(
    link: ClusterLink, cluster: ClusterGroup
) -> None:
    tail = Store(cluster.url).tail()
    await tail.connect()
    reader = StreamReader(tail, 100)
    cursors = {key.encode(): "0-0" for key in KEYS}
    heard: dict[bytes, list[bytes]] = {key.encode(): [] for key in KEYS}

    async def hear(stream: str) -> bool:
        for name, entries in await reader.read(cursors, 100):
            cursors[name] = entries[-1][0].decode()
            heard[name] += [fields[1] for _, fields in entries]
        return bool(heard[stream.encode()])

    for key in KEYS:
        await link.call("XADD", key, "*", "f", key)
        await eventually(lambda key=key: hear(key))  # type: ignore[misc]
        assert heard[key.encode()] == [key.encode()]
    # A server that is away delays no other stream.
    kill(cluster.primary_of(PHOENIX))
    await link.call("XADD", VEGAS, "*", "f", "again")

    async def has_heard_again() -> bool:
        await hear(VEGAS)
        return heard[VEGAS.encode()] == [VEGAS.encode(), b"again"]

    await eventually(has_heard_again)
    await reader.close()
    await tail.close()


async def test_cluster_that_cannot_be_reached_is_named() -> None:
    link = Store("redis+cluster://127.0.0.1:1").link()
    with pytest.raises(StoreUnavailable, match=r"the cluster of 127\.0\.0\.1:1: .*connect"):
        await link.connect()
    await link.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await link.call("GET", "k")
