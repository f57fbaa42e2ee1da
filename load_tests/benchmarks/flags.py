"""Flags that benchmarks share, and their argument types."""

import argparse
from collections.abc import Callable


def count_from(low: int, high: int) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        try:
            value = int(text.replace("_", "").replace(",", ""))
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            problem = f"{text!r} is not a whole number from {low:,} to {high:,}"
            raise argparse.ArgumentTypeError(problem)
        return value

    return read


count = count_from(1, 15_000)
"""Parses a number of drivers, orders or nodes."""


def above_zero(text: str) -> float:
    """Parse a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def repetitions_flag(parser: argparse.ArgumentParser, default: int) -> None:
    """Add `--repetitions`."""
    parser.add_argument(
        "--repetitions",
        type=count_from(1, 1_000),
        default=default,
        metavar="N",
        help=f"number of repetitions (default: {default})",
    )
