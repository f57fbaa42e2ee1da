"""The chapter on offer latency."""

from collections.abc import Iterator

from load_tests.benchmarks.offers.measure import CPU, FAILED, MEASURES, OURS_ONLY, PERCENTS, by_part
from load_tests.benchmarks.pages import cells
from load_tests.benchmarks.pages.cells import MISSING, aim
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Plot, Table
from load_tests.benchmarks.pages.ratios import Spread
from load_tests.benchmarks.pages.samples import Case, Results
from load_tests.benchmarks.system.arena import LINE, MALLARD, POOL
from load_tests.benchmarks.system.rows import cases, cell, named, ratio_cell, shown
from load_tests.measurements import Measure
from mallard_engine.charts import LineChart, Point, Series

_CONTESTANTS = (MALLARD, POOL, LINE)
_TEXT = """\
From the due time of an order (Poisson arrivals that do not wait for responses) to the frame of its
offer at a driver's socket. Two nodes of the engine, one Redis, the generator and its drivers share
two cores. Drivers report every 5 s, answer after 0.5 s, decline 10 % and ignore 5 % of the offers.
The **minimal program** makes the same round trips without logic: it stores the order, offers it to
the next driver in turn, and writes each answer to Redis. It does so either through redis-py's
**pool**, as most programs would, or through **one connection** with pipelining (hiredis), which is
the lower bound (floor).

A value is that of the whole run; those of the best and the worst minute are in brackets."""


def chapter(results: Results) -> Chapter:
    """Return percentiles and resource use by rate."""
    blocks: list[Block] = [_TEXT]
    aims: list[Aim] = []
    for case in cases(results):
        blocks += [f"### {named(case)}", *_tables(results, case), _plot(results, case)]
        if case.get("orders a second") == 100:
            aims += _aims(results, case)
    return Chapter("Offer latency", blocks, aims)


def _tables(results: Results, case: Case) -> Iterator[Block]:
    rows = []
    for measure in (*MEASURES, *OURS_ONLY):
        for percent in PERCENTS if measure is Measure.OFFER else (50.0, 99.0):
            metric = f"{measure.value} p{percent:g}"
            found = [_latency(results, name, metric, case) for name in _CONTESTANTS]
            if any(found):
                floor = _to_floor(results, metric, case)
                label = f"{floor} ×" if floor else MISSING
                rows.append((f"{metric}, ms", *map(cells.cell, found), label))
    rows += [
        (f"{metric}{unit}", *(cell(results, name, metric, case) for name in _CONTESTANTS),
         ratio_cell(results, metric, MALLARD, LINE, case))
        for metric, unit in (*((it, ", cores") for it in CPU), ("generator's lag at most", ", ms"))
    ]  # fmt: skip
    failed = [cell(results, name, FAILED, case) for name in _CONTESTANTS]
    rows.append((f"{FAILED}, %", *failed, MISSING))
    yield Table(("", *map(shown, _CONTESTANTS), "Mallard to the floor"), rows)


def _plot(results: Results, case: Case) -> Plot:
    lines = []
    for name in _CONTESTANTS:
        points = []
        for percent in PERCENTS:
            found = _latency(results, name, f"{Measure.OFFER.value} p{percent:g}", case)
            if found:
                points.append(Point(100 / (100 - percent), *found))
        lines.append(Series(shown(name), points))
    rate = case.get("orders a second", 0)
    chart = LineChart(
        title=f"Offer latency at {rate:g} orders a second, by percentile",
        x_label="one offer in 2 (p50), 10 (p90), 100 (p99), 1000 (p99.9) takes longer",
        y_label="ms",
        series=lines,
        log_x=True,
        log_y=True,
        ticks=(2, 10, 100, 1000),
    )
    slug = "-".join(f"{value:g}" for value in case.values() if not isinstance(value, str))
    return Plot(f"offers-{slug}", chart)


def _aims(results: Results, case: Case) -> Iterator[Aim]:
    offer = Measure.OFFER.value
    for name, metric, limit in (
        ("offer latency p50", f"{offer} p50", 1.5),
        ("offer latency p99", f"{offer} p99", 12.0),
        ("lateness of an expiry p99", f"{Measure.EXPIRY.value} p99", 60.0),
    ):
        found = _latency(results, MALLARD, metric, case)
        yield from aim(f"{name}, {named(case)}", limit, found, "ms")
    floor = _to_floor(results, f"{offer} p50", case)
    yield from aim(f"offer latency p50 against the floor, {named(case)}", 2.0, floor)


def _latency(results: Results, name: str, metric: str, case: Case) -> Spread | None:
    """Return a contestant's latency, with its best and its worst minute."""
    whole = cells.spread_of(results, name, metric, case)
    return _with_minutes(whole, cells.spread_of(results, name, by_part(metric), case))


def _to_floor(results: Results, metric: str, case: Case) -> Spread | None:
    """Return the engine's latency over the floor's, minute by minute."""
    pair = (MALLARD, LINE)
    whole = cells.ratio_of(results, metric, pair, case)
    return _with_minutes(whole, cells.ratio_of(results, by_part(metric), pair, case))


def _with_minutes(whole: Spread | None, minutes: Spread | None) -> Spread | None:
    if whole is None or minutes is None:
        return whole
    return Spread(whole.median, min(whole.least, minutes.least), max(whole.most, minutes.most))
