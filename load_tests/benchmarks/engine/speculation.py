"""Measure the gain of the speculative search with alternating orders at one idle mall.

Each repetition submits pairs of orders, one with the search and one without, in alternating order.
Pairs see the same load of the machine. See ADR 0013.

    python -m load_tests.benchmarks.engine.speculation
"""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import closing

import numpy as np

from load_tests.benchmarks.engine.world import World
from mallard_engine.dispatch.rounds.speculative_offer import SpeculativeOffer
from mallard_engine.storage.embedded.server import EmbeddedServer

_DRIVERS = 300
_WARM_UP = 50
_AT_MOST_S = 5.0


async def order_ms(world: World, *, speculative: bool) -> float:
    """Submit an order as the HTTP handler does; return the milliseconds to its offer."""
    world.sink.expect(1)
    orders, started = world.dispatcher.orders, time.perf_counter()
    with closing(
        orders.speculate(world.mall.id) if speculative else SpeculativeOffer(None)
    ) as search:
        await asyncio.sleep(0)
        submission = world.submission()
        await orders.submit(submission, search)
    await world.sink.all_offered(_AT_MOST_S)
    ((at, _),) = world.sink.offered
    await world.cancel(world.ref_of(submission))
    await world.rounds_ended()
    return (at - started) * 1000


async def gains_ms(url: str, repetitions: int, pairs: int) -> list[float]:
    """Return the gain of each repetition: the median without the search minus that with it."""
    world = World(url)
    await world.connect()
    rng = np.random.default_rng(1)
    await world.load(
        np.array([world.mall.lat, world.mall.lon]) + rng.uniform(-0.02, 0.02, (_DRIVERS, 2))
    )
    gains = []
    try:
        for number in range(repetitions):
            await world.beat()
            times: dict[bool, list[float]] = {True: [], False: []}
            for pair in range(pairs if number else pairs + _WARM_UP):
                for speculative in (True, False) if pair % 2 else (False, True):
                    took = await order_ms(world, speculative=speculative)
                    times[speculative].append(took)
            gains.append(statistics.median(times[False]) - statistics.median(times[True]))
            print(f"{gains[-1]:+.3f} ms of {statistics.median(times[False]):.3f} ms")
    finally:
        await world.close()
    return gains


def main() -> int:
    """Measure, and print the gain with its spread."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=50, help="of orders in each repetition")
    args = parser.parse_args()
    with EmbeddedServer(None, persistent=False) as server:
        gains = asyncio.run(gains_ms(server.url, args.repetitions, args.pairs))
    low, median, high = statistics.quantiles(gains, n=4)
    ahead = sum(gain > 0 for gain in gains)
    print(f"gain {median:.3f} ms ({low:.3f} to {high:.3f}), positive in {ahead} of {len(gains)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
