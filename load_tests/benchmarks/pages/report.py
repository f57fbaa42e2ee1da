"""Generate `docs/performance.md` and its plots from the results files.

python -m load_tests.benchmarks.pages.report          # write them
python -m load_tests.benchmarks.pages.report --check  # exit 1 if one is out of date
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from load_tests.benchmarks.benches import BENCHES, chapter_of
from load_tests.benchmarks.pages.document import Aim, Chapter, aims_table, chapter_text, table_text
from load_tests.benchmarks.pages.samples import RESULTS, Results, read_results

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "performance.md"
_PLOTS: Final = "performance"

_OPENING: Final = """\
# Performance

Generated from [the results files](../load_tests/results) by `python -m
load_tests.benchmarks.pages.report`; do not edit. `make bench` repeats all measurements and
regenerates both, `make bench BENCH_ARGS="match --drivers 1000"` a part.

- The contestants of a case run in turn on one machine, repetition by repetition. A **ratio** is the
  median of the ratios of adjacent repetitions, with the minimum and the maximum in brackets. Ratios
  carry over to other machines better than times.
- All contestants have the same durability: a log that is synced each second, so that a power
  failure may lose the last second (`appendfsync everysec`, `synchronous_commit = off`).
- Peers that are faster are shown as such."""


def documents(folder: Path = RESULTS) -> Mapping[str, str]:
    """Return the document and its plots by path in `docs`. Raise `ValueError` for broken files."""
    chapters: list[tuple[Chapter, Results]] = []
    for bench in BENCHES:
        results = read_results(bench, folder)
        if results.samples:
            chapters.append((chapter_of(bench, results), results))
    aims = [aim for chapter, _ in chapters for aim in chapter.aims]
    parts = [_OPENING, *_aims(aims)]
    parts += [chapter_text(chapter, results, _PLOTS) for chapter, results in chapters]
    texts = {DOCUMENT.name: "\n\n".join(parts) + "\n"}
    for chapter, _ in chapters:
        texts |= {f"{_PLOTS}/{plot.name}.svg": plot.chart.svg() for plot in chapter.plots}
    return texts


def write(folder: Path = RESULTS, docs: Path = DOCUMENT.parent) -> list[Path]:
    """Write the documents, delete obsolete plots, and return the changed paths."""
    texts = documents(folder)
    changed = [docs / name for name in out_of_date(texts, docs)]
    (docs / _PLOTS).mkdir(parents=True, exist_ok=True)
    for path in changed:
        if (text := texts.get(str(path.relative_to(docs)))) is None:
            path.unlink()
        else:
            path.write_text(text)
    return changed


def out_of_date(texts: Mapping[str, str], docs: Path = DOCUMENT.parent) -> list[str]:
    """Return the names of documents that differ from the texts, and of obsolete plots."""
    there = {f"{_PLOTS}/{path.name}" for path in (docs / _PLOTS).glob("*.svg")}
    wrong = {
        name
        for name, text in texts.items()
        if not (docs / name).exists() or (docs / name).read_text() != text
    }
    return sorted(wrong | (there - texts.keys()))


def _aims(aims: Sequence[Aim]) -> list[str]:
    if not aims:
        return []
    text = "Goals for a two-core machine that also runs the load generator, Redis and PostgreSQL:"
    return ["## Goals", text, table_text(aims_table(aims))]


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the documents. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.benchmarks.pages.report")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a document is out of date"
    )
    args = parser.parse_args(argv)
    try:
        if not args.check:
            for path in write():
                print(path.relative_to(DOCUMENT.parent.parent))
            return 0
        wrong = out_of_date(documents())
    except ValueError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    for name in wrong:
        print(f"docs/{name} is out of date: run `make docs`")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
