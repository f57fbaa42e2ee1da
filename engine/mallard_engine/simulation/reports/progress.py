"""A progress bar with the virtual clock of a simulation."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mallard_engine.simulation.run_day import Watch
from mallard_engine.simulation.scenario import Scenario


@contextmanager
def progress_of(scenario: Scenario, console: Console) -> Iterator[Watch | None]:
    """Yield a callback that moves a progress bar; None if the output is not a terminal."""
    if not console.is_terminal:
        yield None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[clock]}  {task.fields[done]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # The default of ten times a second takes 3 % of the time of a large day.
        refresh_per_second=2,
    ) as bar:
        total_ms = scenario.end_ms - scenario.start_ms
        task = bar.add_task(scenario.name, total=total_ms, clock="", done="")

        def watch(at_ms: int, placed: int, delivered: int) -> None:
            clock = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M")
            done = f"{delivered}/{placed} of {len(scenario.orders)} orders"
            bar.update(task, completed=at_ms - scenario.start_ms, clock=clock, done=done)

        yield watch
