"""Measure what idle sockets cost, and a connect: CPU of the node and of Redis."""

import argparse
from typing import Final

from load_tests.benchmarks.system.arena import MALLARD, Arena
from load_tests.meters import Reading
from load_tests.swarm.coordinator import Swarm

HELP: Final = "idle sockets, and the CPU of a connect"
IDLE_MOST: Final = 0.02
CONNECT_MOST_US: Final = 250.0
_UNLIMITED: Final = 100_000.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--drivers", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60.0)


def run(args: argparse.Namespace) -> int:
    """Measure and print; return 1 if a figure is over its goal."""
    with Arena().running(MALLARD) as engine:
        plan = engine.plan(
            drivers=args.drivers, report_s=0.0, rate=0.0, connects_per_s=_UNLIMITED, grace_s=0.1
        )
        before = engine.meters.closing()

        async def act(swarm: Swarm) -> tuple[float, Reading, Reading, Reading]:
            connected = engine.meters.closing()
            await swarm.phase(rate=0.0, seconds=5.0)
            settled = engine.meters.closing()
            await swarm.phase(rate=0.0, seconds=args.seconds)
            return swarm.connect_s, connected, settled, engine.meters.closing()

        connect_s, connected, settled, idle = engine.load(plan, act)
    connect_us = _cpu_s(before, connected)[0] / args.drivers * 1e6
    redis_us = _cpu_s(before, connected)[1] / args.drivers * 1e6
    seconds = idle.at_s - settled.at_s
    node, redis = (each / seconds for each in _cpu_s(settled, idle))
    print(
        f"{args.drivers} sockets: a connect {connect_us:.0f} µs of the node, {redis_us:.0f} µs of "
        f"Redis, all in {connect_s:.1f} s; idle {node:.2%} and {redis:.2%} of a core"
    )
    return int(connect_us > CONNECT_MOST_US or node > IDLE_MOST)


def _cpu_s(before: Reading, after: Reading) -> tuple[float, float]:
    node = (after.engine_cpu_s or 0) - (before.engine_cpu_s or 0)
    return node, (after.redis_cpu_s or 0) - (before.redis_cpu_s or 0)
