"""Reads the nodes' metrics: sums over nodes, and quantiles of histograms."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

REASSIGNING: Final = ("declined", "expired", "unacknowledged", "withdrawn")
"""The results of an offer after which its job is offered to another driver."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A cumulative histogram: upper bounds in seconds, the last infinite, and counts up to each."""

    bounds_s: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def count(self) -> int:
        """The number of values."""
        return int(self.counts[-1]) if self.counts else 0

    def quantile_ms(self, share: float) -> float | None:
        """Return a quantile in milliseconds, interpolated within its bucket as Prometheus does."""
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
        """Return the share of values at or below a limit, which must be one of the bounds."""
        return self.counts[self.bounds_s.index(limit_s)] / self.count if self.count else 1.0


class MetricReadings:
    """The sum of the metrics of several nodes."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._buckets: defaultdict[str, defaultdict[float, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        self.offers: Counter[str] = Counter()
        self.drivers: Counter[str] = Counter()
        self.jobs: Counter[str] = Counter()
        # Transfers that were begun; they count as jobs.
        self.transfers = 0
        for text in texts:
            self._read(text)

    @property
    def reassigned(self) -> int:
        """The number of offers that ended so that the job is offered to another driver."""
        return sum(self.offers[result] for result in REASSIGNING)

    def histogram(self, name: str) -> Histogram:
        """Return the histogram of a metric; empty if no node has it."""
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
                elif sample.name == "mallard_transfers_total":
                    self.transfers += int(sample.value) * (sample.labels["result"] == "begun")
                elif sample.name == "mallard_drivers":
                    self.drivers[sample.labels["state"]] += int(sample.value)
                elif sample.name == "mallard_jobs":
                    jobs[sample.labels["state"]] += int(sample.value)
        # Every node reports the jobs of all nodes: take the most complete report, not the sum.
        if sum(jobs.values()) >= sum(self.jobs.values()):
            self.jobs = jobs
