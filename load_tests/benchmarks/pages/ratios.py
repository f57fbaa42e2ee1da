"""Measurements with their spread, and ratios of contestants that were measured in turn."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from load_tests.benchmarks.pages.samples import Sample
from mallard_engine.charts import three_digits


class Spread(NamedTuple):
    """Median, minimum and maximum over the repetitions."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{three_digits(self.median)} ({three_digits(self.least)}–{three_digits(self.most)})"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread. Raise `ValueError` if there are no values."""
    if not values:
        raise ValueError("no values")
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sample, theirs: Sample) -> Spread:
    """Return the spread of ours over theirs, repetition by repetition.

    Raises:
        ValueError: The samples differ in unit or number of repetitions.
    """
    if ours.unit != theirs.unit or len(ours.values) != len(theirs.values):
        raise ValueError(
            f"no pairs: {len(ours.values)} {ours.unit} of {ours.contestant}, "
            f"{len(theirs.values)} {theirs.unit} of {theirs.contestant}"
        )
    pairs = zip(ours.values, theirs.values, strict=True)
    return spread([one / other if other else math.inf for one, other in pairs])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
