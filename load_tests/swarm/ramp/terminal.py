"""The terminal output of a ramp."""

import io
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from load_tests.measurements import Measure
from load_tests.swarm.coordinator import PhaseProgress
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.ramp.rate_search import Step

_WIDTH: Final = 140


class Screen:
    """Shows a progress bar for the current rate and a line for each finished one, on stderr."""

    def __init__(self, plan: SwarmPlan) -> None:
        self._plan = plan
        self._rate = 0.0
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[seen]}"),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task(
            f"{plan.drivers} drivers connect", total=plan.seconds, seen=""
        )

    def __enter__(self) -> Self:
        """Show the progress bar."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the progress bar."""
        self._progress.stop()

    def watch(self, rate: float, progress: PhaseProgress) -> None:
        """Update the progress of the current rate."""
        offers = progress.window.histograms[Measure.OFFER.value]
        self._progress.update(
            self._bar,
            description=f"{rate:g} orders/s",
            completed=progress.seconds,
            seen=f"{offers.count} offers, p50 {offers.percentile_ms(50):.1f} ms, "
            f"p99 {offers.percentile_ms(99):.1f} ms",
        )

    def show(self, steps: Sequence[Step]) -> None:
        """Print the result of a finished rate."""
        step = steps[-1]
        missed = [f"{it.name} {it.wanted}: {it.seen}" for it in step.verdicts if not it.met]
        outcome = f"missed: {'; '.join(missed)}" if missed else "met"
        p99_ms = step.result.percentile_ms(Measure.OFFER, 99)
        self._progress.console.print(f"{step.rate:g} orders/s: p99 {p99_ms:.1f} ms, {outcome}")
        self._progress.update(self._bar, description="next rate", completed=0, seen="")


def ramp_table(steps: Sequence[Step]) -> str:
    """Return a table with a line per rate, ascending."""
    table = Table(title="Offer latency by rate", title_justify="left")
    for head in (
        *("orders/s", "delivered/s", "p50 ms", "p90 ms", "p99 ms", "failed"),
        *("engine CPU", "Redis CPU", "engine MiB", "lag p99 ms", "generator CPU", ""),
    ):
        table.add_column(head, justify="right")
    for step in sorted(steps, key=lambda step: step.rate):
        result, used = step.result, step.usage
        table.add_row(
            f"{step.rate:g}",
            f"{result.cycles_per_s:.1f}",
            *(f"{result.percentile_ms(Measure.OFFER, it):.2f}" for it in (50, 90, 99)),
            f"{result.failed_share(Measure.OFFER):.2%}",
            _shown(used.engine_cpu, ".1%"),
            _shown(used.redis_cpu, ".1%"),
            _shown(used.engine_mib, ".0f"),
            "" if used.lag_p99_ms is None else f"≤ {used.lag_p99_ms:g}",
            f"{result.generator_cpu:.1%}",
            "met" if step.met else "MISSED",
        )
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
