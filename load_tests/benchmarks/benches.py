"""The benchmarks. Each is a package of two modules:

`load_tests.benchmarks.<name>.measure`
    `HELP`, one line; `add_flags(parser)`; `measure(args, print_line) -> Measured`, which may take
    long and reports its progress with `print_line(line)`.
`load_tests.benchmarks.<name>.chapter`
    `chapter(results) -> Chapter`, from the results alone.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final, Protocol, cast

from load_tests.benchmarks.pages.document import Chapter
from load_tests.benchmarks.pages.samples import Results, Sample

# In the order of the document.
BENCHES: Final[tuple[str, ...]] = (
    *("match", "line", "positions"),
    *("offers", "capacity", "flash", "reporting", "sockets"),
)

PrintLine = Callable[[str], None]


class CannotMeasure(Exception):
    """A requirement of the benchmark is missing; the message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The samples of a benchmark, and the versions of the contestants."""

    samples: list[Sample]
    versions: Mapping[str, str] = field(default_factory=dict)


class Bench(Protocol):
    """The `measure` module of a benchmark."""

    HELP: str

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the benchmark's flags."""

    def measure(self, args: argparse.Namespace, print_line: PrintLine) -> Measured:
        """Measure. Raises `CannotMeasure`."""
        ...


def bench_of(name: str) -> Bench:
    """The `measure` module of a benchmark."""
    return cast("Bench", import_module(f"load_tests.benchmarks.{name}.measure"))


def chapter_of(name: str, results: Results) -> Chapter:
    """The chapter of a benchmark."""
    chapter: Callable[[Results], Chapter] = import_module(
        f"load_tests.benchmarks.{name}.chapter"
    ).chapter
    return chapter(results)
