"""`make bench-quick`: check within three minutes that the hot path is not clearly slower.

It needs no PostgreSQL and no datasets: an invented metro area with a few thousand drivers. Exit
status: 0 every value is within its limit, 1 a value is not, 2 a value cannot be measured.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.checks import ALL, DRIVERS, Check, Field, Part
from load_tests.benchmarks.contestants import (
    OURS,
    Contestant,
    ContestantFailed,
    end_on_sigterm,
    running,
)
from load_tests.benchmarks.driver_locations import invented_metro
from load_tests.benchmarks.positions.measure import load
from load_tests.users.tables import table
from mallard_engine.charts import three_digits


def main(
    arguments: Sequence[str] | None = None, *, ours: str = OURS, parts: Sequence[Part] = ALL
) -> int:
    """Check, print the table and return the exit status; `ours` is the engine's module."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks.quick", description=__doc__
    )
    parser.parse_args(arguments)
    end_on_sigterm()
    started = time.monotonic()
    try:
        with _field(ours) as field:
            checks = [check for part in parts for check in part(field)]
    except (CannotMeasure, ContestantFailed) as error:
        print(f"bench-quick: {error}", file=sys.stderr)
        return 2
    print(checks_table(checks))
    broken = [check.limit.name for check in checks if not check.holds]
    took_s = time.monotonic() - started
    print(f"{took_s:.0f} s; " + (f"over the limit: {'; '.join(broken)}" if broken else "all hold"))
    return 1 if broken else 0


def checks_table(checks: Sequence[Check]) -> str:
    """Return the table of values and limits."""
    rows = [
        (
            check.limit.name,
            three_digits(check.limit.at_most),
            three_digits(check.seen),
            str(check.varied),
            _verdict(check),
        )
        for check in checks
    ]
    return table("Guards", ("check", "limit", "measured", "spread", ""), rows)


@contextmanager
def _field(ours: str) -> Iterator[Field]:
    """Load the same drivers into each contestant."""
    field = Field(
        Contestant("ours", ours),
        Contestant("redis-py", "load_tests.benchmarks.line.redis_py"),
        Contestant("GEOADD + HSET", "load_tests.benchmarks.positions.variadic"),
    )
    with running(field), tempfile.TemporaryDirectory(prefix="mallard-") as folder:
        where = field.ours.ask("where")
        area = [(lon, lat) for lon, lat, *_ in where["area"]]
        points = invented_metro(DRIVERS, area, (where["lat"], where["lon"]))
        load((field.ours, field.variadic), points, where, Path(folder))
        yield field


def _verdict(check: Check) -> str:
    return f"holds {check.limit.why}".rstrip() if check.holds else "OVER THE LIMIT"


if __name__ == "__main__":
    sys.exit(main())
