"""Measure the cost of a fix in Redis: the engine's batches against variadic GEOADD and HSET."""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from load_tests.benchmarks.benches import CannotMeasure, Measured, PrintLine
from load_tests.benchmarks.contestants import OURS, Contestant, ContestantFailed, running, versions
from load_tests.benchmarks.driver_locations import Points, Ring, read_zips, real_metro
from load_tests.benchmarks.flags import count_from, repetitions_flag
from load_tests.benchmarks.pages.ratios import spread
from load_tests.benchmarks.pages.samples import Sample, sample

HELP: Final = "Redis's CPU for a position, beside variadic GEOADD and HSET"
PEER: Final = "GEOADD + HSET"
DRIVERS: Final = (5_000, 100_000)
MODULES: Final = {"ours": OURS, PEER: "load_tests.benchmarks.positions.variadic"}
METRICS: Final[Mapping[str, str]] = {
    "redis_cpu_us": "Redis CPU a fix",
    "redis_command_us": "Redis time in commands a fix",
    "client_cpu_us": "client CPU a fix",
}
# Enough fixes per repetition for the resolution of the server's CPU time.
_FIXES: Final = 60_000
# A node has some thousands of sockets; the market's other drivers report to other nodes.
REPORTING: Final = 20_000


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the number of drivers."""
    repetitions_flag(parser, 7)
    parser.add_argument(
        "--drivers",
        type=count_from(100, 5_000_000),
        nargs="+",
        default=DRIVERS,
        metavar="N",
        help="free drivers in the index (default: 5000 100000); up to 20000 of them report",
    )


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Measure the contestants in turn.

    Raises:
        CannotMeasure: If a contestant fails.
    """
    zips = read_zips()
    samples: list[Sample] = []
    found_versions: dict[str, str] = {}
    for drivers in args.drivers:
        contestants = [Contestant(name, module) for name, module in MODULES.items()]
        try:
            with running(contestants), tempfile.TemporaryDirectory(prefix="mallard-") as folder:
                where = contestants[0].ask("where")
                area: Ring = [(lon, lat) for lon, lat, *_ in where["area"]]
                load(contestants, real_metro(drivers, area, zips), where, Path(folder))
                samples += reports(contestants, drivers, args.repetitions, print_line)
                found_versions |= versions(contestants)
        except ContestantFailed as error:
            raise CannotMeasure(str(error)) from error
    return Measured(samples, found_versions)


def load(
    contestants: Sequence[Contestant], points: Points, where: Mapping[str, float], folder: Path
) -> None:
    """Load the same drivers into both contestants.

    Raises:
        ContestantFailed: If a contestant fails.
    """
    file = folder / "positions.npy"
    np.save(file, points)
    at = {"lat": where["lat"], "lon": where["lon"]}
    for one in contestants:
        one.ask("load", positions=str(file), **({} if one.name == "ours" else at))
        one.ask("report", rounds=2, drivers=min(len(points), REPORTING))


def reports(
    contestants: Sequence[Contestant], drivers: int, repetitions: int, print_line: PrintLine
) -> list[Sample]:
    """Measure the fixes of all reporting drivers.

    Raises:
        ContestantFailed: If a contestant fails.
    """
    reporting = min(drivers, REPORTING)
    rounds = _FIXES // reporting
    reports: dict[str, list[Mapping[str, float]]] = {one.name: [] for one in contestants}
    for _ in range(repetitions):
        for one in contestants:
            reports[one.name].append(one.ask("report", rounds=rounds, drivers=reporting))
    samples: list[Sample] = []
    for name, answers in reports.items():
        for key, metric in METRICS.items():
            values = [answer[key] for answer in answers]
            samples.append(sample({"drivers": drivers}, name, metric, "µs", values))
            print_line(f"{drivers:,} drivers: {name:13} {metric}: {spread(samples[-1].values)} µs")
    return samples
