"""Short runs of whole systems: the CPU of a position and of a cycle, beside minimal programs."""

import argparse
from collections.abc import Sequence
from typing import Final

from load_tests.benchmarks.benches import PrintLine, bench_of
from load_tests.benchmarks.capacity import measure as capacity
from load_tests.benchmarks.pages.samples import Sample
from load_tests.benchmarks.reporting import measure as reporting
from load_tests.benchmarks.system.arena import LINE, MALLARD, SINK

_REPORTING: Final = ("--drivers", "500", "--report-s", "0.25", "--seconds", "5")
_CAPACITY: Final = ("--drivers", "300", "--rate", "100", "--seconds", "5")

# The engine's value, and that of a minimal program.
Pair = tuple[float, float]


def position_cpu(print_line: PrintLine) -> Pair:
    """Return the server's CPU per position over a socket, in microseconds: engine, sink."""
    samples = _measured("reporting", _REPORTING, print_line)
    return _best(samples, MALLARD, reporting.SERVER), _best(samples, SINK, reporting.SERVER)


def cycle_cpu(print_line: PrintLine) -> Pair:
    """Return the server's CPU per cycle, in milliseconds: engine, minimal program."""
    samples = _measured("capacity", _CAPACITY, print_line)
    return _best(samples, MALLARD, capacity.SERVER), _best(samples, LINE, capacity.SERVER)


def _measured(name: str, words: Sequence[str], print_line: PrintLine) -> list[Sample]:
    bench = bench_of(name)
    parser = argparse.ArgumentParser()
    bench.add_flags(parser)
    return bench.measure(parser.parse_args([*words, "--repetitions", "1"]), print_line).samples


def _best(samples: Sequence[Sample], contestant: str, metric: str) -> float:
    (found,) = (s for s in samples if (s.contestant, s.metric) == (contestant, metric))
    return min(found.values)
