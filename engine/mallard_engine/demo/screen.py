"""The demo's screen: a live view in a terminal, otherwise a line every two seconds."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Self

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mallard_engine.demo.metric_readings import MetricReadings
from mallard_protocol.lifecycle import TERMINAL, JobState

_LINE_EVERY_S: Final = 2.0
_BAR_WIDTH: Final = 60
_JOB_STATES: Final = (
    JobState.SCHEDULED,
    JobState.QUEUED,
    JobState.OFFERED,
    JobState.ASSIGNED,
    JobState.AT_MALL,
    JobState.PICKED_UP,
    JobState.RETURNING,
    JobState.DELIVERED,
    JobState.RETURNED,
    JobState.CANCELLED,
    JobState.EXPIRED,
    JobState.FAILED,
)
# Shown only once there are any.
_RARE: Final = frozenset({JobState.RETURNING, JobState.FAILED})
_DRIVER_STATES: Final = ("available", "offered", "on_run", "paused", "offline", "no socket")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the run at one moment.

    Attributes:
        expected: The approximate number of jobs at the end of the run.
        seen_ms: p50, p95 and p99 of the latency from an order's due time to an app.
    """

    phase: str
    elapsed_s: float
    submitted: int
    expected: int
    metrics: MetricReadings = field(default_factory=lambda: MetricReadings(()))
    drivers: Counter[str] = field(default_factory=Counter)
    offers_per_s: float = 0.0
    reassigned_per_s: float = 0.0
    seen_ms: tuple[float | None, float | None, float | None] = (None, None, None)

    @property
    def ended(self) -> int:
        """The number of jobs that have ended."""
        return sum(self.metrics.jobs[state] for state in TERMINAL)


class Screen:
    """Shows snapshots; a context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last_line_s = 0.0

    def __enter__(self) -> Self:
        if self._live is None:
            self._console.print(self._title, soft_wrap=True)
        else:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def print_line(self, text: str) -> None:
        """Print a line that stays on the screen."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot."""
        if self._live is not None:
            self._live.update(self.view(snapshot), refresh=True)
        elif time.monotonic() - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self._console.print(line(snapshot), highlight=False, soft_wrap=True)

    def view(self, snapshot: Snapshot) -> Group:
        """Return what a terminal shows."""
        tables = (_jobs(snapshot), _drivers(snapshot), _rates(snapshot), _latencies(snapshot))
        bar = ProgressBar(max(1, snapshot.expected), snapshot.ended, _BAR_WIDTH)
        progress = Table.grid(padding=(0, 1))
        progress.add_row(
            f"{snapshot.elapsed_s:5.1f} s",
            f"{snapshot.phase:<9}",
            bar,
            f"{snapshot.ended} jobs ended",
        )
        return Group(
            Panel(Text(self._title, style="dim"), title="mallard demo", title_align="left"),
            Columns(tables, padding=(0, 2)),
            progress,
        )


def line(snapshot: Snapshot) -> str:
    """Format a snapshot in one line."""
    jobs = ", ".join(
        f"{snapshot.metrics.jobs[state]} {state}"
        for state in _JOB_STATES
        if snapshot.metrics.jobs[state]
    )
    p50, _, p99 = _engine_ms(snapshot)
    return (
        f"{snapshot.elapsed_s:5.1f} s {snapshot.phase}: {snapshot.submitted} submitted; "
        f"jobs: {jobs or 'none'}; {snapshot.drivers['on_run']} drivers on a run, "
        f"{snapshot.offers_per_s:.1f} offers/s, {snapshot.reassigned_per_s:.1f} reassigned/s; "
        f"offer p50 {ms(p50)}, p99 {ms(p99)}"
    )


def ms(value: float | None) -> str:
    """Format milliseconds; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _jobs(snapshot: Snapshot) -> Table:
    table = _table("jobs", "")
    for state in _JOB_STATES:
        if snapshot.metrics.jobs[state] or state not in _RARE:
            table.add_row(state.value, str(snapshot.metrics.jobs[state]))
    return table


def _drivers(snapshot: Snapshot) -> Table:
    table = _table("drivers", "")
    for state in _DRIVER_STATES:
        table.add_row(state, str(snapshot.drivers[state]))
    return table


def _rates(snapshot: Snapshot) -> Table:
    table = _table("offers", "")
    table.add_row("a second", f"{snapshot.offers_per_s:.1f}")
    table.add_row("reassigned a second", f"{snapshot.reassigned_per_s:.1f}")
    for result, count in sorted(snapshot.metrics.offers.items()):
        table.add_row(result, str(count))
    return table


def _latencies(snapshot: Snapshot) -> Table:
    table = _table("offer latency", "engine", "apps")
    for name, engine, apps in zip(
        ("p50", "p95", "p99"), _engine_ms(snapshot), snapshot.seen_ms, strict=True
    ):
        table.add_row(name, ms(engine), ms(apps))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _engine_ms(snapshot: Snapshot) -> tuple[float | None, float | None, float | None]:
    latency = snapshot.metrics.histogram("mallard_offer_latency_seconds")
    return latency.quantile_ms(0.5), latency.quantile_ms(0.95), latency.quantile_ms(0.99)
