"""Prints a table of simulated days."""

from collections.abc import Sequence
from textwrap import wrap

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mallard_engine.simulation.reports.day_statistics import DayStatistics, statistics_of
from mallard_engine.simulation.scenario import Day

# Label, attribute, decimals.
_STATISTICS = (
    ("orders", "orders", 0),
    ("undelivered %", "undelivered_percent", 2),
    ("no driver", "served_by_nobody", 0),
    ("wait, mean min", "wait_mean", 2),
    ("wait, p95 min", "wait_p95", 1),
    ("click to door, mean min", "click_to_door_mean", 1),
    ("on time %", "on_time_percent", 1),
    ("possible %", "possible_percent", 1),
    ("km an order", "km_per_order", 2),
    ("orders a run", "orders_per_run", 2),
    ("offers an order", "offers_per_order", 2),
    ("drivers", "drivers", 0),
    ("driver hours", "driver_hours", 0),
    ("utilisation %", "utilisation_percent", 1),
    ("gini, orders", "gini", 2),
    ("gini, pay", "gini_earnings", 2),
    ("s to run", "wall_s", 1),
)
_TITLE = (
    "means over delivered orders; "
    "no driver: undelivered ones for which no driver is on shift in time"
)
_HEAD_WIDTH = 6
# Of a day beside others: room for its values; its name is folded.
_DAY_WIDTH = 16
_ANY_WIDTH = 10_000


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
    """Print a line per day, or where that is too wide a line per statistic; then the notes."""
    table = _line_per_day(rows)
    unbounded = console.options.update(width=_ANY_WIDTH)
    if Measurement.get(console, unbounded, table).maximum <= console.width:
        console.print(table)
    else:
        labels = max(len(label) for label, _, _ in _STATISTICS)
        beside = max(1, (console.width - labels) // _DAY_WIDTH)
        for start in range(0, len(rows), beside):
            console.print(_line_per_statistic(rows[start : start + beside]))
    for note in notes:
        console.print(note)


def _line_per_day(rows: Sequence[DayStatistics]) -> Table:
    table = Table(title=_TITLE)
    table.add_column("day", no_wrap=True)
    for label, _, _ in _STATISTICS:
        table.add_column(
            "\n".join(wrap(label, _HEAD_WIDTH, break_long_words=False)), justify="right"
        )
    for row in rows:
        cells = (_text(row, attribute, places) for _, attribute, places in _STATISTICS)
        table.add_row(row.day, *cells)
    return table


def _line_per_statistic(rows: Sequence[DayStatistics]) -> Table:
    table = Table(title=_TITLE)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(row.day, justify="right", overflow="fold")
    for label, attribute, places in _STATISTICS:
        table.add_row(label, *(_text(row, attribute, places) for row in rows))
    return table


def _text(row: DayStatistics, attribute: str, places: int) -> str:
    value = getattr(row, attribute)
    return "–" if value is None else f"{value:.{places}f}"
