"""The chapter on positions over sockets."""

from load_tests.benchmarks.pages.cells import aim, ratio_of
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Table
from load_tests.benchmarks.pages.samples import Results
from load_tests.benchmarks.reporting.measure import REDIS, SERVER
from load_tests.benchmarks.system.arena import LINE, MALLARD, SINK
from load_tests.benchmarks.system.rows import cases, cell, named, ratio_cell

_TEXT = """\
Drivers on sockets of one process send their position at a steady rate, without other load. The
**bare sink** is uvicorn with the same settings and a callable that discards frames. The **batches**
are a program that decodes each frame and writes all fixes of 200 ms as one GEOADD and one HSET; it
checks nothing. The engine validates each fix, drops old and impossible ones, keeps the index of
available drivers exact, and detects arrival at the mall."""


def chapter(results: Results) -> Chapter:
    """Return the CPU time of a position in server and Redis."""
    blocks: list[Block] = [_TEXT]
    aims: list[Aim] = []
    for case in cases(results):
        rows = [
            (
                "server CPU, µs",
                *(cell(results, name, SERVER, case) for name in (MALLARD, SINK, LINE)),
            ),
            (
                "Redis CPU, µs",
                *(cell(results, name, REDIS, case) for name in (MALLARD, SINK, LINE)),
            ),
        ]
        ratios = (
            ratio_cell(results, SERVER, MALLARD, SINK, case),
            ratio_cell(results, REDIS, MALLARD, LINE, case),
        )
        blocks += [
            f"{named(case)}:",
            Table(
                ("for a position", "Mallard", "bare sink", "batches", "ratio to the floor"),
                [(*row, label) for row, label in zip(rows, ratios, strict=True)],
            ),
        ]
        to_sink = ratio_of(results, SERVER, (MALLARD, SINK), case)
        to_batches = ratio_of(results, REDIS, (MALLARD, LINE), case)
        label = "CPU for a position over a socket, against"
        aims += aim(f"engine {label} the bare sink", 1.4, to_sink)
        aims += aim(f"Redis {label} GEOADD and HSET of many", 2.0, to_batches)
    return Chapter("Positions over sockets", blocks, aims)
