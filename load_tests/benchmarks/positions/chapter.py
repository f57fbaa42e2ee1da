"""The chapter on the cost of positions in Redis."""

from typing import Final

from load_tests.benchmarks.pages.cells import aim, cell, ratio_of, spread_of
from load_tests.benchmarks.pages.document import Chapter, Table
from load_tests.benchmarks.pages.samples import Case, Results

_METRICS: Final = ("Redis CPU a fix", "Redis time in commands a fix", "client CPU a fix")
_PEER: Final = "GEOADD + HSET"
_OPENING: Final = """\
The free drivers of one node report positions (all; of 100 thousand in the index, 20 thousand). Each
reports repeatedly, about 30 m away, in batches of 256 in random order. The engine's `positions`
script validates each fix, stores it and moves the driver in the index. The peer writes one variadic
GEOADD and one HSET of records of 50 bytes in one write: the least that any program must do.

Redis CPU is that of its main thread (`INFO cpu`), including reading, replying and the log. Time in
commands is that of `INFO commandstats`. Client CPU is that of the sending process: the engine's
dispatcher with its lookup of malls in reach, or a bare redis-py client."""


def chapter(results: Results) -> Chapter:
    """Return one table by number of drivers."""
    rows = []
    aims = []
    for drivers in results.case_values("drivers"):
        case: Case = {"drivers": drivers}
        label = f"{drivers:,}".replace(",", " ")
        for metric in _METRICS:
            ratio = ratio_of(results, metric, ("ours", _PEER), case)
            spreads = [spread_of(results, name, metric, case) for name in ("ours", _PEER)]
            rows.append((f"{label}: {metric}", *map(cell, spreads), cell(ratio)))
            if metric == _METRICS[0]:
                aims += aim(f"Redis CPU a position / {_PEER}, {label} drivers", 2, ratio)
    head = ("Drivers", "Mallard, µs", f"{_PEER}, µs", f"Mallard / {_PEER}")
    return Chapter("Positions in Redis", [_OPENING, Table(head, rows)], aims)
