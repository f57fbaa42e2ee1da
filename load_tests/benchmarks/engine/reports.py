"""Positions through the real code path: batches of fixes from the dispatcher to the store."""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from load_tests.benchmarks.engine.latencies import command_us, cpu_us, reset
from load_tests.benchmarks.engine.world import MARKET, World, driver_name
from mallard_engine.ports import DriverFix
from mallard_engine.storage.calls.drivers import MAX_BATCH

# A driver moves back and forth by twice this between two reports: about 30 m.
_STEP_DEG = 0.0001


async def report(world: World, positions: NDArray[np.float64], rounds: int) -> dict[str, float]:
    """Report the positions of the first drivers `rounds` times; return the costs of a fix.

    Times are in microseconds: CPU of Redis, time in its commands, and CPU of this process.
    """
    world.hold_sockets(len(positions))
    await world.beat()
    await reset(world.link)
    # Times follow Redis's clock and increase with each round, as `now_ms` may lag behind it and a
    # fix must be newer than the stored one.
    seconds, micros = await world.link.call("TIME")
    at_ms = int(seconds) * 1000 + int(micros) // 1000
    before_us, client_s, fixes = await cpu_us(world.link), time.process_time(), 0
    for number in range(rounds):
        at_ms = max(at_ms + 1, world.store.now_ms())
        for batch in _batches(positions, number, at_ms):
            verdicts = await world.dispatcher.drivers.positions(MARKET, batch)
            if set(verdicts) != {"ok"}:
                raise RuntimeError(f"a batch of fixes was answered {set(verdicts)}")
            fixes += len(batch)
    used_us, client_s = await cpu_us(world.link) - before_us, time.process_time() - client_s
    _, script_us = await command_us(world.link, "evalsha")
    return {
        "fixes": fixes,
        "redis_cpu_us": used_us / fixes,
        "redis_command_us": script_us / fixes,
        "client_cpu_us": client_s * 1e6 / fixes,
    }


def _batches(positions: NDArray[np.float64], number: int, at_ms: int) -> Iterator[list[DriverFix]]:
    """Yield one fix of each driver in batches, in random order."""
    moved = positions + (_STEP_DEG if number % 2 else -_STEP_DEG)
    order = np.random.default_rng(number).permutation(len(positions))
    for start in range(0, len(order), MAX_BATCH):
        numbers = order[start : start + MAX_BATCH]
        yield [
            DriverFix(driver_name(n), at_ms, lat, lon, acc_m=5.0)
            for n, (lat, lon) in zip(numbers.tolist(), moved[numbers].tolist(), strict=True)
        ]
