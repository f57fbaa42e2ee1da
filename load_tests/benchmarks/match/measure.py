"""Measure matches of 1 to 64 concurrent jobs at one mall among 1,000 to 1,000,000 drivers.

A repetition is a number of sequential races; the contestants run repetitions in turn. The changes
of a race are reverted before the next one, outside the measured time.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from load_tests.benchmarks.benches import CannotMeasure, Measured, PrintLine
from load_tests.benchmarks.contestants import OURS, Contestant, ContestantFailed, running, versions
from load_tests.benchmarks.driver_locations import Points, Ring, read_zips, real_metro
from load_tests.benchmarks.flags import count_from, repetitions_flag
from load_tests.benchmarks.pages.ratios import percentile
from load_tests.benchmarks.pages.samples import Sample, sample
from load_tests.benchmarks.postgres import programs

HELP: Final = "search, rank and reserve beside hand-written Redis, PostGIS and brute force"
MODULES: Final[Mapping[str, str]] = {
    "ours": OURS,
    "hand-written": "load_tests.benchmarks.match.redis_way",
    "postgis": "load_tests.benchmarks.match.postgis",
    "brute force": "load_tests.benchmarks.match.brute_force",
}
DRIVERS: Final = (1_000, 10_000, 100_000, 1_000_000)
RACING: Final = (1, 16, 64)
# Races per repetition: about 200 matches, so that the p99 is not just the maximum.
_RACES: Final = {1: 100, 16: 13, 64: 4}
_MATCHES: Final = 208
# The maximum duration of a repetition; a slow contestant makes fewer matches, but at least a race.
_TURN_S: Final = 3.0
# Warm-up: plans statements, opens connections, fills caches and sets the search radius.
_WARM_UP: Final = ((1, 20), (16, 6), (64, 1))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for cases and contestants."""
    parser.add_argument(
        "--drivers",
        type=count_from(100, 5_000_000),
        nargs="+",
        default=DRIVERS,
        metavar="N",
        help="free drivers in the market (default: 1000 10000 100000 1000000)",
    )
    parser.add_argument(
        "--racing",
        type=count_from(1, 1_000),
        nargs="+",
        default=RACING,
        metavar="N",
        help="concurrent jobs of one mall (default: 1 16 64)",
    )
    parser.add_argument(
        "--without",
        choices=[name.replace(" ", "-") for name in MODULES if name != "ours"],
        action="append",
        default=[],
        help="leave out a contestant; repeatable",
    )
    repetitions_flag(parser, 5)


def measure(args: argparse.Namespace, print_line: PrintLine) -> Measured:
    """Measure all cases.

    Raises:
        CannotMeasure: If a contestant fails or a program is missing.
    """
    names = [name for name in MODULES if name.replace(" ", "-") not in args.without]
    if "postgis" in names:
        programs()  # fail before anything takes time
    zips = read_zips()
    samples: list[Sample] = []
    found_versions: dict[str, str] = {}
    for drivers in args.drivers:
        contestants = [Contestant(name, MODULES[name]) for name in names]
        try:
            with running(contestants), tempfile.TemporaryDirectory(prefix="mallard-") as folder:
                where = contestants[0].ask("where")
                area: Ring = [(lon, lat) for lon, lat, *_ in where["area"]]
                points = real_metro(drivers, area, zips)
                load(contestants, points, where, Path(folder), print_line)
                for racing in args.racing:
                    samples += race(contestants, drivers, racing, args.repetitions, print_line)
                found_versions |= versions(contestants)
        except ContestantFailed as error:
            raise CannotMeasure(str(error)) from error
    return Measured(samples, found_versions)


def load(
    contestants: Sequence[Contestant],
    points: Points,
    where: Mapping[str, float],
    folder: Path,
    print_line: PrintLine,
) -> None:
    """Load the same drivers into each contestant and warm it up.

    Raises:
        ContestantFailed: If a contestant fails or lacks drivers.
    """
    file = folder / "positions.npy"
    np.save(file, points)
    at = {"lat": where["lat"], "lon": where["lon"]}
    for one in contestants:
        answer = one.ask("load", positions=str(file), **({} if one.name == "ours" else at))
        if answer["drivers"] != len(points):
            raise ContestantFailed(f"{one.name} has {answer['drivers']} of {len(points)} drivers")
        for jobs, times in _WARM_UP:
            one.ask("race", jobs=jobs, times=times)
        print_line(f"{one.name}: {len(points):,} drivers loaded")


def race(
    contestants: Sequence[Contestant],
    drivers: int,
    racing: int,
    repetitions: int,
    print_line: PrintLine,
) -> list[Sample]:
    """Measure one case with all contestants in turn; the first one rotates."""
    times = {one.name: _times(one, racing) for one in contestants}
    races: dict[str, list[list[float]]] = {one.name: [] for one in contestants}
    for repetition in range(repetitions):
        shift = repetition % len(contestants)
        for one in (*contestants[shift:], *contestants[:shift]):
            answer = one.ask("race", jobs=racing, times=times[one.name])
            races[one.name].append([ms for race_ms in answer["latencies_ms"] for ms in race_ms])
    case = {"drivers": drivers, "racing": racing}
    samples: list[Sample] = []
    for name, latencies in races.items():
        samples += _samples(case, name, latencies, racing * times[name])
        p50, p99 = (samples[-3 + n].values for n in (0, 1))
        print_line(
            f"{drivers:,} drivers, {racing} racing: {name:12} p50 {sorted(p50)[len(p50) // 2]:8.3f}"
            f" ms, p99 {sorted(p99)[len(p99) // 2]:8.3f} ms"
        )
    return samples


def _times(contestant: Contestant, racing: int) -> int:
    """Return the races per repetition, estimated from one unmeasured race."""
    started = time.monotonic()
    contestant.ask("race", jobs=racing, times=1)
    took_s = time.monotonic() - started
    wanted = _RACES.get(racing, max(1, _MATCHES // racing))
    return max(1, min(wanted, int(_TURN_S / took_s)))


def _samples(
    case: Mapping[str, int], name: str, latencies: Sequence[Sequence[float]], jobs: int
) -> list[Sample]:
    """Return the percentiles of each repetition and the share of served jobs."""
    kept = [sorted(repetition) for repetition in latencies]
    p50, p99 = (
        [percentile(repetition, percent) if repetition else float("nan") for repetition in kept]
        for percent in (50, 99)
    )
    return [
        sample(case, name, "p50", "ms", p50, kept),
        sample(case, name, "p99", "ms", p99),
        sample(case, name, "served", "%", [100 * len(one) / jobs for one in kept]),
    ]
