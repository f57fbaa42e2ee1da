"""What the attacks did to the engine, and whether that was too much."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from load_tests.measures import Measure
from load_tests.swarm.result import SwarmResult
from load_tests.tables import table

MAX_GROWTH_MIB: Final = 10.0
MAX_SLOWDOWN: Final = 3.0
# Below this a ratio of two latencies says more about the machine than about the engine.
_LEAST_P99_MS: Final = 5.0
MAX_LOG_LINES_PER_S: Final = 5.0
_SAMPLE: Final = re.compile(r"^(mallard_\w+(?:\{[^}]*\})?) ([0-9.e+]+)$", re.MULTILINE)


def counters(exposition: str) -> dict[str, float]:
    """Return the counters of a `/metrics` page, by name and labels."""
    return {
        name: float(value)
        for name, value in _SAMPLE.findall(exposition)
        if name.partition("{")[0].endswith("_total")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One run: the phase under attack, the control phase, and the node before and after."""

    attacked: SwarmResult
    control: SwarmResult
    before_mib: float
    peak_mib: float
    after_mib: float
    attackers_cpu: float
    log_lines_per_s: float
    done: Mapping[str, Mapping[str, int]]
    counted: Mapping[str, float] = field(default_factory=dict)

    @property
    def drivers_lost(self) -> int:
        """How many driver sockets were closed, for whatever reason."""
        closed = (it for name, it in self.attacked.counts.items() if name.startswith("socket clos"))
        return sum(closed)

    @property
    def slowdown(self) -> float:
        """The neighbour's p99 under attack, as a multiple of that of the control run."""
        control_ms = self.control.percentile_ms(Measure.POST_JOB, 99)
        attacked_ms = self.attacked.percentile_ms(Measure.POST_JOB, 99)
        return attacked_ms / max(control_ms, _LEAST_P99_MS)

    def goals(self) -> Iterator[tuple[str, str, str, bool]]:
        """Each goal: its name, what is wanted, what was seen, whether it was met."""
        growth = self.after_mib - self.before_mib
        failed = self.attacked.failed_share(Measure.POST_JOB)
        lines = self.log_lines_per_s
        yield "memory", f"<= {MAX_GROWTH_MIB:g} MiB", f"{growth:+.1f}", growth <= MAX_GROWTH_MIB
        yield "drivers lost", "0", str(self.drivers_lost), self.drivers_lost == 0
        slowdown = self.slowdown
        yield "p99 / control", f"< {MAX_SLOWDOWN:g}", f"{slowdown:.2f}", slowdown < MAX_SLOWDOWN
        yield "orders failed", "0 %", f"{failed:.2%}", failed == 0
        wanted = f"<= {MAX_LOG_LINES_PER_S:g}"
        yield "log lines a second", wanted, f"{lines:.1f}", lines <= MAX_LOG_LINES_PER_S

    @property
    def met(self) -> bool:
        """Whether every goal was met."""
        return all(met for *_, met in self.goals())

    def text(self) -> str:
        """The report for a person."""
        return "\n".join(
            (
                table("Attacks", ("attack", "what it did"), self._attack_rows()),
                table("Counters of the engine that moved", ("counter", "by"), self._counter_rows()),
                table(
                    "The neighbour, ms",
                    ("phase", "orders", "failed", "p50", "p99", "max"),
                    [self._row("control", self.control), self._row("attack", self.attacked)],
                ),
                f"attackers: {self.attackers_cpu:.2f} cores, niced; the control run burnt as much",
                (
                    f"engine: {self.before_mib:.1f} MiB before, {self.peak_mib:.1f} at the peak, "
                    f"{self.after_mib:.1f} after"
                ),
                table(
                    "Goals",
                    ("goal", "wanted", "seen", ""),
                    [(*row, "met" if met else "MISSED") for *row, met in self.goals()],
                ),
            )
        )

    def _attack_rows(self) -> list[Sequence[str]]:
        return [
            (name, ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "-")
            for name, counts in self.done.items()
        ]

    def _counter_rows(self) -> list[Sequence[str]]:
        return [(name, f"{count:g}") for name, count in sorted(self.counted.items())] or [("-", "")]

    @staticmethod
    def _row(phase: str, result: SwarmResult) -> Sequence[str]:
        posts = result.histograms[Measure.POST_JOB.value]
        times = (posts.percentile_ms(50), posts.percentile_ms(99), posts.max_ms)
        return phase, str(posts.count), str(posts.failures), *(f"{it:.1f}" for it in times)
