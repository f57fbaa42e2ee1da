"""Prints a table of simulated days."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mallard_engine.simulation.reports.day_statistics import DayStatistics, statistics_of
from mallard_engine.simulation.scenario import Day

# Column, attribute, decimals.
_COLUMNS = (
    ("orders", "orders", 0),
    ("undel. %", "undelivered_percent", 2),
    ("no driver", "served_by_nobody", 0),
    ("wait", "wait_mean", 2),
    ("p95", "wait_p95", 1),
    ("click-door", "click_to_door_mean", 1),
    ("on time %", "on_time_percent", 1),
    ("possible %", "possible_percent", 1),
    ("km/order", "km_per_order", 2),
    ("per run", "orders_per_run", 2),
    ("offers/order", "offers_per_order", 2),
    ("drivers", "drivers", 0),
    ("hours", "driver_hours", 0),
    ("util. %", "utilisation_percent", 1),
    ("gini", "gini", 2),
    ("of pay", "gini_earnings", 2),
    ("s", "wall_s", 1),
)


def print_day(console: Console, day: Day, number: int, days: int) -> None:
    """Print a line about a day that has ended, while others of the `days` are still to come."""
    row = statistics_of(day)
    on_time = f"{row.on_time_percent:.1f} % on time"
    if day.accounts is not None:
        on_time = f"{day.accounts.on_time} of {day.accounts.deliverable} deliverable on time"
    console.print(
        f"day {number} of {days}: {row.day}: {row.delivered} of {row.orders} orders delivered, "
        f"{on_time}; {row.wall_s:.0f} s",
        soft_wrap=True,
    )
    # Output to a file is buffered otherwise until the last day.
    console.file.flush()


def print_days(console: Console, rows: Sequence[DayStatistics], notes: Sequence[str]) -> None:
    """Print a line per day, then the notes."""
    table = Table(
        title="minutes and kilometres; means over delivered orders; no driver: undelivered ones "
        "for which no driver is on shift in time"
    )
    table.add_column("day", no_wrap=True)
    for name, _, _ in _COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        cells = []
        for _, attribute, places in _COLUMNS:
            value = getattr(row, attribute)
            cells.append("–" if value is None else f"{value:.{places}f}")
        table.add_row(row.day, *cells)
    console.print(table)
    for note in notes:
        console.print(note)
