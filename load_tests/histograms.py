"""HDR histograms of the measures of a run.

Locust rounds latencies to two digits; these histograms keep three, from a microsecond to an hour
(http://hdrhistogram.org), and those of several workers can be added without loss. Failures are
counted and not included in percentiles.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from hdrh.histogram import HdrHistogram

_LOWEST_US: Final = 1
_HIGHEST_US: Final = 3_600_000_000
_DIGITS: Final = 3
_US_PER_MS: Final = 1000


class Latencies:
    """The latencies of one name, in milliseconds, and its failures."""

    def __init__(self) -> None:
        self.failures = 0
        self._histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)

    @property
    def count(self) -> int:
        """The number of requests, including failures."""
        return int(self._histogram.get_total_count()) + self.failures

    @property
    def failed_share(self) -> float:
        """The share of failures, 0 to 1."""
        return self.failures / self.count if self.count else 0.0

    @property
    def max_ms(self) -> float:
        """The maximum."""
        return self._ms(self._histogram.get_max_value())

    @property
    def mean_ms(self) -> float:
        """The arithmetic mean."""
        return self._ms(self._histogram.get_mean_value())

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile, `percent` from 0 to 100; 0 without values."""
        return self._ms(self._histogram.get_value_at_percentile(percent))

    def record(self, ms: float) -> None:
        """Add a success; values are clamped to one microsecond and one hour."""
        us = min(max(round(ms * _US_PER_MS), _LOWEST_US), _HIGHEST_US)
        self._histogram.record_value(us)

    def take(self) -> dict[str, Any]:
        """Return the recorded values as plain data, and clear them."""
        taken = {"failures": self.failures, "hdr": self._histogram.encode().decode("ascii")}
        self.failures = 0
        self._histogram.reset()
        return taken

    def add(self, taken: Mapping[str, Any]) -> None:
        """Add the values of another process."""
        self.failures += taken["failures"]
        self._histogram.decode_and_add(taken["hdr"].encode("ascii"))

    def write(self, path: Path) -> None:
        """Write the percentile distribution, in milliseconds, as HDR plotters read it."""
        with path.open("wb") as file:
            self._histogram.output_percentile_distribution(file, _US_PER_MS)

    @staticmethod
    def _ms(us: float) -> float:
        return us / _US_PER_MS


class Histograms:
    """The latencies of a run by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Latencies] = {}

    def __getitem__(self, name: str) -> Latencies:
        """Return the latencies of a name, which may be empty."""
        return self._by_name.get(name) or Latencies()

    def names(self) -> Iterable[str]:
        """Return the recorded names."""
        return sorted(self._by_name)

    def record(self, name: str, ms: float, *, failed: bool = False) -> None:
        """Record a request; the latency only of a success."""
        latencies = self._of(name)
        if failed:
            latencies.failures += 1
        else:
            latencies.record(ms)

    def take(self) -> dict[str, Any]:
        """Return and clear all recorded values, as plain data."""
        return {name: it.take() for name, it in self._by_name.items() if it.count}

    def add(self, taken: Mapping[str, Any]) -> None:
        """Add the values of a worker."""
        for name, latencies in taken.items():
            self._of(name).add(latencies)

    def clear(self) -> None:
        """Clear all values."""
        self._by_name.clear()

    def write(self, folder: Path) -> None:
        """Write a `.hgrm` file for each name."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, latencies in self._by_name.items():
            slug = "-".join("".join(c if c.isalnum() else " " for c in name).split())
            latencies.write(folder / f"{slug.lower()}.hgrm")

    def _of(self, name: str) -> Latencies:
        latencies = self._by_name.get(name)
        if latencies is None:
            latencies = self._by_name[name] = Latencies()
        return latencies
