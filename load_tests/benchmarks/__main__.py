"""`python -m load_tests.benchmarks`: measure, store the results and write the document.

Without a name, all benchmarks run one after the other.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from load_tests.benchmarks import environment
from load_tests.benchmarks.benches import BENCHES, CannotMeasure, bench_of
from load_tests.benchmarks.contestants import end_on_sigterm
from load_tests.benchmarks.pages import report
from load_tests.benchmarks.pages.samples import RESULTS, Run, read_results, write_results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the requested benchmarks and return the exit status."""
    end_on_sigterm()
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    names = [args.bench] if args.bench else list(BENCHES)
    failed = False
    for name in names:
        chosen = args if args.bench else _parser().parse_args([name, *words])
        failed |= not _run(name, chosen, words)
    return 1 if failed else 0


def _run(name: str, args: argparse.Namespace, words: Sequence[str]) -> bool:
    """Measure one benchmark and store its results; return whether it succeeded."""
    started = time.monotonic()

    def print_line(line: str) -> None:
        print(f"{name} {time.monotonic() - started:6.1f} s  {line}", flush=True)

    print_line("begins")
    at, commit = environment.now(), environment.commit()
    try:
        measured = bench_of(name).measure(args, print_line)
    except CannotMeasure as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        return False
    run = Run(
        commit=commit,
        at=at,
        command=" ".join(("python -m load_tests.benchmarks", *_without_folder(words))),
        took_s=round(time.monotonic() - started, 1),
        machine=environment.machine(),
        versions={**environment.versions(()), **measured.versions},
        samples=measured.samples,
    )
    path = write_results(read_results(name, args.results).with_run(run), args.results)
    print_line(f"kept in {path.name}")
    if args.results == RESULTS:
        for changed in report.write():
            print_line(f"wrote docs/{changed.relative_to(report.DOCUMENT.parent)}")
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks", description="Measures Mallard beside its peers."
    )
    subparsers = parser.add_subparsers(dest="bench", metavar="BENCH")
    _add_folder(parser, RESULTS)
    for name in BENCHES:
        bench = bench_of(name)
        text = bench.HELP.replace("%", "%%")  # argparse formats help texts with the % operator
        added = subparsers.add_parser(name, help=text, description=text)
        # A default here would override the value given before the name.
        _add_folder(added, argparse.SUPPRESS)
        bench.add_flags(added)
    return parser


_FOLDER: Final = "--results"


def _add_folder(parser: argparse.ArgumentParser, default: Path | str) -> None:
    parser.add_argument(
        _FOLDER,
        type=Path,
        default=default,
        metavar="FOLDER",
        help="keep the results there, and leave those of the repository and the document alone",
    )


def _without_folder(words: Sequence[str]) -> list[str]:
    """Return the command line, without folders of this machine."""
    kept = list(words)
    if _FOLDER in kept:
        at = kept.index(_FOLDER)
        del kept[at : at + 2]
    return kept


if __name__ == "__main__":
    sys.exit(main())
