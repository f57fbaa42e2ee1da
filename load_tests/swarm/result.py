"""The result of a phase of a swarm."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from load_tests.histograms import Histograms
from load_tests.measurements import Measure

_PERCENTS: Final = (50, 90, 95, 99, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmResult:
    """Orders at one rate for so many seconds.

    `counts`: deliveries, fixes, refusals and the like. `generator_cpu`: the share of one core that
    all workers used; `generator_lag_ms`: the largest event-loop lag of a worker. If these are high,
    the generator is measured, not the engine. `edges`: the readings at the start and the end.
    """

    rate: float
    seconds: float
    drivers: int
    histograms: Histograms
    counts: Mapping[str, int]
    generator_cpu: float
    generator_lag_ms: float
    edges: tuple[Any, Any] = (None, None)

    @property
    def cycles_per_s(self) -> float:
        """Jobs delivered a second."""
        return self.counts.get("delivered", 0) / self.seconds

    @property
    def fixes_per_s(self) -> float:
        """Position fixes sent a second."""
        return self.counts.get("fixes", 0) / self.seconds

    def percentile_ms(self, measure: Measure, percent: float) -> float:
        """A percentile of one measure; 0 without any."""
        return self.histograms[measure.value].percentile_ms(percent)

    def failed_share(self, measure: Measure) -> float:
        """Return the share of failures of a measure, 0 to 1."""
        return self.histograms[measure.value].failed_share

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain data for JSON; times in milliseconds."""
        return {
            "rate": self.rate,
            "seconds": self.seconds,
            "drivers": self.drivers,
            "cycles_per_s": round(self.cycles_per_s, 3),
            "fixes_per_s": round(self.fixes_per_s, 3),
            "generator_cpu": round(self.generator_cpu, 4),
            "generator_lag_ms": round(self.generator_lag_ms, 3),
            "counts": dict(sorted(self.counts.items())),
            "measures": {name: self._figures(name) for name in self.histograms.names()},
        }

    def _figures(self, name: str) -> dict[str, Any]:
        latencies = self.histograms[name]
        return {
            "count": latencies.count,
            "failures": latencies.failures,
            "mean_ms": round(latencies.mean_ms, 3),
            **{f"p{it:g}_ms": round(latencies.percentile_ms(it), 3) for it in _PERCENTS},
            "max_ms": round(latencies.max_ms, 3),
        }


def joined(parts: Sequence[SwarmResult]) -> SwarmResult:
    """Join consecutive phases of one rate; their latencies move into the result."""
    histograms = Histograms()
    counts: Counter[str] = Counter()
    for part in parts:
        histograms.add(part.histograms.take())
        counts.update(part.counts)
    return SwarmResult(
        rate=parts[0].rate,
        seconds=sum(part.seconds for part in parts),
        drivers=parts[-1].drivers,
        histograms=histograms,
        counts=counts,
        generator_cpu=sum(part.generator_cpu for part in parts) / len(parts),
        generator_lag_ms=max(part.generator_lag_ms for part in parts),
        edges=(parts[0].edges[0], parts[-1].edges[1]),
    )
