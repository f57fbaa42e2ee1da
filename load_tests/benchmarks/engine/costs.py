"""Costs that are independent of noise: the calls of a match or a batch, and Redis's own time."""

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests.benchmarks.engine.latencies import command_us, reset
from load_tests.benchmarks.engine.races import race
from load_tests.benchmarks.engine.reports import report
from load_tests.benchmarks.engine.world import CountingLink, World

_SEARCHES = 50
_SEARCHES_AT_A_TIME = 10
# The search of a round's first look: so many drivers, in a radius that holds them.
_NEAREST = 8


async def match_cost(url: str, times: int) -> Mapping[str, Any]:
    """Match one job that many times; the most calls of one and its median of Redis's microseconds,
    as Redis counts wall time.

    `scripts`: the calls that lie between the wake and the offer. `calls`: with those off the hot
    path (what `explain` keeps). `search_us`: a bare GEOSEARCH for as many drivers as a first look.
    """
    world = World(url, counted=True)
    await world.connect()
    try:
        await race(world, 1)  # now the search knows how far it must go
        line = world.link
        if not isinstance(line, CountingLink):
            raise TypeError("the calls are not counted")
        matches = [await _count(world, line) for _ in range(times)]
        search_us = median([await _bare_search_us(world) for _ in range(_SEARCHES)])
    finally:
        await world.close()
    return {
        "scripts": max(scripts for scripts, _, _ in matches),
        "calls": max(calls for _, calls, _ in matches),
        "redis_us": median(script_us for _, _, script_us in matches),
        "search_us": search_us,
    }


async def _count(world: World, line: CountingLink) -> tuple[int, int, float]:
    """One match: script calls, all calls, Redis's microseconds in scripts."""
    await world.beat()
    ref = await world.submit()
    world.sink.expect(1)
    await reset(line)
    line.calls.clear()
    world.wake()
    await world.sink.all_offered(5.0)
    await world.rounds_ended()
    counted = dict(line.calls)
    _, script_us = await command_us(line, "evalsha")
    await world.cancel(ref)
    return counted.get("EVALSHA", 0), sum(counted.values()), script_us


async def _bare_search_us(world: World) -> float:
    at = ("FROMLONLAT", repr(world.mall.lon), repr(world.mall.lat))
    key = world.keys.key("idle")
    found = await world.link.call(
        *("GEOSEARCH", key, *at, "BYRADIUS", 100, "km", "ASC", "COUNT", _NEAREST, "WITHDIST")
    )
    radius_m = 1.5 * float(found[-1][1])
    await reset(world.link)
    for _ in range(_SEARCHES_AT_A_TIME):
        await world.link.call(
            *("GEOSEARCH", key, *at, "BYRADIUS", radius_m, "m", "ASC"),
            *("COUNT", _NEAREST, "WITHDIST"),
        )
    calls, us = await command_us(world.link, "geosearch")
    return us / calls


async def report_calls(url: str, positions: NDArray[np.float64]) -> Mapping[str, Any]:
    """How many calls to Redis a batch of positions is."""
    world = World(url, counted=True)
    await world.connect()
    try:
        line = world.link
        if not isinstance(line, CountingLink):
            raise TypeError("the calls are not counted")
        line.calls.clear()
        counts = await report(world, positions, 1)
        return {"scripts": line.calls.get("EVALSHA", 0) - 1, "fixes": counts["fixes"]}
    finally:
        await world.close()
