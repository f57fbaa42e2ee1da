"""Measure full cycles (order, offer, acknowledgement, acceptance, three steps) of a process."""

import argparse
from collections.abc import Sequence
from typing import Final

from load_tests.benchmarks.benches import Measured, PrintLine
from load_tests.benchmarks.environment import versions
from load_tests.benchmarks.flags import above_zero, count, repetitions_flag
from load_tests.benchmarks.system.arena import LINE, MALLARD, PACKAGES, POOL, Arena, Contestant
from load_tests.benchmarks.system.tally import Tally, in_turn
from load_tests.measurements import Measure
from load_tests.meters import usage
from load_tests.swarm.coordinator import Swarm
from load_tests.swarm.result import SwarmResult

HELP: Final = "full cycles a second of one process at 80 % CPU, and the CPU of one"
SERVER: Final = "server CPU for a cycle"
REDIS: Final = "Redis CPU for a cycle"
CAPACITY: Final = "cycles a second at 80 % CPU"
OFFER_P99: Final = "offer latency p99"
FULL: Final = 0.8
_WARM_S: Final = 3.0
# Rare, so that cycles dominate the cost; often enough that positions stay fresh.
_REPORT_S: Final = 20.0
# A higher latency means that offers queue up.
_SATURATED_MS: Final = 1000.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the rates."""
    parser.add_argument(
        "--rate",
        type=above_zero,
        action="append",
        help="orders a second, in rising order; repeatable (100, 200, 300, 450)",
    )
    parser.add_argument("--drivers", type=count, default=1000, help="on sockets (1000)")
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="each rate (10)")
    repetitions_flag(parser, 2)


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Raise the rate for each contestant until its process uses 80 % or its offers queue up."""
    arena, tally = Arena(), Tally()
    rates = sorted(args.rate or (100.0, 200.0, 300.0, 450.0))

    def run(name: str) -> str:
        with arena.running(name) as contestant:
            plan = contestant.plan(
                drivers=args.drivers,
                report_s=_REPORT_S,
                hold_s=0.0,
                think_s=0.0,
                decline_share=0.0,
                lapse_share=0.0,
                grace_s=1.0,
            )

            async def act(swarm: Swarm) -> list[tuple[float, float]]:
                return await _climb(swarm, contestant, rates, args, tally)

            points: list[tuple[float, float]] = contestant.load(plan, act)
        carried = at_share(points, FULL)
        tally.add({"drivers": args.drivers}, name, CAPACITY, "cycles a second", carried)
        cycles, cpu = points[0]
        return f"{carried:.0f} cycles a second at 80 %, {cpu / cycles * 1000:.2f} ms each at first"

    in_turn((MALLARD, POOL, LINE), args.repetitions, print_line, run)
    return Measured(tally.samples(), versions(PACKAGES))


async def _climb(
    swarm: Swarm,
    contestant: Contestant,
    rates: Sequence[float],
    args: argparse.Namespace,
    tally: Tally,
) -> list[tuple[float, float]]:
    """Return the cycles per second and the share of a core used, for each rate."""
    points = []
    for rate in rates:
        result: SwarmResult = await swarm.phase(
            rate=rate, seconds=args.seconds, warm_s=_WARM_S, edge=contestant.edges()
        )
        used = usage(*result.edges)
        cpu, redis = used.engine_cpu or 0.0, used.redis_cpu or 0.0
        cycles = result.cycles_per_s
        if not cycles:
            break
        points.append((cycles, cpu))
        p99_ms = result.percentile_ms(Measure.OFFER, 99)
        case = {"drivers": args.drivers, "orders a second": rate}
        tally.add(case, contestant.name, SERVER, "ms", cpu / cycles * 1000)
        tally.add(case, contestant.name, REDIS, "ms", redis / cycles * 1000)
        tally.add(case, contestant.name, OFFER_P99, "ms", p99_ms)
        if cpu >= FULL or p99_ms > _SATURATED_MS:
            break
    return points


def at_share(points: Sequence[tuple[float, float]], share: float) -> float:
    """Return the cycles per second at a share of a core.

    The value is interpolated, or extrapolated in proportion if the share was not reached.

    Raises:
        ValueError: Without a point.
    """
    if not points:
        raise ValueError("nothing was delivered at the lowest rate")
    below = [point for point in points if point[1] < share]
    above = [point for point in points if point[1] >= share]
    if not above or not below:
        cycles, cpu = above[0] if above else below[-1]
        return cycles * share / cpu
    (cycles_a, cpu_a), (cycles_b, cpu_b) = below[-1], above[0]
    return cycles_a + (cycles_b - cycles_a) * (share - cpu_a) / (cpu_b - cpu_a)
