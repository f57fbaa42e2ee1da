"""The document's part on the flash sale."""

from load_tests.benchmarks.flash.measure import ALL_OFFERED, NOT_OFFERED, OTHERS_P50, OTHERS_P99
from load_tests.benchmarks.pages.cells import aim, spread_of
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Table
from load_tests.benchmarks.pages.samples import Results
from load_tests.benchmarks.system.arena import MALLARD
from load_tests.benchmarks.system.rows import cases, cell, named

_TEXT = """\
All orders of a sale come to one mall at the same moment, with a few more free drivers in reach
than there are orders; meanwhile other markets have their usual orders. The time is that of the
order that waited longest, from the moment at which it was due; its POST is a part of it. Between
two sales the drivers deliver. Others' latencies are those of orders due in the 2 s from the sale
on."""


def chapter(results: Results) -> Chapter:
    """How long until all are offered, and others meanwhile."""
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
        blocks += [f"{named(case)}, {sales} sales:", Table(("", "median (least–most)"), rows)]
        for metric, limit, every in ((ALL_OFFERED, 1000.0, True), (OTHERS_P99, 50.0, False)):
            found = spread_of(results, MALLARD, metric, case)
            name = f"flash sale, {named(case)}: {metric}"
            aims += aim(name, limit, found, "ms", every=every)
    return Chapter("Flash sale", blocks, aims)
