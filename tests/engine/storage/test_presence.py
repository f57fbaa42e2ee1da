"""How a node at rest renews its presence without a script, and when it runs the script.

With the clock of Redis: with a simulation's, the script always runs.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import Peers, StoreUnavailable
from mallard_engine.storage.calls.leases import _CLOCK_ERROR_MS, LEASE_MS
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.worlds import MARKET

_MARKETS = (MARKET,)


@pytest.fixture
async def stores(redis_url: str) -> AsyncIterator[tuple[RedisStorage, RedisStorage]]:
    """The storages of two nodes, of which the first is at rest."""
    stores = (
        RedisStorage(redis_url, {MARKET: MarketPolicy()}),
        RedisStorage(redis_url, {MARKET: MarketPolicy()}),
    )
    for store in stores:
        await store.connect()
    await _rest(stores[0])
    yield stores
    await asyncio.gather(*(store.close() for store in stores))


@pytest.fixture
def store(stores: tuple[RedisStorage, RedisStorage]) -> RedisStorage:
    """The storage of the node at rest."""
    return stores[0]


async def _rest(store: RedisStorage) -> Peers:
    return await store.leases.meet(_MARKETS, "one", works=False)


def _peers(store: RedisStorage) -> str:
    return store.runner.keys[MARKET].key("peers")


async def _call(store: RedisStorage, *command: str | bytes | float) -> Any:
    return await store.runner.link.call(*command)


async def _scripts(store: RedisStorage) -> int:
    stats = (await _call(store, "INFO", "commandstats")).decode().splitlines()
    calls = [it for it in stats if it.startswith("cmdstat_eval")]
    return sum(int(it.partition("calls=")[2].partition(",")[0]) for it in calls)


async def _server_ms(store: RedisStorage) -> int:
    seconds, micros = await _call(store, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def _lasts(store: RedisStorage, for_ms: int) -> bool:
    """Renew the presence; return whether it ends so long after that by the clock of Redis."""
    before_ms = await _server_ms(store)
    await _rest(store)
    after_ms = await _server_ms(store)
    (member,) = [it for it in await _call(store, "ZRANGE", _peers(store), 0, -1) if b"/one" in it]
    ends_ms = float(await _call(store, "ZSCORE", _peers(store), member))
    return (
        -_CLOCK_ERROR_MS <= ends_ms - for_ms - before_ms <= after_ms - before_ms + _CLOCK_ERROR_MS
    )


async def test_presence_is_renewed_at_rest_without_a_script(
    store: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine the clock of Redis is known less well.
    monkeypatch.setattr("mallard_engine.storage.calls.leases._CLOCK_ERROR_MS", 60_000)
    before = await _scripts(store)
    await _call(store, "DEL", _peers(store))
    assert (await _rest(store)).nodes == ("one",)
    assert await _scripts(store) == before


async def test_presence_at_rest_lasts_as_long_as_a_lease(store: RedisStorage) -> None:
    for _ in range(3):
        assert await _lasts(store, LEASE_MS)


async def test_node_at_rest_notices_one_that_has_drivers(
    stores: tuple[RedisStorage, RedisStorage],
) -> None:
    at_rest, busy = stores
    await busy.leases.meet(_MARKETS, "two", works=True)
    # Those awake renew their presence twice as often.
    assert await _lasts(at_rest, LEASE_MS * 2 // 3)
    assert (await _rest(at_rest)).is_busy


async def test_node_at_rest_notices_what_operators_change(store: RedisStorage) -> None:
    for count in (1, 2):
        await store.runner.announce_changed(MARKET)
        assert (await _rest(store)).changed == {MARKET: count}
        assert (await _rest(store)).changed == {}


async def test_node_at_rest_misses_one_that_has_gone(store: RedisStorage) -> None:
    (own,) = await _call(store, "ZRANGE", _peers(store), 0, -1)
    ended_ms = await _server_ms(store) - 1_000
    await _call(store, "ZADD", _peers(store), ended_ms, own.replace(b"/one", b"/two"))
    assert (await _rest(store)).nodes == ("one",)


@pytest.mark.parametrize("wrong_ms", [-10_000, 10_000])
async def test_presence_ends_by_the_clock_of_redis(store: RedisStorage, wrong_ms: int) -> None:
    store.runner.set_clock(store.now_ms() + wrong_ms)
    assert await _lasts(store, LEASE_MS)


async def test_presence_is_renewed_at_rest_on_a_full_redis(store: RedisStorage) -> None:
    await _call(store, "DEL", _peers(store))
    await _call(store, "CONFIG", "SET", "maxmemory", 1)
    try:
        assert (await _rest(store)).nodes == ("one",)
    finally:
        await _call(store, "CONFIG", "SET", "maxmemory", 0)


async def test_node_at_rest_notices_a_refusal_of_writes_and_its_end(store: RedisStorage) -> None:
    await _call(store, "CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreUnavailable):
            await _rest(store)
        assert store.runner.health.problems
    finally:
        await _call(store, "CONFIG", "SET", "min-replicas-to-write", 0)
    await _rest(store)
    assert not store.runner.health.problems


async def test_script_removes_those_that_have_gone(
    store: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _call(store, "ZADD", _peers(store), 1, "gone")
    monkeypatch.setattr("mallard_engine.storage.calls.leases._PRUNE_MS", 0)
    await _rest(store)
    assert b"gone" not in await _call(store, "ZRANGE", _peers(store), 0, -1)
