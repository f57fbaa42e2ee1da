"""Matches through the real code path: candidates, ranking, offer."""

import asyncio
import time

from load_tests.benchmarks.engine.world import World

# A job without an offer after this time is not served.
_AT_MOST_S = 5.0


async def race(world: World, jobs: int) -> list[float]:
    """Submit jobs to the mall, match them in one race, then cancel them.

    Returns:
        The milliseconds from the wake-up to each offer; jobs without an offer are missing.

    Raises:
        RuntimeError: If a driver got two offers.
    """
    await world.beat()
    refs = await asyncio.gather(*(world.submit() for _ in range(jobs)))
    world.sink.expect(jobs)
    started = time.perf_counter()
    world.wake()
    await world.sink.all_offered(_AT_MOST_S)
    offered = list(world.sink.offered)
    if len({driver for _, driver in offered}) != len(offered):
        raise RuntimeError(f"{len(offered)} offers, but not as many drivers")
    await asyncio.gather(*(world.cancel(ref) for ref in refs))
    return [(at - started) * 1000 for at, _ in offered]
