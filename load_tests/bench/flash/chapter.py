"""The document's part on the flash sale."""

from load_tests.bench.flash.measure import ALL_OFFERED, NOT_OFFERED, OTHERS_P50, OTHERS_P99
from load_tests.bench.page import Aim, Block, Chapter, Table
from load_tests.bench.ratios import spread
from load_tests.bench.samples import Results
from load_tests.bench.system.arena import MALLARD
from load_tests.bench.system.rows import cases, cell, named

_TEXT = """\
All orders of a sale come to one mall at the same moment, with a few more free drivers in reach
than there are orders; meanwhile other markets have their usual orders. The time is that of the
order that waited longest, from the moment at which it was due; its POST is a part of it. Between
two sales the drivers deliver. Others' latencies are those of orders due in the 2 s from the sale
on."""


def chapter(results: Results) -> Chapter:
    """How long until all are offered, and others meanwhile."""
    blocks: list[Block] = [_TEXT]
    aims = []
    for case in cases(results):
        rows = [
            (f"{metric}{unit}", cell(results, MALLARD, metric, **case))
            for metric, unit in (
                (ALL_OFFERED, ", ms"),
                (NOT_OFFERED, ""),
                (OTHERS_P50, ", ms"),
                (OTHERS_P99, ", ms"),
            )
        ]
        offered = results.find(MALLARD, ALL_OFFERED, **case)
        others = results.find(MALLARD, OTHERS_P99, **case)
        sales = len(offered.values) if offered else 0
        blocks += [f"{named(case)}, {sales} sales:", Table(("", "median (least–most)"), rows)]
        if offered and others:
            told = f"flash sale, {named(case)}"
            aims.append(Aim(f"{told}: {ALL_OFFERED}", 1000.0, spread(offered.values), "ms"))
            aims.append(Aim(f"{told}: {OTHERS_P99}", 50.0, spread(others.values), "ms"))
    return Chapter("Flash sale", blocks, aims)
