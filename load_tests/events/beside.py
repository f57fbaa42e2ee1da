"""Runs one load under several conditions in turn, to compare what its offers take.

One engine and one swarm serve all runs. The conditions take turns, in another order each time, so
that what drifts meanwhile (the machine, the size of Redis) concerns all of them alike. The
swarm runs at a lower priority than what it measures. A run in which a node or the generator was
saturated, or drivers were short, says nothing about the engine: it is named. At the end each goal
is printed as `HOLDS` or `MISSED`; the exit status is 0 if all hold and all was measured.
"""

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from load_tests.credentials import Credentials
from load_tests.measurements import Measure
from load_tests.meters import process_cpu_s
from load_tests.swarm.coordinator import Swarm
from load_tests.swarm.flags import ENGINE
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.result import SwarmResult
from mallard_engine.workload.nodes import Node, running_nodes, running_redis

_DECLINES: Final = 0.05
_NICENESS: Final = 5
_LAG_EVERY_S: Final = 0.01
# Beyond these a run measures something else than the engine's latency.
_NODE_FULL: Final = 0.85
_LAGS_MS: Final = 25.0
_CARRIED_OUT: Final = 0.9

T = TypeVar("T")

Condition = Callable[[], AbstractAsyncContextManager[None]]
"""What is there beside the load within its context."""


class LoopLag:
    """How late callbacks of this process run: its listeners note arrivals as late as that."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no longer."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due_s = clock() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.lags_s.append(clock() - due_s)


@dataclass
class Runs:
    """The runs of one condition.

    `cpu`: the share of one core that the busiest node used. `lag_ms`: the 99th percentile of how
    late this process was.
    """

    results: list[SwarmResult] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    lag_ms: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Return cells: offers, failures, median and range of p50 and p99 in ms, CPU."""
        offers = [it.histograms[Measure.OFFER.value] for it in self.results]
        return (
            f"{sum(it.count for it in offers)} | {sum(it.failures for it in offers)} |"
            f" {_range([it.percentile_ms(50) for it in offers])} |"
            f" {_range([it.percentile_ms(99) for it in offers])} |"
            f" {statistics.median(self.cpu):.0%} |"
            f" {statistics.median(it.cycles_per_s for it in self.results):.0f} |"
            f" {statistics.median(it.generator_cpu for it in self.results):.0%},"
            f" {max(it.generator_lag_ms for it in self.results):.0f} |"
            f" {max(self.lag_ms):.0f}"
        )

    def doubts(self) -> list[str]:
        """Return why these runs say nothing about the engine; empty if they do."""
        found = []
        if (cpu := statistics.median(self.cpu)) > _NODE_FULL:
            found.append(f"a node used {cpu:.0%} of its core")
        if (lag_ms := statistics.median(self.lag_ms)) > _LAGS_MS:
            found.append(f"the listeners' process was {lag_ms:.0f} ms late")
        share = statistics.median(it.cycles_per_s / it.rate for it in self.results)
        if share < _CARRIED_OUT:
            found.append(f"only {share:.0%} of the jobs were delivered")
        return found

    def p99_ms(self) -> list[float]:
        """Return the 99th percentile of the offers' latency of each run."""
        return [it.percentile_ms(Measure.OFFER, 99) for it in self.results]


ROW: Final = (
    "offers | failed | offer p50 ms | offer p99 ms | node CPU | delivered a second |"
    " drivers' CPU, lag ms | listeners' lag p99 ms"
)


async def take_turns(
    swarm: Swarm,
    nodes: Sequence[Node],
    conditions: Mapping[str, Condition],
    options: argparse.Namespace,
) -> Mapping[str, Runs]:
    """Run each condition `runs` times for `seconds`; return what was measured by condition."""
    runs = {name: Runs() for name in conditions}

    async def cpu_s() -> list[float]:
        return [process_cpu_s(node.pid) for node in nodes]

    await swarm.phase(rate=options.rate, seconds=1, warm_s=options.warm_s)
    names = list(conditions)
    for turn in range(options.runs):
        for name in names if turn % 2 else reversed(names):
            async with conditions[name]():
                lag = LoopLag()
                result = await swarm.phase(
                    rate=options.rate, seconds=options.seconds, warm_s=1, edge=cpu_s
                )
                await lag.stop()
            before_s, after_s = result.edges
            offers = result.histograms[Measure.OFFER.value]
            print(
                f"{name}: {offers.count} offers, p50 {offers.percentile_ms(50):.1f} ms, p99"
                f" {offers.percentile_ms(99):.1f} ms",
                file=sys.stderr,
            )
            runs[name].results.append(result)
            used_s = max(b - a for a, b in zip(before_s, after_s, strict=True))
            runs[name].cpu.append(used_s / result.seconds)
            runs[name].lag_ms.append(percentile_ms(lag.lags_s, 99))
    return runs


def is_within(usual: Runs, other: Runs) -> bool:
    """Whether the median of the other runs is no more than the largest of the usual ones."""
    return statistics.median(other.p99_ms()) <= max(usual.p99_ms())


def report_doubts(runs: Mapping[str, Runs]) -> bool:
    """Say of which conditions nothing was measured; return whether there are any."""
    doubts = [f"{name}: {why}" for name, own in runs.items() for why in own.doubts()]
    for doubt in doubts:
        print(f"NOT MEASURED {doubt}", flush=True)
    return bool(doubts)


def report_goals(goals: Iterable[tuple[str, bool]]) -> bool:
    """Say which goals hold; return whether one is missed."""
    is_missed = False
    for goal, holds in goals:
        print(f"{'HOLDS' if holds else 'MISSED'} {goal}", flush=True)
        is_missed = is_missed or not holds
    return is_missed


def latency_goal(who: str, p99_ms: Sequence[float], most_ms: float) -> tuple[str, bool]:
    """Return the goal for the median of the runs' 99th percentiles; none is a miss."""
    seen = statistics.median(p99_ms) if p99_ms else float("nan")
    return f"{who}: event p99 {seen:.0f} ms, at most {most_ms:.0f}", seen <= most_ms


def offers_goal(who: str, usual: Runs, other: Runs) -> tuple[str, bool]:
    """Return the goal for the latency of offers beside listeners."""
    seen, most = statistics.median(other.p99_ms()), max(usual.p99_ms())
    return f"{who}: offer p99 {seen:.0f} ms, at most {most:.0f} without", is_within(usual, other)


async def bounded(measurement: Awaitable[T], options: argparse.Namespace) -> T:
    """Return what a measurement finds.

    Raises:
        SystemExit: it was not over in time.
    """
    try:
        async with asyncio.timeout(options.within_s):
            return await measurement
    except TimeoutError:
        raise SystemExit(f"NOT MEASURED: not over within {options.within_s:g} s") from None


def add_flags(parser: argparse.ArgumentParser, *, rate: float) -> None:
    """Add the flags of the load."""
    parser.add_argument("--rate", type=float, default=rate, help="jobs a second")
    parser.add_argument("--runs", type=int, default=5, help="of each condition")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run")
    parser.add_argument("--warm-s", type=float, default=5.0, help="before the first run")
    parser.add_argument("--drivers", type=int, default=1_500)
    parser.add_argument("--within-s", type=float, default=900.0, help="of all of it")
    parser.add_argument("--nodes", type=int, default=1, help="of the engine, each a process")
    parser.add_argument("--hold-s", type=float, default=3.0, help="from accepting to delivering")


def plan_of(nodes: Sequence[Node], options: argparse.Namespace, services: int = 1) -> SwarmPlan:
    """Return the plan of the load."""
    return SwarmPlan(
        urls=tuple(node.url for node in nodes),
        nice=_NICENESS,
        drivers=options.drivers,
        hold_s=options.hold_s,
        think_s=0.2,
        decline_share=_DECLINES,
        lapse_share=0.0,
        grace_s=1.0,
        services=services,
    )


@contextmanager
def engine(
    environment: Mapping[str, str], count: int
) -> Iterator[tuple[Sequence[Node], Credentials]]:
    """Run so many nodes and a Redis for the block."""
    secret = secrets.token_hex(32)
    settings = {
        **ENGINE,
        "MALLARD_SECRET": secret,
        "MALLARD_MAX_CONNECTIONS_PER_ADDRESS": "5000",
        **environment,
    }
    with (
        tempfile.TemporaryDirectory(prefix="mallard-events-") as name,
        running_redis(Path(name)) as redis,
        running_nodes(count, Path(name), settings, redis=redis) as nodes,
    ):
        yield nodes, Credentials(secret)


def percentile_ms(delays_s: Sequence[float], percent: float) -> float:
    """Return a percentile of delays in milliseconds; NaN without any."""
    if not delays_s:
        return float("nan")
    return sorted(delays_s)[int(len(delays_s) * percent / 100)] * 1000


def _range(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
