"""MetricReadings out of the nodes' metrics: sums over nodes, quantiles of histograms."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

REASSIGNING: Final = ("declined", "expired", "unacknowledged", "withdrawn")
"""How an offer ends so that its job goes to another driver."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Upper bounds in seconds (the last is infinite) and how many values lie at or below each."""

    bounds_s: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.counts[-1]) if self.counts else 0

    def quantile_ms(self, share: float) -> float | None:
        """The value below which this share lies, in milliseconds, as Prometheus estimates it:
        evenly spread within a bucket."""
        rank = share * self.count
        if not rank:
            return None
        edges = pairwise(zip((0.0, *self.bounds_s), (0.0, *self.counts), strict=True))
        for (low_s, below), (high_s, up_to) in edges:
            if up_to >= rank:
                if high_s == float("inf"):
                    return low_s * 1000
                return (low_s + (high_s - low_s) * (rank - below) / (up_to - below)) * 1000
        return None

    def share_within(self, limit_s: float) -> float:
        """The share of values at or below a limit, which must be one of the bounds."""
        return self.counts[self.bounds_s.index(limit_s)] / self.count if self.count else 1.0


class MetricReadings:
    """The metrics of several nodes, added up."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._buckets: defaultdict[str, defaultdict[float, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        self.offers: Counter[str] = Counter()
        self.drivers: Counter[str] = Counter()
        self.jobs: Counter[str] = Counter()
        for text in texts:
            self._read(text)

    @property
    def reassigned(self) -> int:
        """How many offers ended so that their job went on to another driver."""
        return sum(self.offers[result] for result in REASSIGNING)

    def histogram(self, name: str) -> Histogram:
        """A histogram by its metric's name; empty when no node has it."""
        buckets = sorted(self._buckets[name].items())
        return Histogram(tuple(bound for bound, _ in buckets), tuple(n for _, n in buckets))

    def _read(self, text: str) -> None:
        jobs: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    bound = float(sample.labels["le"])
                    self._buckets[family.name][bound] += sample.value
                elif sample.name == "mallard_offers_total":
                    self.offers[sample.labels["result"]] += int(sample.value)
                elif sample.name == "mallard_drivers":
                    self.drivers[sample.labels["state"]] += int(sample.value)
                elif sample.name == "mallard_jobs":
                    jobs[sample.labels["state"]] += int(sample.value)
        # Every node tells the jobs of all: the fullest picture counts, not the sum.
        if sum(jobs.values()) >= sum(self.jobs.values()):
            self.jobs = jobs
