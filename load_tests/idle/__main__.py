"""`python -m load_tests.idle`: what a node costs while nothing happens; exit 1 over a goal."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from load_tests.idle import connect, sockets, storm, waiting

PARTS: Final = {"waiting": waiting, "sockets": sockets, "connect": connect, "storm": storm}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one part; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.idle", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        part.add_flags(parts.add_parser(name, help=part.HELP))
    args = parser.parse_args(argv)
    status: int = PARTS[args.part].run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
