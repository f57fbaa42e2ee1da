"""Writes `docs/performance.md` and its plots from the results files, and from nothing else.

python -m load_tests.benchmarks.pages.report          # write them
python -m load_tests.benchmarks.pages.report --check  # exit 1 if they are not what the results give
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

Made from [the results files](../load_tests/results) by `python -m
load_tests.benchmarks.pages.report`; nothing here is written by hand. `make bench` measures
everything anew and writes both, `make bench BENCH_ARGS="match --drivers 1000"` a part of it. How to
read it:

- Contestants of one case run in turn on one machine, repetition by repetition. A **ratio** is the
  median of the ratios of such neighbours, with the least and the greatest in brackets; ratios carry
  over to other machines better than times do.
- All keep what they claim with the same durability: a log synced each second, so that a power cut
  may cost the last one (`appendfsync everysec`, `synchronous_commit = off`).
- A peer that is better somewhere is shown so."""


def documents(folder: Path = RESULTS) -> Mapping[str, str]:
    """The document and its plots, by their path in `docs`. Raises `ValueError` for broken files."""
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
    """Write them; plots that no chapter has any more go. What has changed is returned."""
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
    """Which of the documents are not those of the texts, or are left over."""
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
    text = (
        "What is aimed at, on a two-core machine that also carries the load generator, Redis and "
        "PostgreSQL:"
    )
    return ["## Aims", text, table_text(aims_table(aims))]


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the documents; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.benchmarks.pages.report")
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
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
        print(f"docs/{name} is not what the results give: run `make docs`")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
