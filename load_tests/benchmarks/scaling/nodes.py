"""Measures the CPU of a full cycle by the number of nodes, with a fixed number of orders under way.

    python -m load_tests.benchmarks.scaling.nodes --nodes 1 2 4

A fixed number keeps caches warm, so that the figure is that of capacity: at a fixed rate a cycle
costs what the caches allow. Orders and drivers are spread evenly over the nodes, so with n nodes an
order's driver is on another node n - 1 times of n. The numbers of nodes are measured in turn, and
the ratio to one node is that of the best repetitions.
"""

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.system.arena import MALLARD, Arena
from load_tests.meters import calls_between, usage
from load_tests.swarm.coordinator import Swarm
from load_tests.users.tables import table
from mallard_engine.charts import three_digits

_WARM_S: Final = 2.0
_REPORT_S: Final = 20.0


class Cycle(NamedTuple):
    """CPU of all nodes and of Redis for a cycle (ms), cycles a second; writes and reads of streams.

    ``reads`` are those of pushes, as nothing reads the events.
    """

    engine: float
    redis: float
    a_second: float
    entries: float
    reads: float


def cycle_cost(arena: Arena, nodes: int, *, drivers: int, at_once: int, seconds: float) -> Cycle:
    """Measure one number of nodes once. Raises `CannotMeasure`."""
    with arena.running(MALLARD, nodes=nodes) as contestant:
        plan = contestant.plan(
            drivers=drivers,
            report_s=_REPORT_S,
            hold_s=0.0,
            think_s=0.0,
            decline_share=0.0,
            lapse_share=0.0,
            grace_s=1.0,
            # All nodes serve one market.
            markets=contestant.markets[:1],
        )

        async def act(swarm: Swarm) -> Cycle:
            swarm.keep_under_way(at_once)
            await asyncio.sleep(_WARM_S)
            result = await swarm.phase(rate=0.0, seconds=seconds, edge=contestant.edges())
            used, cycles = usage(*result.edges), result.cycles_per_s
            if not cycles:
                raise CannotMeasure("no order was delivered")
            engine, redis = used.engine_cpu or 0.0, used.redis_cpu or 0.0
            before, after = result.edges
            total = cycles * result.seconds
            return Cycle(
                engine / cycles * 1000,
                redis / cycles * 1000,
                cycles,
                calls_between(before, after, "xadd") / total,
                calls_between(before, after, "xread") / total,
            )

        measured: Cycle = contestant.load(plan, act)
        return measured


def in_turn(
    counts: Sequence[int], repetitions: int, *, drivers: int, at_once: int, seconds: float
) -> dict[int, list[Cycle]]:
    """Measure each number of nodes so many times, in turn."""
    arena = Arena()
    found: dict[int, list[Cycle]] = {count: [] for count in counts}
    for _ in range(repetitions):
        for count in counts:
            found[count].append(
                cycle_cost(arena, count, drivers=drivers, at_once=at_once, seconds=seconds)
            )
    return found


def best(cycles: Sequence[Cycle]) -> Cycle:
    """The repetition with the least CPU of the engine: other load can only add to it."""
    return min(cycles)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks.scaling.nodes", description=__doc__
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4], help="(1 2 4)")
    parser.add_argument("--drivers", type=int, default=300, help="(%(default)d)")
    parser.add_argument("--at-once", type=int, default=16, help="orders (%(default)d)")
    parser.add_argument("--seconds", type=float, default=6.0, help="each (%(default)g)")
    parser.add_argument("--repetitions", type=int, default=3, help="(%(default)d)")
    options = parser.parse_args(arguments)
    found = in_turn(
        options.nodes,
        options.repetitions,
        drivers=options.drivers,
        at_once=options.at_once,
        seconds=options.seconds,
    )
    first = best(found[options.nodes[0]])
    rows = [
        (
            str(count),
            *map(three_digits, best(cycles)),
            three_digits(best(cycles).engine / first.engine),
            three_digits(best(cycles).redis / first.redis),
            ", ".join(three_digits(cycle.engine) for cycle in cycles),
        )
        for count, cycles in found.items()
    ]
    columns = (
        *("nodes", "engine, ms a cycle", "Redis, ms a cycle", "cycles a second"),
        *("entries written a cycle", "reads a cycle"),
        *("engine, ratio", "Redis, ratio", "engine, each"),
    )
    print(table(f"{options.at_once} orders under way", columns, rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
