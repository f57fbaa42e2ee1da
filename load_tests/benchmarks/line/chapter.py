"""The chapter on the connection to Redis."""

from typing import Final

from load_tests.benchmarks.pages.cells import aim, cell, ratio_of, spread_of
from load_tests.benchmarks.pages.document import Chapter, Table
from load_tests.benchmarks.pages.samples import Case, Results

_METRIC: Final = "client CPU a call"
_OPENING: Final = """\
CPU time of the calling process for one call to Redis, in microseconds: a script with an offer's
keys, 800 bytes of arguments and a reply of a few parts, on a Unix socket, under uvloop. The engine
has one pipelined connection: it writes all calls of one turn of the event loop at once and matches
replies in order. The peer is redis-py's asyncio pool with hiredis as its parser and no retries."""


def chapter(results: Results) -> Chapter:
    """Return one table."""
    rows = []
    aims = []
    for at_once in results.case_values("at_once"):
        case: Case = {"at_once": at_once}
        ratio = ratio_of(results, _METRIC, ("ours", "redis-py"), case)
        spreads = [spread_of(results, name, _METRIC, case) for name in ("ours", "redis-py")]
        rows.append((f"{at_once} at once", *map(cell, spreads), cell(ratio)))
        aims += aim(f"client CPU a call / redis-py's pool, {at_once} at once", 1 / 3, ratio)
    head = ("Calls", "Mallard, µs", "redis-py, µs", "Mallard / redis-py")
    return Chapter("Client CPU of a call to Redis", [_OPENING, Table(head, rows)], aims)
