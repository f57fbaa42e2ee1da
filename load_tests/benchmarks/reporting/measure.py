"""Measure the CPU of a position: the engine against a bare sink, Redis against plain batches."""

import argparse
from typing import Final

from load_tests.benchmarks.benches import Measured, PrintLine
from load_tests.benchmarks.environment import versions
from load_tests.benchmarks.flags import above_zero, count, repetitions_flag
from load_tests.benchmarks.system.arena import LINE, MALLARD, PACKAGES, SINK, Arena
from load_tests.benchmarks.system.tally import Tally, in_turn
from load_tests.swarm.coordinator import Swarm
from load_tests.swarm.result import SwarmResult

HELP: Final = "CPU of the engine and of Redis for a position, beside a bare sink and plain batches"
SERVER: Final = "server CPU for a position"
REDIS: Final = "Redis CPU for a position"
US: Final = "µs"
_US_PER_S: Final = 1e6
_WARM_S: Final = 3.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the load."""
    parser.add_argument("--drivers", type=count, default=2000, help="on sockets (2000)")
    parser.add_argument(
        "--report-s", type=above_zero, default=0.5, help="a driver's positions apart (0.5)"
    )
    parser.add_argument("--seconds", type=above_zero, default=15.0, help="measured (15)")
    repetitions_flag(parser, 3)


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Measure the engine, the sink, and the minimal program with GEOADD and HSET, in turn."""
    arena, tally = Arena(), Tally()
    case = {"drivers": args.drivers, "fixes a second": round(args.drivers / args.report_s)}

    def run(name: str) -> str:
        with arena.running(name) as contestant:
            plan = contestant.plan(
                drivers=args.drivers, report_s=args.report_s, rate=0.0, grace_s=0.1
            )

            async def act(swarm: Swarm) -> SwarmResult:
                return await swarm.phase(
                    rate=0.0, seconds=args.seconds, warm_s=_WARM_S, edge=contestant.edges()
                )

            result: SwarmResult = contestant.load(plan, act)
        before, after = result.edges
        fixes = result.counts["fixes"]
        server_us = (after.engine_cpu_s - before.engine_cpu_s) / fixes * _US_PER_S
        tally.add(case, name, SERVER, US, server_us)
        summary = f"{fixes} fixes, server {server_us:.1f} µs each"
        if after.redis_cpu_s is not None:
            redis_us = (after.redis_cpu_s - before.redis_cpu_s) / fixes * _US_PER_S
            tally.add(case, name, REDIS, US, redis_us)
            summary += f", Redis {redis_us:.1f} µs"
        return summary

    in_turn((MALLARD, SINK, LINE), args.repetitions, print_line, run)
    return Measured(tally.samples(), versions(PACKAGES))
