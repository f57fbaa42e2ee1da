"""Cells of tables from results; empty without a measurement."""

from collections.abc import Iterator

from load_tests.benchmarks.pages import cells
from load_tests.benchmarks.pages.samples import Case, Results
from load_tests.benchmarks.system.arena import SHOWN


def cell(results: Results, contestant: str, metric: str, case: Case) -> str:
    """Return the median with its spread."""
    return cells.cell(cells.spread_of(results, contestant, metric, case))


def ratio_cell(results: Results, metric: str, ours: str, theirs: str, case: Case) -> str:
    """Return the ratio of two contestants."""
    found = cells.ratio_of(results, metric, (ours, theirs), case)
    return f"{found} ×" if found else cells.MISSING


def shown(contestant: str) -> str:
    """Return the name of a contestant in the document."""
    return SHOWN.get(contestant, contestant)


def cases(results: Results) -> Iterator[Case]:
    """Return the cases in the order of their measurement."""
    seen: list[Case] = []
    for sample in results.samples:
        if sample.case not in seen:
            seen.append(sample.case)
            yield sample.case


def named(case: Case) -> str:
    """Format a case: ``2000 drivers, 4000 fixes a second``; text stays as it is."""
    return ", ".join(
        value if isinstance(value, str) else f"{value:g} {name}" for name, value in case.items()
    )
