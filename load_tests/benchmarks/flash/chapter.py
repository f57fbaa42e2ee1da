"""The chapter on the flash sale."""

from load_tests.benchmarks.flash.measure import ALL_OFFERED, NOT_OFFERED, OTHERS_P50, OTHERS_P99
from load_tests.benchmarks.pages.cells import aim, spread_of
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Table
from load_tests.benchmarks.pages.samples import Results
from load_tests.benchmarks.system.arena import MALLARD
from load_tests.benchmarks.system.rows import cases, cell, named

_TEXT = """\
All orders of a sale arrive at one mall at the same moment, with slightly more free drivers in reach
than orders. Other markets keep their usual orders. The time until all are offered is that of the
order that waited longest, from its due time and including its POST. Between two sales the drivers
deliver. The others' latencies are those of orders due within 2 s of the sale."""


def chapter(results: Results) -> Chapter:
    """Return the time until all are offered, and the latency of others meanwhile."""
    blocks: list[Block] = [_TEXT]
    aims: list[Aim] = []
    for case in cases(results):
        rows = [
            (f"{metric}{unit}", cell(results, MALLARD, metric, case))
            for metric, unit in (
                (ALL_OFFERED, ", ms"),
                (NOT_OFFERED, ""),
                (OTHERS_P50, ", ms"),
                (OTHERS_P99, ", ms"),
            )
        ]
        offered = results.find(MALLARD, ALL_OFFERED, **case)
        sales = len(offered.values) if offered else 0
        blocks += [f"{named(case)}, {sales} sales:", Table(("", "median (minimum–maximum)"), rows)]
        for metric, limit, every in ((ALL_OFFERED, 1000.0, True), (OTHERS_P99, 50.0, False)):
            found = spread_of(results, MALLARD, metric, case)
            name = f"flash sale, {named(case)}: {metric}"
            aims += aim(name, limit, found, "ms", every=every)
    return Chapter("Flash sale", blocks, aims)
