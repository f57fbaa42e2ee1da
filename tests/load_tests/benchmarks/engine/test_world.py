from collections.abc import AsyncIterator

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from load_tests.benchmarks.engine.costs import match_cost, report_calls
from load_tests.benchmarks.engine.races import race
from load_tests.benchmarks.engine.reports import report
from load_tests.benchmarks.engine.world import MARKET, NODE, POLICY, World, driver_name
from mallard_engine.storage.audit.audit import audit

DRIVERS = 40


@pytest.fixture
def positions() -> NDArray[np.float64]:
    """Drivers around the mall, some kilometres away."""
    rng = np.random.default_rng(3)
    return np.array([33.301354, -111.898526]) + rng.uniform(-0.03, 0.03, (DRIVERS, 2))


@pytest.fixture
async def world(redis_url: str, positions: NDArray[np.float64]) -> AsyncIterator[World]:
    world = World(redis_url)
    await world.connect()
    await world.load(positions)
    yield world
    await world.close()


async def records(world: World) -> list[object]:
    """Everything that is kept of the drivers, but for the moments at which it was written."""
    call, key = world.link.call, world.keys.key
    kept: list[object] = []
    for of in ("drivers", "positions"):
        flat = await call("HGETALL", key(of))
        unpacked = {
            k: msgspec.msgpack.decode(v) for k, v in zip(flat[::2], flat[1::2], strict=True)
        }
        kept.append(unpacked)
    drivers, places = kept
    assert isinstance(drivers, dict)
    assert isinstance(places, dict)
    for record in drivers.values():
        record["free_since_ms"] = record["hello_ms"] = 0
    for place in places.values():
        place[:2] = 0, 0
    names = [driver_name(number) for number in range(DRIVERS)]
    kept.append(await call("GEOPOS", key("idle"), *names))
    kept.append(sorted(await call("ZRANGE", key("due"), 0, -1)))
    kept.append(sorted(await call("SMEMBERS", world.keys.held(NODE))))
    return kept


async def test_bulk_load_leaves_what_the_transitions_leave(
    world: World, positions: NDArray[np.float64]
) -> None:
    bulk = await records(world)
    await world.link.call("FLUSHALL")
    await world.beat()
    for number, (lat, lon) in enumerate(positions.tolist()):
        await world.hello(driver_name(number), lat, lon)
    assert bulk == await records(world)


async def test_bulk_load_passes_the_audit(world: World, redis_url: str) -> None:
    await world.beat()
    found = await audit(redis_url, {MARKET: POLICY}, settle_s=0)
    assert not found.breaches
    assert found.looked_at["driver"] == DRIVERS


@pytest.mark.parametrize("jobs", [1, 16])
async def test_race_serves_each_job_and_frees_all_drivers(
    world: World, redis_url: str, jobs: int
) -> None:
    latencies_ms = await race(world, jobs)
    assert len(latencies_ms) == jobs
    assert all(ms > 0 for ms in latencies_ms)
    assert await world.free_drivers() == DRIVERS
    assert not (await audit(redis_url, {MARKET: POLICY}, settle_s=0)).breaches


async def test_refused_job_does_not_count_for_the_quota(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("load_tests.benchmarks.engine.races._AT_MOST_S", 0.5)
    assert len(await race(world, DRIVERS + 1)) == DRIVERS
    assert await world.free_drivers() == DRIVERS


async def test_reports_are_accepted_and_timed(world: World, positions: NDArray[np.float64]) -> None:
    measured = await report(world, positions, 3)
    assert measured["fixes"] == 3 * DRIVERS
    assert all(measured[name] > 0 for name in ("redis_command_us", "client_cpu_us"))


@pytest.mark.finding("F")
async def test_reports_do_not_depend_on_the_local_clock(
    world: World, positions: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis's clock as a node believes it lags and may stand still between two rounds."""
    behind_ms = world.store.now_ms() - 1_000
    monkeypatch.setattr(world.store.runner, "now_ms", lambda: behind_ms)
    assert (await report(world, positions, 3))["fixes"] == 3 * DRIVERS


async def test_match_is_two_calls_and_a_batch_is_one(
    world: World, redis_url: str, positions: NDArray[np.float64]
) -> None:
    measured = await match_cost(redis_url, 3)
    assert (measured["scripts"], measured["calls"]) == (2, 2)
    assert measured["redis_us"] > measured["search_us"] > 0
    assert (await report_calls(redis_url, positions))["scripts"] == 1


async def test_extra_call_is_counted(
    world: World, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = type(world.store.offers).candidates

    async def twice(store: object, *args: object, **named: object) -> object:
        await candidates(store, *args, **named)  # type: ignore[arg-type]
        return await candidates(store, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(world.store.offers), "candidates", twice)
    assert (await match_cost(redis_url, 2))["scripts"] == 3
