"""Measure the memory of an idle connected driver, and the rate of connects."""

import argparse
from typing import Final

from load_tests.benchmarks.benches import Measured, PrintLine
from load_tests.benchmarks.environment import versions
from load_tests.benchmarks.flags import count, repetitions_flag
from load_tests.benchmarks.system.arena import MALLARD, PACKAGES, SINK, Arena
from load_tests.benchmarks.system.tally import Tally, in_turn
from load_tests.meters import Reading
from load_tests.swarm.coordinator import Swarm

HELP: Final = "memory of an idle connected driver and connects a second, beside a bare sink"
MEMORY: Final = "memory of a connected driver"
CONNECTS: Final = "connects a second"
CPU: Final = "server CPU for a connect"
_UNLIMITED: Final = 100_000.0
_SETTLES_S: Final = 2.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the number of drivers."""
    parser.add_argument("--drivers", type=count, default=9000, help="on sockets (9000)")
    repetitions_flag(parser, 3)


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Measure one process of each contestant in turn, with all drivers connected to it."""
    arena, tally = Arena(), Tally()
    case = {"drivers": args.drivers}

    def run(name: str) -> str:
        with arena.running(name) as contestant:
            plan = contestant.plan(
                drivers=args.drivers,
                report_s=0.0,
                rate=0.0,
                connects_per_s=_UNLIMITED,
                grace_s=0.1,
            )
            before = contestant.meters.closing()

            async def act(swarm: Swarm) -> tuple[float, Reading]:
                connected_s, connected = swarm.connect_s, contestant.meters.closing()
                await swarm.phase(rate=0.0, seconds=_SETTLES_S)
                return connected_s, connected

            connected_s, connected = contestant.load(plan, act)
        kib = (connected.engine_bytes - before.engine_bytes) / args.drivers / 1024
        cpu_us = (connected.engine_cpu_s - before.engine_cpu_s) / args.drivers * 1e6
        tally.add(case, name, MEMORY, "KiB", kib)
        tally.add(case, name, CONNECTS, "a second", args.drivers / connected_s)
        tally.add(case, name, CPU, "µs", cpu_us)
        return f"{kib:.1f} KiB a driver, {args.drivers / connected_s:.0f} connects a second"

    in_turn((MALLARD, SINK), args.repetitions, print_line, run)
    return Measured(tally.samples(), versions(PACKAGES))
