"""The chapter on capacity."""

from load_tests.benchmarks.capacity.measure import CAPACITY, OFFER_P99, REDIS, SERVER
from load_tests.benchmarks.pages.cells import aim, ratio_of, spread_of
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Table
from load_tests.benchmarks.pages.samples import Results
from load_tests.benchmarks.system.arena import LINE, MALLARD, POOL
from load_tests.benchmarks.system.rows import cases, cell, ratio_cell, shown

_CONTESTANTS = (MALLARD, POOL, LINE)
_TEXT = """\
A full cycle is an order, its offer, acknowledgement, acceptance and three steps: eight calls to
Redis and four replies to the driver. Drivers answer and deliver at once. The rate of orders rises
until the server's single process uses 80 % of a core, or offers wait longer than a second. Where 80
% was not reached, the capacity is extrapolated from the highest rate. The generator and Redis share
the two cores."""


def chapter(results: Results) -> Chapter:
    """Return the CPU time of a cycle by rate, and the capacity."""
    blocks: list[Block] = [_TEXT]
    rows: list[tuple[str, ...]] = []
    aims: list[Aim] = []
    for case in cases(results):
        rate = case.get("orders a second")
        metrics = (
            ((CAPACITY, ""),)
            if rate is None
            else ((SERVER, "ms"), (REDIS, "ms"), (OFFER_P99, "ms"))
        )
        for metric, unit in metrics:
            label = f"{metric}{', ' if unit else ''}{unit}" + (
                f", at {rate:g} a second" if rate else ""
            )
            cells = [cell(results, name, metric, case) for name in _CONTESTANTS]
            rows.append((label, *cells, ratio_cell(results, metric, MALLARD, LINE, case)))
        if rate == 100:
            label = f"{SERVER} at 100 a second"
            for name, way in ((LINE, "one connection"), (POOL, "a pool")):
                found = ratio_of(results, SERVER, (MALLARD, name), case)
                aims += aim(f"{label}, against the minimal program with {way}", 1.4, found)
            aims += aim(label, 0.9, spread_of(results, MALLARD, SERVER, case), "ms")
    blocks.append(Table(("", *map(shown, _CONTESTANTS), "Mallard to the floor"), rows))
    return Chapter("Capacity", blocks, aims)
