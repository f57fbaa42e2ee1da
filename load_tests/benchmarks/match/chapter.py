"""The chapter on matching."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from load_tests.benchmarks.pages.cells import aim, medians, ratio_cell, ratio_of, series, spread_of
from load_tests.benchmarks.pages.document import Aim, Block, Chapter, Plot, Table
from load_tests.benchmarks.pages.ratios import ratio
from load_tests.benchmarks.pages.samples import Case, Results
from mallard_engine.charts import LineChart

_NAMES: Final = {
    "ours": "Mallard",
    "hand-written": "hand-written Redis",
    "postgis": "PostGIS",
    "brute force": "numpy, search alone",
}
_PEERS: Final = ("hand-written", "postgis")
_OPENING: Final = """\
A match takes one job from many free drivers to one reserved driver: search, rank, reserve, log the
claim. Drivers have the density of greater Phoenix (ZIP codes by households, a random point in
each); all are free. One mall matches jobs that are already waiting. Latency counts from the moment
at which all jobs of a race start. Each contestant is a process of its own with a server of its own:

- **Mallard**: the engine's storage, rounds and dispatcher, from the start of the mall's round to
  each offer. Candidates are ranked by cost. The same step also writes the offer, the job, its due
  entry, the event and the push.
- **hand-written Redis**: redis-py, GEOSEARCH with a fixed radius of 5 km, the records of the
  nearest 32 read in a pipeline and filtered in Python, WATCH/MULTI to claim, the next driver on a
  conflict. It claims the driver only.
- **PostGIS**: one prepared statement through asyncpg on 8 connections: the nearest 16 by `<->` from
  a partial GiST index, the best of them locked with SKIP LOCKED and claimed (a heap-only update).
  It claims the driver only, and ranks by distance.
- **numpy**: scans all drivers, one job after the other, and reserves nothing: the lower bound of a
  search without an index.

p50 and p99 are those of a repetition of about two hundred matches (fewer where they would take more
than three seconds). The tables have the median repetition; a ratio also has the minimum and the
maximum. Bold: the peer is faster."""
_SERVED: Final = """\
Share of the racing jobs that got a driver; the latencies above contain only these. A fixed radius
ends at 5 km, however few drivers are there:"""


def chapter(results: Results) -> Chapter:
    """Return tables for each number of racing jobs, and plots over the number of drivers."""
    blocks: list[Block] = [_OPENING]
    for racing in results.case_values("racing"):
        label = "One job" if racing == 1 else f"{racing} jobs at once"
        head = ("Drivers", *(f"{name}, ms" for name in _NAMES.values()))
        ratios = [f"Mallard / {_NAMES[peer]}" for peer in _PEERS]
        cases = [case for _, case in _cases(results, racing)]
        blocks += [
            f"### {label}",
            "p50 / p99 in milliseconds:",
            Table(head, [_latencies(results, case) for case in cases]),
            "As ratios:",
            Table(
                ("Drivers", *(f"{name}, {metric}" for metric in _METRICS for name in ratios)),
                [_ratios(results, case) for case in cases],
            ),
        ]
    blocks += _plots(results)
    if unserved := list(_unserved(results)):
        blocks += [
            "### Not served",
            _SERVED,
            Table(("Drivers, racing", *_NAMES.values()), unserved),
        ]
    return Chapter("Match", blocks, list(_aims(results)))


_METRICS: Final = ("p50", "p99")


def _cases(results: Results, racing: float | str) -> list[tuple[float, Case]]:
    """Return the cases with this number of racing jobs, by number of drivers."""
    drivers = sorted(float(count) for count in results.case_values("drivers"))
    cases: list[tuple[float, Case]] = [
        (count, {"drivers": int(count), "racing": racing}) for count in drivers
    ]
    return [(x, case) for x, case in cases if spread_of(results, "ours", "p50", case)]


def _latencies(results: Results, case: Case) -> Sequence[str]:
    return (
        _count(case["drivers"]),
        *(
            medians(spread_of(results, name, metric, case) for metric in _METRICS)
            for name in _NAMES
        ),
    )


def _ratios(results: Results, case: Case) -> Sequence[str]:
    return (
        _count(case["drivers"]),
        *(
            ratio_cell(ratio_of(results, metric, ("ours", peer), case))
            for metric in _METRICS
            for peer in _PEERS
        ),
    )


def _unserved(results: Results) -> Iterator[Sequence[str]]:
    for racing in results.case_values("racing"):
        for _, case in _cases(results, racing):
            served = [spread_of(results, name, "served", case) for name in _NAMES]
            if any(one is not None and one.least < 100 for one in served):
                label = ["-" if one is None else f"{one.median:.0f} %" for one in served]
                yield (f"{_count(case['drivers'])}, {case['racing']}", *label)


def _plots(results: Results) -> Iterator[Plot]:
    for racing in results.case_values("racing"):
        for metric in ("p50",) if racing == 1 else ("p99",):
            lines = [
                series(results, shown, name, metric, _cases(results, racing))
                for name, shown in _NAMES.items()
            ]
            label = "one job" if racing == 1 else f"{racing} jobs at once"
            chart = LineChart(
                f"Match, {label}: {metric}",
                "free drivers in the market",
                "milliseconds",
                [line for line in lines if line],
                log_x=True,
                log_y=True,
            )
            yield Plot(f"match-{racing}", chart)


def _aims(results: Results) -> Iterator[Aim]:
    alone: Case = {"drivers": 100_000, "racing": 1}
    few, many = (results.find("ours", "p50", drivers=n, racing=1) for n in (1_000, 1_000_000))
    if few and many and len(few.values) == len(many.values):
        yield from aim("match p50, 1 million drivers / 1 thousand", 1.5, ratio(many, few))
    wanted = (
        ("match p50 / hand-written Redis, 100 thousand", 1 / 8, "p50", "hand-written", 1),
        ("64 racing, p99 / hand-written Redis, 100 thousand", 1 / 15, "p99", "hand-written", 64),
        ("match p50 / PostGIS, 100 thousand", 0.8, "p50", "postgis", 1),
        ("16 racing, p99 / PostGIS, 100 thousand", 1 / 8, "p99", "postgis", 16),
    )
    yield from chain.from_iterable(
        aim(name, limit, ratio_of(results, metric, ("ours", peer), {**alone, "racing": racing}))
        for name, limit, metric, peer, racing in wanted
    )


def _count(drivers: float | str) -> str:
    return f"{drivers:,}".replace(",", " ")
