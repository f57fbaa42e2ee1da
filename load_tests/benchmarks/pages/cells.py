"""Results as cells of a table, points of a plot and goals."""

from collections.abc import Iterable, Sequence

from load_tests.benchmarks.pages.document import Aim
from load_tests.benchmarks.pages.ratios import Spread, ratio, spread
from load_tests.benchmarks.pages.samples import Case, Results
from mallard_engine.charts import Point, Series, three_digits

MISSING = "-"


def spread_of(results: Results, contestant: str, metric: str, case: Case) -> Spread | None:
    """Return the spread of a metric in a case; None if it was not measured."""
    found = results.find(contestant, metric, **case)
    return spread(found.values) if found else None


def ratio_of(
    results: Results, metric: str, contestants: tuple[str, str], case: Case
) -> Spread | None:
    """Return the first contestant's metric over the second's; None if one was not measured."""
    ours, theirs = (results.find(name, metric, **case) for name in contestants)
    return ratio(ours, theirs) if ours and theirs else None


def cell(figure: Spread | None) -> str:
    """Format a spread."""
    return MISSING if figure is None else str(figure)


def ratio_cell(figure: Spread | None) -> str:
    """Format a ratio to a peer, in bold where the peer is better."""
    return f"**{figure}**" if figure and figure.median > 1 else cell(figure)


def medians(figures: Iterable[Spread | None]) -> str:
    """Format several medians in one cell."""
    return " / ".join(MISSING if one is None else three_digits(one.median) for one in figures)


def series(
    results: Results, name: str, contestant: str, metric: str, cases: Sequence[tuple[float, Case]]
) -> Series | None:
    """Return a contestant's series over the cases with their x; None if nothing was measured."""
    points = [
        Point(x, figure.median, figure.least, figure.most)
        for x, case in cases
        if (figure := spread_of(results, contestant, metric, case))
    ]
    return Series(name, points) if points else None


def aim(
    name: str, limit: float, measured: Spread | None, unit: str = "", *, every: bool = False
) -> list[Aim]:
    """Return the goal, or nothing if it was not measured."""
    return [] if measured is None else [Aim(name, limit, measured, unit, every)]
