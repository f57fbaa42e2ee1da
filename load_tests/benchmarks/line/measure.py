"""Measure the client CPU of a Redis call: the engine's connection against redis-py's pool."""

import argparse
from collections.abc import Sequence
from typing import Final

from load_tests.benchmarks.benches import CannotMeasure, Measured, PrintLine
from load_tests.benchmarks.contestants import OURS, Contestant, ContestantFailed, running, versions
from load_tests.benchmarks.flags import count_from, repetitions_flag
from load_tests.benchmarks.pages.ratios import spread
from load_tests.benchmarks.pages.samples import Sample, sample

HELP: Final = "client CPU of a call to Redis, beside redis-py's pool"
PEER: Final = "redis-py"
AT_ONCE: Final = (1, 32)
_MODULES: Final = {"ours": OURS, PEER: "load_tests.benchmarks.line.redis_py"}
_WARM_UP: Final = 500


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the number of calls."""
    repetitions_flag(parser, 9)
    parser.add_argument(
        "--calls",
        type=count_from(100, 1_000_000),
        default=5_000,
        metavar="N",
        help="calls per repetition (default: 5000)",
    )


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Measure the contestants in turn.

    Raises:
        CannotMeasure: If a contestant fails.
    """
    contestants = [Contestant(name, module) for name, module in _MODULES.items()]
    try:
        with running(contestants):
            samples = calls(contestants, args.calls, args.repetitions, print_line)
    except ContestantFailed as error:
        raise CannotMeasure(str(error)) from error
    return Measured(samples, versions(contestants))


def calls(
    contestants: Sequence[Contestant], count: int, repetitions: int, print_line: PrintLine
) -> list[Sample]:
    """Measure single and concurrent calls.

    Raises:
        ContestantFailed: If a contestant fails.
    """
    samples: list[Sample] = []
    for at_once in AT_ONCE:
        used: dict[str, list[float]] = {one.name: [] for one in contestants}
        for one in contestants:
            one.ask("call", at_once=at_once, calls=_WARM_UP)
        for _ in range(repetitions):
            for one in contestants:
                used[one.name].append(one.ask("call", at_once=at_once, calls=count)["us"])
        for name, values in used.items():
            samples.append(sample({"at_once": at_once}, name, "client CPU a call", "µs", values))
            print_line(f"{at_once:2} at once: {name:9} {spread(samples[-1].values)} µs a call")
    return samples
