"""Costs that do not depend on noise: the calls and the Redis time of a match or a batch."""

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests.benchmarks.engine.latencies import command_us, reset
from load_tests.benchmarks.engine.races import race
from load_tests.benchmarks.engine.reports import report
from load_tests.benchmarks.engine.world import CountingLink, World

# Drivers that the bare search finds at most. A search for eight takes 2 us, so the clock of Redis,
# which counts whole microseconds, and the state of the caches would decide the ratio.
_FOUND = 256


async def match_cost(url: str, times: int) -> Mapping[str, Any]:
    """Match one job `times` times and return the costs of a match.

    Returns:
        `scripts`: the most script calls of a match, from its wake-up to the offer; `calls`: all
        calls, including those off the hot path (the record for `explain`); `redis_us`: the median
        Redis time in scripts (wall time); `search_us`: a bare GEOSEARCH for as many drivers as the
        first search.
    """
    world = World(url, counted=True)
    await world.connect()
    try:
        await race(world, 1)  # now the search radius is known
        link = world.link
        if not isinstance(link, CountingLink):
            raise TypeError("the calls are not counted")
        matches, searches_us = [], []
        for _ in range(times):
            matches.append(await _count(world, link))
            searches_us.append(await _bare_search_us(world))
    finally:
        await world.close()
    return {
        "scripts": max(scripts for scripts, _, _ in matches),
        "calls": max(calls for _, calls, _ in matches),
        "redis_us": median(script_us for _, _, script_us in matches),
        "search_us": median(searches_us),
    }


async def _count(world: World, link: CountingLink) -> tuple[int, int, float]:
    """Match once; return script calls, all calls, and microseconds of Redis in scripts."""
    await world.beat()
    ref = await world.submit()
    world.sink.expect(1)
    await reset(link)
    link.calls.clear()
    world.wake()
    await world.sink.all_offered(5.0)
    await world.rounds_ended()
    counted = dict(link.calls)
    _, script_us = await command_us(link, "evalsha")
    await world.cancel(ref)
    return counted.get("EVALSHA", 0), sum(counted.values()), script_us


async def _bare_search_us(world: World) -> float:
    await reset(world.link)
    await world.link.call(
        *("GEOSEARCH", world.keys.key("idle")),
        *("FROMLONLAT", repr(world.mall.lon), repr(world.mall.lat)),
        *("BYRADIUS", 100, "km", "ASC", "COUNT", _FOUND, "WITHDIST"),
    )
    _, us = await command_us(world.link, "geosearch")
    return us


async def report_calls(url: str, positions: NDArray[np.float64]) -> Mapping[str, Any]:
    """Return the number of Redis calls for the drivers' positions."""
    world = World(url, counted=True)
    await world.connect()
    try:
        link = world.link
        if not isinstance(link, CountingLink):
            raise TypeError("the calls are not counted")
        link.calls.clear()
        counts = await report(world, positions, 1)
        return {"scripts": link.calls.get("EVALSHA", 0) - 1, "fixes": counts["fixes"]}
    finally:
        await world.close()
