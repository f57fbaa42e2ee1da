"""Matches by the real path: candidates, rank, offer."""

import asyncio
import time

from load_tests.benchmarks.engine.world import World

# A job without an offer by then gets none.
_AT_MOST_S = 5.0


async def race(world: World, jobs: int) -> list[float]:
    """Let that many jobs, which wait at the mall already, look for their driver at once.

    Returns the milliseconds from the wake to each offer; fewer than jobs when some got none.
    Everything is as before afterwards. Raises `RuntimeError` if a driver got two.
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
