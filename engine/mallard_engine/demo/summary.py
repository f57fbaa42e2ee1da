"""Prints the result of a demo run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from mallard_engine.demo.audit import Finding
from mallard_engine.demo.metric_readings import Histogram, MetricReadings
from mallard_engine.demo.reassignment_times import (
    DECLINED_WITHIN_MS,
    ENDED_WITHIN_MS,
    ReassignmentTimes,
)
from mallard_engine.demo.screen import ms
from mallard_engine.simulation.reports.bad_day_report import print_whereabouts
from mallard_engine.workload.bad_day.events import BadDay
from mallard_engine.workload.bad_day.ledger import Accounts
from mallard_engine.workload.fleet_tally import FleetTally, percentile

_AIM_P50_MS: Final = 3.0
_AIM_P99_MS: Final = 25.0
_SHARES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run.

    Attributes:
        preset: The markets' preset.
        seen_ms: Latencies from an order's due time to the driver app.
    """

    preset: str
    findings: Sequence[Finding]
    metrics: MetricReadings
    reassignment_times: ReassignmentTimes
    tally: FleetTally
    seen_ms: Sequence[float]
    answer_ms: Sequence[float]
    bad_day: BadDay | None = None
    accounts: Accounts | None = None

    @property
    def holds(self) -> bool:
        """Whether every finding holds."""
        return all(finding.holds for finding in self.findings)


def print_summary(console: Console, outcome: Outcome) -> None:
    """Print latencies, reassignments, driver statistics and the audit."""
    console.print(_latencies(outcome), _reassignments(outcome), _drivers(outcome.tally))
    console.print(_driving(outcome))
    if outcome.bad_day is not None and outcome.accounts is not None:
        print_whereabouts(console, outcome.bad_day, outcome.accounts)
    console.print(_audit(outcome.findings))
    verdict = (
        "[bold green]nothing lost, nothing doubled, nothing breached[/]"
        if outcome.holds
        else "[bold red]the audit failed[/]"
    )
    console.print(verdict)


def _latencies(outcome: Outcome) -> Table:
    table = Table(title="latency", title_justify="left")
    for column in ("", "n", "p50", "p95", "p99", "max", "aim"):
        table.add_column(column, justify="left" if column in {"", "aim"} else "right")
    latency = outcome.metrics.histogram("mallard_offer_latency_seconds")
    table.add_row(
        "POST's arrival → offer handed to the socket (engine)",
        *_of_histogram(latency),
        f"p50 < {_AIM_P50_MS:g} ms, p99 < {_AIM_P99_MS:g} ms",
    )
    table.add_row("order due → offer in the app (apps)", *_of_values(outcome.seen_ms), "")
    table.add_row("order due → 201 (order service)", *_of_values(outcome.answer_ms), "")
    table.add_row("server's stamp → offer in the app", *_of_values(outcome.tally.push_ms), "")
    return table


def _reassignments(outcome: Outcome) -> Table:
    found = outcome.reassignment_times
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(found.by_cause.items()))
    table = Table(
        title=f"reassignments: {sum(found.by_cause.values())} ({causes or 'none'})",
        title_justify="left",
    )
    for column in ("", "n", "p50", "p95", "p99", "max", "in time", "aim"):
        table.add_column(column, justify="left" if column in {"", "aim"} else "right")
    for name, values, limit_ms in (
        ("declined → next driver", found.after_decline, DECLINED_WITHIN_MS),
        ("limit → unanswered offer ended", found.end_lateness, ENDED_WITHIN_MS),
        ("limit → next driver", found.after_end, ENDED_WITHIN_MS),
    ):
        within = sum(value <= limit_ms for value in values)
        share = f"{within / len(values):.1%}" if values else "–"
        table.add_row(name, *_of_values(values), share, f"≤ {limit_ms} ms")
    lateness = outcome.metrics.histogram("mallard_offer_lateness_seconds")
    table.add_row(
        "limit → offer ended (engine's histogram)",
        *_of_histogram(lateness),
        f"{lateness.share_within(ENDED_WITHIN_MS / 1000):.1%}",
        f"≤ {ENDED_WITHIN_MS} ms",
    )
    return table


def _drivers(tally: FleetTally) -> Table:
    table = Table(title="driver apps", title_justify="left")
    for name in sorted(tally.counts):
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(str(tally.counts[name]) for name in sorted(tally.counts)))
    return table


def _driving(outcome: Outcome) -> str:
    """Return what the preset costs in driving, in one line."""
    km, orders = outcome.tally.km_an_order, outcome.tally.orders_a_run
    figures = (
        "no order was delivered"
        if km is None or orders is None
        else f"{km:.1f} km an order, {orders:.1f} orders a run"
    )
    return f"[bold]preset {outcome.preset}[/]: {figures}"


def _audit(findings: Sequence[Finding]) -> Table:
    table = Table(title="audit", title_justify="left")
    for column in ("", "claim", "found"):
        table.add_column(column)
    for finding in findings:
        mark = "[green]✓[/]" if finding.holds else "[bold red]✗[/]"
        table.add_row(mark, finding.claim, finding.seen)
    return table


def _of_histogram(histogram: Histogram) -> list[str]:
    quantiles = [ms(histogram.quantile_ms(share)) for share in _SHARES]
    return [str(histogram.count), *quantiles, ""]  # the last bucket is unbounded


def _of_values(values: Sequence[float]) -> list[str]:
    quantiles = [ms(percentile(values, share)) for share in _SHARES]
    return [str(len(values)), *quantiles, ms(max(values, default=None))]
