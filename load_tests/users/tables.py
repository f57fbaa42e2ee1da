"""The tables at the end of a run."""

from collections.abc import Iterable, Sequence
from typing import Final

from load_tests.histograms import Histograms
from load_tests.slo import Verdict

_PERCENTS: Final = (50, 90, 95, 99, 99.9)


def latency_table(histograms: Histograms) -> str:
    """Return the measures, in milliseconds."""
    head = ("measure", "count", "failed", *(f"p{percent:g}" for percent in _PERCENTS), "max")
    rows = []
    for name in histograms.names():
        latencies = histograms[name]
        times = (*map(latencies.percentile_ms, _PERCENTS), latencies.max_ms)
        shown = (f"{time:.2f}" for time in times)
        rows.append((name, str(latencies.count), str(latencies.failures), *shown))
    return table("Latencies in ms, from the intended start (HDR histograms)", head, rows)


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """Return the verdicts, the missed objectives last."""
    rows = [
        (verdict.name, verdict.wanted, verdict.seen, "met" if verdict.met else "MISSED")
        for verdict in sorted(verdicts, key=lambda verdict: not verdict.met)
    ]
    return table("Objectives", ("measure", "objective", "seen", ""), rows)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format columns under a title, the first left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(("", title, *lines, ""))
