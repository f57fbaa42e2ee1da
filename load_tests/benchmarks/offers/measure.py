"""Measure end-to-end offer latency at fixed order rates, against a minimal program."""

import argparse
from collections.abc import Callable
from typing import Final

from load_tests.benchmarks.benches import Measured, PrintLine
from load_tests.benchmarks.environment import versions
from load_tests.benchmarks.flags import above_zero, count, repetitions_flag
from load_tests.benchmarks.system.arena import LINE, MALLARD, PACKAGES, POOL, Arena
from load_tests.benchmarks.system.tally import Tally, in_turn
from load_tests.measurements import Measure
from load_tests.meters import usage
from load_tests.swarm.coordinator import Swarm
from load_tests.swarm.result import SwarmResult, joined

HELP: Final = "offer latency end to end under load, beside a minimal program"
# At 300 a second, jobs of 20 s would keep 7,000 drivers busy: with 5,000 they take 10 s.
_HOLDS_S: Final = {100.0: 20.0}
_SHORT_HOLD_S: Final = 10.0
_THINK_S: Final = 0.5
PERCENTS: Final = (50.0, 90.0, 99.0, 99.9)
MEASURES: Final = (Measure.OFFER, Measure.POST_JOB, Measure.ACCEPT, Measure.PROGRESS)
FAILED: Final = "orders without an offer"
# The measured time is divided into parts of about this length, which give the spread.
_PART_S: Final = 60.0
_BY_PART: Final = ", by the minute"
OURS_ONLY: Final = (Measure.EXPIRY, Measure.REASSIGN_LATENESS, Measure.REASSIGN_DECLINED)
CPU: Final = ("server CPU", "Redis CPU", "generator CPU")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the load."""
    parser.add_argument(
        "--rate",
        type=above_zero,
        action="append",
        help="orders a second; repeatable (100 and 300)",
    )
    parser.add_argument("--drivers", type=count, default=5000, help="on sockets (5000)")
    parser.add_argument("--seconds", type=above_zero, default=300.0, help="measured (300)")
    parser.add_argument("--nodes", type=count, default=2, help="of the engine (2)")
    parser.add_argument(
        "--hold-s", type=above_zero, help="of a job (20 at 100 orders a second, else 10)"
    )
    repetitions_flag(parser, 1)


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Measure the engine and both variants of the minimal program, in turn, at each rate."""
    arena, tally = Arena(), Tally()
    parts = max(1, round(args.seconds / _PART_S))
    for rate in args.rate or (100.0, 300.0):
        hold_s = args.hold_s or _HOLDS_S.get(rate, _SHORT_HOLD_S)
        case = {"orders a second": rate, "drivers": args.drivers, "seconds": args.seconds}

        def run(
            name: str, rate: float = rate, hold_s: float = hold_s, case: dict[str, float] = case
        ) -> str:
            with arena.running(name, nodes=args.nodes) as contestant:
                plan = contestant.plan(
                    drivers=args.drivers, report_s=5.0, hold_s=hold_s, think_s=_THINK_S
                )

                async def act(swarm: Swarm) -> list[SwarmResult]:
                    return [
                        await swarm.phase(
                            rate=rate,
                            seconds=args.seconds / parts,
                            warm_s=0 if part else hold_s + 2,
                            edge=contestant.edges(),
                        )
                        for part in range(parts)
                    ]

                measured: list[SwarmResult] = contestant.load(plan, act)
            for part in measured:
                _add_latencies(tally, case, name, part, by_part)
            result = joined(measured)
            _add(tally, case, name, result)
            offers = result.histograms[Measure.OFFER.value]
            return (
                f"{rate:g} a second: p50 {offers.percentile_ms(50):.2f} ms, "
                f"p99 {offers.percentile_ms(99):.2f} ms, {offers.failures} failed"
            )

        in_turn((MALLARD, POOL, LINE), args.repetitions, print_line, run)
    return Measured(tally.samples(), versions(PACKAGES))


def by_part(metric: str) -> str:
    """Return the name of a metric's values by part."""
    return f"{metric}{_BY_PART}"


def _add_latencies(
    tally: Tally,
    case: dict[str, float],
    name: str,
    result: SwarmResult,
    named: Callable[[str], str] = str,
) -> None:
    for measure in (*MEASURES, *(OURS_ONLY if name == MALLARD else ())):
        latencies = result.histograms[measure.value]
        if latencies.count > latencies.failures:
            for percent in PERCENTS:
                metric = named(f"{measure.value} p{percent:g}")
                tally.add(case, name, metric, "ms", latencies.percentile_ms(percent))


def _add(tally: Tally, case: dict[str, float], name: str, result: SwarmResult) -> None:
    _add_latencies(tally, case, name, result)
    tally.add(case, name, FAILED, "%", result.failed_share(Measure.OFFER) * 100)
    tally.add(case, name, "orders", "", result.histograms[Measure.OFFER.value].count)
    used = usage(*result.edges)
    values = (used.engine_cpu, used.redis_cpu, result.generator_cpu)
    for metric, value in zip(CPU, values, strict=True):
        tally.add(case, name, metric, "cores", value or 0.0)
    tally.add(case, name, "generator's lag at most", "ms", result.generator_lag_ms)
