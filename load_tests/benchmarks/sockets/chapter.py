"""The chapter on sockets."""

from load_tests.benchmarks.pages.cells import aim, ratio_of
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Table
from load_tests.benchmarks.pages.samples import Results
from load_tests.benchmarks.sockets.measure import CONNECTS, CPU, MEMORY
from load_tests.benchmarks.system.arena import MALLARD, SINK
from load_tests.benchmarks.system.rows import cases, cell, named, ratio_cell

_TEXT = """\
Drivers connect to one process as fast as it accepts them and then stay silent. Memory is the growth
of the process divided by the number of drivers. The engine performs the handshake for each driver:
it verifies the token, stores the position and reads the welcome from Redis. The sink only upgrades
the connection."""


def chapter(results: Results) -> Chapter:
    """Return memory and connections a second."""
    blocks: list[Block] = [_TEXT]
    aims: list[Aim] = []
    for case in cases(results):
        rows = [
            (
                f"{metric}, {unit}",
                cell(results, MALLARD, metric, case),
                cell(results, SINK, metric, case),
                ratio_cell(results, metric, MALLARD, SINK, case),
            )
            for metric, unit in (
                (MEMORY, "KiB"),
                (CPU, "µs"),
                (CONNECTS, "with the generator beside"),
            )
        ]
        blocks += [f"{named(case)}:", Table(("", "Mallard", "bare sink", "ratio"), rows)]
        found = ratio_of(results, MEMORY, (MALLARD, SINK), case)
        aims += aim(f"memory of an idle driver, against the bare sink, {named(case)}", 1.6, found)
    return Chapter("Sockets", blocks, aims)
