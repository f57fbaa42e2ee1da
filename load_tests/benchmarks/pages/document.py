"""The parts of a chapter of `docs/performance.md`, and their Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from load_tests.benchmarks.pages.ratios import Spread
from load_tests.benchmarks.pages.samples import Results, Run
from mallard_engine.charts import LineChart, three_digits


class Aim(NamedTuple):
    """A goal: the median, or with `every` the maximum of all repetitions, is at most `limit`.

    `unit` is empty for a ratio."""

    figure: str
    limit: float
    measured: Spread
    unit: str = ""
    every: bool = False

    @property
    def holds(self) -> bool:
        """Whether the measurement is within the limit."""
        judged = self.measured.most if self.every else self.measured.median
        return judged <= self.limit


class Table(NamedTuple):
    """A table; its first column is text, the others are numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Plot(NamedTuple):
    """A chart, stored in a file of its own beside the document."""

    name: str
    chart: LineChart


# Some results were measured when the benchmarks had another module: its name then and now.
_MOVED = {"load_tests.bench": "load_tests.benchmarks"}

Block: TypeAlias = str | Table | Plot


@dataclass(frozen=True, slots=True)
class Chapter:
    """The chapter of one benchmark: paragraphs, tables and plots in order."""

    title: str
    blocks: Sequence[Block]
    aims: Sequence[Aim] = field(default=())

    @property
    def plots(self) -> list[Plot]:
        """The plots among the blocks."""
        return [block for block in self.blocks if isinstance(block, Plot)]


def chapter_text(chapter: Chapter, results: Results, plots: str) -> str:
    """Return the chapter in Markdown, with its sources. `plots` is the folder of the plots."""
    parts = [f"## {chapter.title}"]
    for block in chapter.blocks:
        if isinstance(block, Table):
            parts.append(table_text(block))
        elif isinstance(block, Plot):
            parts.append(f"![{block.chart.title}]({plots}/{block.name}.svg)")
        else:
            parts.append(block)
    parts.extend(_source(run, results.bench) for run in results.runs)
    return "\n\n".join(parts)


def table_text(table: Table) -> str:
    """Return the table in Markdown."""
    return "\n".join(
        (
            _row(table.head),
            _row(["---", *("---:" for _ in table.head[1:])]),
            *(_row(row) for row in table.rows),
        )
    )


def aims_table(aims: Sequence[Aim]) -> Table:
    """Return a table of the goals: limit, measurement and verdict."""
    return Table(("Goal", "limit", "measured: median (minimum to maximum)", ""), list(_aims(aims)))


def _aims(aims: Sequence[Aim]) -> Iterator[tuple[str, str, str, str]]:
    for aim in aims:
        unit = f" {aim.unit}" if aim.unit else " ×"
        verdict = "holds" if aim.holds else "**does not hold**"
        limit = f"{three_digits(aim.limit)}{unit}{', each time' if aim.every else ''}"
        yield aim.figure, limit, f"{aim.measured}{unit}", verdict


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _source(run: Run, bench: str) -> str:
    machine = run.machine
    command = " ".join(_MOVED.get(word, word) for word in run.command.split(" "))
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return (
        f"*Commit {run.commit}, {run.at}, {run.took_s:.0f} s: `{command}`. "
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory']}, "
        f"{machine['kernel']}. {versions}. "
        f"[Raw data](../load_tests/results/{bench}.json).*"
    )
