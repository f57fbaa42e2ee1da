from pathlib import Path

import pytest

from load_tests.benchmarks.pages import report
from load_tests.benchmarks.pages.document import (
    Aim,
    Block,
    Chapter,
    Plot,
    Table,
    aims_table,
    chapter_text,
)
from load_tests.benchmarks.pages.ratios import spread
from load_tests.benchmarks.pages.samples import Results, Run, sample
from mallard_engine.charts import LineChart, Point, Series

RUN = Run(
    "abc",
    "2026-11-25T16:00:00Z",
    "python -m load_tests.benchmarks match",
    61.2,
    {"processor": "CPU", "cores": "2", "memory": "8 GiB", "kernel": "Linux 6"},
    {"Python": "3.11.2"},
    [sample({}, "ours", "latency", "ms", [1])],
)


def test_committed_document_matches_the_results() -> None:
    wrong = report.out_of_date(report.documents())
    assert not wrong, f"{wrong}: run python -m load_tests.benchmarks.pages.report"


def test_outdated_document_is_reported_and_rewritten(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "performance").mkdir()
    stale = tmp_path / "performance" / "old.svg"
    stale.write_text("<svg/>")
    texts = report.documents(tmp_path / "results")
    assert report.out_of_date(texts, tmp_path) == ["performance.md", "performance/old.svg"]
    report.write(tmp_path / "results", tmp_path)
    assert report.out_of_date(texts, tmp_path) == []
    assert not stale.exists()


def test_chapter_has_its_blocks_in_order_and_its_source() -> None:
    chart = LineChart("Latency", "drivers", "ms", [Series("ours", [Point(1, 1)])])
    blocks: list[Block] = ["Some words.", Table(("a", "b"), [("x", "1")]), Plot("match", chart)]
    text = chapter_text(Chapter("Match", blocks), Results("match", [RUN]), "performance")
    *parts, source = text.split("\n\n")
    assert parts == [
        "## Match",
        "Some words.",
        "| a | b |\n| --- | ---: |\n| x | 1 |",
        "![Latency](performance/match.svg)",
    ]
    assert source.startswith(
        "*Commit abc, 2026-11-25T16:00:00Z, 61 s: `python -m load_tests.benchmarks"
    )
    assert "2 cores of CPU, 8 GiB, Linux 6. Python 3.11.2." in source


@pytest.mark.parametrize(("limit", "verdict"), [(0.5, "holds"), (0.4, "**does not hold**")])
def test_aim_shows_whether_it_holds(limit: float, verdict: str) -> None:
    (row,) = aims_table([Aim("ours over theirs", limit, spread([0.5, 0.1, 0.9]))]).rows
    assert row[2:] == ("0.500 (0.100–0.900) ×", verdict)


@pytest.mark.parametrize(("limit", "verdict"), [(0.9, "holds"), (0.8, "**does not hold**")])
def test_aim_of_every_repetition_uses_the_maximum(limit: float, verdict: str) -> None:
    (row,) = aims_table([Aim("a sale", limit, spread([0.5, 0.1, 0.9]), "ms", every=True)]).rows
    assert row[1:] == (f"{limit:.3f} ms, each time", "0.500 (0.100–0.900) ms", verdict)
