"""Evaluates the effect of the attacks on the engine."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from load_tests.measurements import Measure
from load_tests.swarm.result import SwarmResult
from load_tests.users.tables import table

MAX_GROWTH_MIB: Final = 10.0
MAX_SLOWDOWN: Final = 3.0
# Below this, a ratio of two latencies is dominated by noise.
_LEAST_P99_MS: Final = {Measure.POST_JOB: 5.0, Measure.OFFER: 50.0}
# One summary line a second of each event, and one more as a phase ends within a second.
MAX_LINES_PER_S: Final = 1.1
_SAMPLE: Final = re.compile(r"^(mallard_\w+(?:\{[^}]*\})?) ([0-9.e+]+)$", re.MULTILINE)


def counters(exposition: str) -> dict[str, float]:
    """Return the counters of a `/metrics` page, by name and labels."""
    return {
        name: float(value)
        for name, value in _SAMPLE.findall(exposition)
        if name.partition("{")[0].endswith("_total")
    }


def events(log: bytes) -> Counter[str]:
    """Count each event in a log of JSON lines; other lines count as they are."""
    return Counter(_event(line) for line in log.decode(errors="replace").splitlines())


def _event(line: str) -> str:
    try:
        return str(json.loads(line)["event"])
    except (ValueError, KeyError, TypeError):
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One run: the phase under attack, the control phase, and the node before and after.

    `logged`: the events of the log during the attack. `counted`: by how much each counter moved.
    `wanted_counters`: those by which the engine counts the attacks that were played.
    """

    attacked: SwarmResult
    control: SwarmResult
    before_mib: float
    peak_mib: float
    after_mib: float
    attackers_cpu: float
    logged: Mapping[str, int]
    done: Mapping[str, Mapping[str, int]]
    counted: Mapping[str, float]
    wanted_counters: Collection[str]

    @property
    def drivers_lost(self) -> int:
        """The number of closed driver sockets."""
        closed = (it for name, it in self.attacked.counts.items() if name.startswith("socket clos"))
        return sum(closed)

    def slowdown(self, measure: Measure, least_ms: float) -> float:
        """The neighbour's p99 under attack, as a multiple of that of the control run."""
        control_ms = self.control.percentile_ms(measure, 99)
        return self.attacked.percentile_ms(measure, 99) / max(control_ms, least_ms)

    @property
    def loudest(self) -> tuple[str, float]:
        """The most frequent log event, and its rate per second."""
        event, lines = max(self.logged.items(), key=lambda it: it[1], default=("-", 0))
        # One line at the start of the phase, then one per second.
        return event, max(0, lines - 1) / self.attacked.seconds

    @property
    def uncounted(self) -> list[str]:
        """The counters that an attack should have incremented and did not."""
        return sorted(name for name in self.wanted_counters if not self.counted.get(name))

    def goals(self) -> Iterator[tuple[str, str, str, bool]]:
        """The goals: name, bound, measured value, and whether it was met."""
        growth = self.after_mib - self.before_mib
        yield "memory", f"<= {MAX_GROWTH_MIB:g} MiB", f"{growth:+.1f}", growth <= MAX_GROWTH_MIB
        yield "drivers lost", "0", str(self.drivers_lost), self.drivers_lost == 0
        for measure, least_ms in _LEAST_P99_MS.items():
            slowdown = self.slowdown(measure, least_ms)
            wanted = f"< {MAX_SLOWDOWN:g}"
            yield f"{measure}: p99 / control", wanted, f"{slowdown:.2f}", slowdown < MAX_SLOWDOWN
            failed = self.attacked.failed_share(measure)
            yield f"{measure}: failed", "0 %", f"{failed:.2%}", failed == 0
        event, lines = self.loudest
        wanted = f"<= {MAX_LINES_PER_S:g}"
        yield (
            "lines of one event a second",
            wanted,
            f"{lines:.1f} ({event})",
            lines <= MAX_LINES_PER_S,
        )
        uncounted = self.uncounted
        yield "counters that did not move", "none", ", ".join(uncounted) or "none", not uncounted

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
                    ("measure", "phase", "count", "failed", "p50", "p99", "max"),
                    [
                        self._row(measure, phase, result)
                        for measure in _LEAST_P99_MS
                        for phase, result in (("control", self.control), ("attack", self.attacked))
                    ],
                ),
                table("The log during the attack", ("event", "lines"), self._log_rows()),
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

    def _log_rows(self) -> list[Sequence[str]]:
        return [(event[:60], str(lines)) for event, lines in sorted(self.logged.items())]

    @staticmethod
    def _row(measure: Measure, phase: str, result: SwarmResult) -> Sequence[str]:
        seen = result.histograms[measure.value]
        times = (seen.percentile_ms(50), seen.percentile_ms(99), seen.max_ms)
        return measure, phase, str(seen.count), str(seen.failures), *(f"{it:.1f}" for it in times)
