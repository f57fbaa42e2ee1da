"""Measure 500 simultaneous orders of one mall: the time to all offers, and others' latency."""

import argparse
from typing import Final

from load_tests.benchmarks.benches import Measured, PrintLine
from load_tests.benchmarks.environment import versions
from load_tests.benchmarks.flags import above_zero, count, repetitions_flag
from load_tests.benchmarks.pages.samples import sample
from load_tests.benchmarks.system.arena import MALLARD, PACKAGES, Arena
from load_tests.histograms import Histograms
from load_tests.measurements import Measure
from load_tests.swarm.coordinator import Swarm

HELP: Final = "a flash sale: until all its orders are offered, and other markets' offers meanwhile"
ALL_OFFERED: Final = "until all are offered"
NOT_OFFERED: Final = "orders without an offer"
OTHERS_P99: Final = "others' offer latency p99"
OTHERS_P50: Final = "others' offer latency p50"
_AT_ONCE_S: Final = 0.01
_HOLD_S: Final = 4.0
_MEASURED_S: Final = 2.0
_GRACE_S: Final = 4.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the sale; each repetition is one sale."""
    repetitions_flag(parser, 20)
    parser.add_argument("--orders", type=count, default=500, help="of a sale (500)")
    parser.add_argument("--crowd", type=count, default=600, help="drivers in reach (600)")
    parser.add_argument(
        "--within-s",
        type=above_zero,
        default=0.001,
        help="all are ordered within so many seconds (0.001: at once)",
    )
    parser.add_argument("--others", type=count, default=400, help="drivers elsewhere (400)")
    parser.add_argument(
        "--rate", type=above_zero, default=20.0, help="orders a second elsewhere (20)"
    )
    parser.add_argument("--nodes", type=count, default=2, help="of the engine (2)")


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Run the sales with one swarm; between two sales the drivers deliver and become free."""
    spread = "at once" if args.within_s < _AT_ONCE_S else f"within {args.within_s:g} s"
    case = {"orders": args.orders, "drivers in reach": args.crowd, "spread": spread}
    until_ms: list[float] = []
    without: list[float] = []
    others = Histograms()

    async def act(swarm: Swarm) -> None:
        async def sale(swarm: Swarm) -> None:
            swarm.burst(args.orders, args.within_s)

        for number in range(1, args.repetitions + 1):
            result = await swarm.phase(
                rate=args.rate, seconds=_MEASURED_S, warm_s=_HOLD_S + 1, during=sale
            )
            offers = result.histograms[Measure.OFFER_BURST.value]
            until_ms.append(offers.max_ms)
            without.append(args.orders - offers.count + offers.failures)
            elsewhere = result.histograms[Measure.OFFER.value]
            print_line(
                f"{number}/{args.repetitions}: all offered in {offers.max_ms:.0f} ms, "
                f"{without[-1]:.0f} not; elsewhere p99 {elsewhere.percentile_ms(99):.1f} ms"
            )
            others.add(result.histograms.take())

    with Arena().running(MALLARD, nodes=args.nodes) as contestant:
        plan = contestant.plan(
            drivers=args.crowd + args.others,
            crowd=args.crowd,
            report_s=5.0,
            hold_s=_HOLD_S,
            think_s=0.0,
            decline_share=0.0,
            lapse_share=0.0,
            grace_s=_GRACE_S,
        )
        contestant.load(plan, act)
    elsewhere = others[Measure.OFFER.value]
    rows = (
        (ALL_OFFERED, "ms", until_ms),
        (NOT_OFFERED, "", without),
        (OTHERS_P50, "ms", [elsewhere.percentile_ms(50)]),
        (OTHERS_P99, "ms", [elsewhere.percentile_ms(99)]),
        ("others' orders", "", [float(elsewhere.count)]),
    )
    samples = [sample(case, MALLARD, *row) for row in rows]
    return Measured(samples, versions(PACKAGES))
