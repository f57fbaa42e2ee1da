"""Measure a reconnect storm: thousands of drivers connect at once beside drivers who get offers."""

import argparse
import asyncio
from contextlib import AsyncExitStack
from typing import Final

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.system.arena import MALLARD, Arena, Contestant
from load_tests.measurements import Measure
from load_tests.swarm.coordinator import Swarm, SwarmFailed
from load_tests.swarm.result import SwarmResult

HELP: Final = "thousands of sockets back at once, beside drivers who get offers"
BACK_WITHIN_S: Final = 5.0
OFFER_P99_MS: Final = 100.0
_UNLIMITED: Final = 100_000.0
_BEFORE_S: Final = 2.0
_MEASURED_S: Final = 15.0
# The apps of the drivers who come back do not run on the cores of the node and of Redis.
_NICE: Final = 10


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--drivers", type=int, default=5_000, help="who come back")
    parser.add_argument("--others", type=int, default=200, help="drivers who get offers meanwhile")
    parser.add_argument("--rate", type=float, default=10.0, help="orders a second for the others")


def run(args: argparse.Namespace) -> int:
    """Measure and print; return 1 if a figure is over its goal."""
    with Arena().running(MALLARD) as engine:
        calm, storm, back_s = asyncio.run(_storm(engine, args))
    print(
        f"{args.drivers} sockets back in {back_s:.1f} s; offers to others, p50 / p99 ms: "
        f"{calm} before, {storm} during"
    )
    return int(back_s > BACK_WITHIN_S or storm[1] > OFFER_P99_MS)


async def _storm(
    engine: Contestant, args: argparse.Namespace
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Return the latency of offers (p50, p99) before and during, and how long the storm took."""
    others = engine.plan(
        drivers=args.others, rate=args.rate, hold_s=0.0, markets=engine.markets[:1], name="others"
    )
    back = engine.plan(
        drivers=args.drivers,
        report_s=0.0,
        rate=0.0,
        connects_per_s=_UNLIMITED,
        markets=engine.markets[1:2],
        name="back",
        nice=_NICE,
    )
    took: list[float] = []
    try:
        async with AsyncExitStack() as swarms:  # the sockets stay open until the measurement ends

            async def connect(_: Swarm) -> None:
                await asyncio.sleep(_BEFORE_S)
                came = await swarms.enter_async_context(Swarm(back, engine.credentials))
                took.append(came.connect_s)

            swarm = await swarms.enter_async_context(Swarm(others, engine.credentials))
            calm = await swarm.phase(rate=args.rate, seconds=_MEASURED_S, warm_s=3.0)
            storm = await swarm.phase(rate=args.rate, seconds=_MEASURED_S, during=connect)
    except SwarmFailed as error:
        raise CannotMeasure(str(error)) from error
    return _offers_ms(calm), _offers_ms(storm), took[0]


def _offers_ms(result: SwarmResult) -> tuple[float, float]:
    p50, p99 = (result.percentile_ms(Measure.OFFER, percent) for percent in (50, 99))
    return round(p50, 1), round(p99, 1)
