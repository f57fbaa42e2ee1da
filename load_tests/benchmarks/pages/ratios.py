"""Figures with their spread, and ratios of contestants that were measured in turn."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from load_tests.benchmarks.pages.samples import Sample
from mallard_engine.charts import three_digits


class Spread(NamedTuple):
    """The median over the repetitions, the least and the greatest."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{three_digits(self.median)} ({three_digits(self.least)}–{three_digits(self.most)})"


def spread(values: Sequence[float]) -> Spread:
    """Raises `ValueError` for no values."""
    if not values:
        raise ValueError("no values")
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sample, theirs: Sample) -> Spread:
    """Ours over theirs: the median of the pairs' ratios, the least and the greatest.

    Raises `ValueError` when the two have no pairs: another unit, or not as many repetitions.
    """
    if ours.unit != theirs.unit or len(ours.values) != len(theirs.values):
        raise ValueError(
            f"no pairs: {len(ours.values)} {ours.unit} of {ours.contestant}, "
            f"{len(theirs.values)} {theirs.unit} of {theirs.contestant}"
        )
    pairs = zip(ours.values, theirs.values, strict=True)
    return spread([one / other if other else math.inf for one, other in pairs])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
