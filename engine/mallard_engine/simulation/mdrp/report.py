"""The results of MDRP instances as a table and JSON, with published results beside them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from mallard_engine.input_files import Row, read_rows
from mallard_engine.simulation.mdrp.solution import MdrpStatistics

_REFERENCE = "reference.csv"
# Column, attribute, decimals; a mean leaves out None.
_COLUMNS = (
    ("orders", "orders", 0),
    ("undel. %", "undelivered_percent", 2),
    ("CtD", "ctd_mean", 2),
    ("RtP", "rtp_mean", 2),
    ("RtP max", "rtp_max", 0),
    (">40 %", "over_target_percent", 1),
    ("cost/order", "cost_per_order", 2),
    ("util. %", "utilisation_percent", 1),
    ("per bundle", "orders_per_bundle", 2),
    ("s", "wall_s", 1),
)


@dataclass(frozen=True, slots=True)
class Published:
    """Published ready-to-pickup times of an instance.

    Reyes et al. 2018 (rolling horizon, and with full knowledge), and Yildiz and Savelsbergh 2018
    (optimal with full knowledge).
    """

    reyes_rtp: float | None = None
    reyes_exact_rtp: float | None = None
    ys_rtp: float | None = None


def read_published(folder: Path) -> Mapping[str, Published]:
    """Read `reference.csv` beside the instances; empty without the file.

    Raises:
        InputError: The file is invalid.
    """
    path = folder / _REFERENCE
    if not path.is_file():
        return {}
    return dict(read_rows(path, _published, key="instance"))


def _published(row: Row) -> tuple[str, Published]:
    columns = ("reyes_rtp", "reyes_exact_rtp", "ys_rtp_mean")
    return row.text("instance"), Published(*(_minutes(row, column) for column in columns))


def _minutes(row: Row, column: str) -> float | None:
    return row.number(column, 0, 10_080) if row.text(column) else None


def summary(rows: Sequence[MdrpStatistics]) -> dict[str, float | None]:
    """Return the mean of each column over the instances, unweighted."""
    return {
        attribute: _mean(getattr(row, attribute) for row in rows) for _, attribute, _ in _COLUMNS
    }


def as_json(
    rows: Sequence[MdrpStatistics], published: Mapping[str, Published], how: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the results as plain data; `how` is the settings of the run."""
    return {
        "how": dict(how),
        "instances": [
            asdict(row) | {"published": asdict(published.get(row.instance, Published()))}
            for row in rows
        ],
        "mean": summary(rows),
        "mean_where_reyes_published": _where_published(rows, published),
    }


def print_table(
    console: Console, rows: Sequence[MdrpStatistics], published: Mapping[str, Published]
) -> None:
    """Print a line per instance and the mean of several."""
    table = Table(title="MDRP: minutes; means over delivered orders")
    table.add_column("instance", no_wrap=True)
    for name, _, _ in _COLUMNS:
        table.add_column(name, justify="right")
    for name in ("RtP Reyes", "exact", "optimum YS"):
        table.add_column(name, justify="right", style="dim")
    for row in rows:
        known = published.get(row.instance, Published())
        table.add_row(
            row.instance,
            *(_text(getattr(row, attribute), places) for _, attribute, places in _COLUMNS),
            _text(known.reyes_rtp, 2),
            _text(known.reyes_exact_rtp, 2),
            _text(known.ys_rtp, 2),
        )
    if len(rows) > 1:
        means = summary(rows)
        table.add_section()
        table.add_row(
            f"mean of {len(rows)}",
            *(_text(means[attribute], max(places, 1)) for _, attribute, places in _COLUMNS),
            "",
            "",
            "",
        )
    console.print(table)
    if where := _where_published(rows, published):
        console.print(
            f"the {where['instances']} with results of Reyes et al.: RtP {where['rtp_mean']:.2f}, "
            f"theirs {where['reyes_rtp']:.2f}, with full knowledge {where['reyes_exact_rtp']:.2f}"
        )


def _where_published(
    rows: Sequence[MdrpStatistics], published: Mapping[str, Published]
) -> dict[str, Any] | None:
    known = [
        (row, published[row.instance])
        for row in rows
        if row.instance in published and published[row.instance].reyes_rtp is not None
    ]
    if not known:
        return None
    return {
        "instances": len(known),
        "rtp_mean": _mean(row.rtp_mean for row, _ in known) or 0.0,
        "reyes_rtp": _mean(theirs.reyes_rtp for _, theirs in known) or 0.0,
        "reyes_exact_rtp": _mean(theirs.reyes_exact_rtp for _, theirs in known) or 0.0,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _text(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"
