"""`mallard bench`: load and benchmarks. Those in `load_tests` know the contract only."""

import argparse
import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

# The name of a benchmark and the module whose `main(arguments)` runs it. Imported when asked for:
# an engine needs none of what they need. Those of the whole system live in `load_tests`.
_BENCHES: Final[Mapping[str, str]] = {
    "swarm": "load_tests.swarm.capacity_search",
    "peers": "load_tests.benchmarks.__main__",
    "quick": "load_tests.benchmarks.quick",
    "decisions": "load_tests.benchmarks.engine.decisions",
}


def add_parser(subparsers: Any) -> None:
    """Add `bench`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench", help="load an engine and measure it; `mallard bench swarm --help`"
    )
    parser.add_argument("bench", choices=tuple(_BENCHES), metavar="BENCH", help=", ".join(_BENCHES))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the benchmark")


def run(args: argparse.Namespace) -> int:
    """Run a benchmark and return its exit status."""
    try:
        module = importlib.import_module(_BENCHES[args.bench])
    except ModuleNotFoundError as error:
        print(
            f"mallard: no module {error.name}: pip install mallard[engine,load,bench]",
            file=sys.stderr,
        )
        return 1
    status: int = module.main(args.arguments)
    return status
