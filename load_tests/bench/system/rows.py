"""Figures of results as cells of tables; empty where nothing was measured."""

from collections.abc import Iterator

from load_tests.bench.ratios import Spread, ratio, spread
from load_tests.bench.samples import Case, Results

NOTHING = "–"


def cell(results: Results, contestant: str, metric: str, **case: float | str) -> str:
    """The median with its spread."""
    found = results.find(contestant, metric, **case)
    return str(spread(found.values)) if found else NOTHING


def ratio_of(
    results: Results, metric: str, ours: str, theirs: str, **case: float | str
) -> Spread | None:
    """The ratio of two contestants; None if one of them has no such figure."""
    pair = [results.find(name, metric, **case) for name in (ours, theirs)]
    if pair[0] is None or pair[1] is None:
        return None
    return ratio(pair[0], pair[1])


def ratio_cell(results: Results, metric: str, ours: str, theirs: str, **case: float | str) -> str:
    """The ratio of two contestants."""
    found = ratio_of(results, metric, ours, theirs, **case)
    return f"{found} ×" if found else NOTHING


def cases(results: Results) -> Iterator[Case]:
    """Each case once, in the order in which they were measured."""
    seen: list[Case] = []
    for sample in results.samples:
        if sample.case not in seen:
            seen.append(sample.case)
            yield sample.case


def named(case: Case) -> str:
    """A case for people: ``2000 drivers, 4000 fixes a second``; a word stands for itself."""
    return ", ".join(
        value if isinstance(value, str) else f"{value:g} {name}" for name, value in case.items()
    )
