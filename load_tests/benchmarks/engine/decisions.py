"""`python -m load_tests.benchmarks.engine.decisions`: the time of the pure decisions.

Measured without Redis or sockets: the ranking of 16 candidates (an instant round for one job); a
batch of 100 jobs and 400 drivers with all cost terms, in which a quarter of the drivers become free
later and some jobs are ready later; and the runs of one mall with as many held jobs and 16 drivers.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from load_tests.benchmarks.engine.world import MARKET
from mallard_engine.core.batch.solver import BatchDriver, BatchJob, solve
from mallard_engine.core.matching.ranking import Matcher, offerable
from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.model import Driver, Near, Need, Position, Vehicle, Waiting
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy, RunCosts
from mallard_engine.core.runs.pooling import Pool
from mallard_engine.core.runs.run import RunDriver
from mallard_engine.dispatch.rounds.batch.solver_thread import solved
from mallard_protocol.lifecycle import Wish

NOW_MS: Final = 1_790_000_000_000
_HOUR_MS: Final = 3_600_000
_POLICY: Final = MarketPolicy(round="batch")
_RUNS: Final = MarketPolicy(
    max_run_jobs=12,
    preset="same_day",
    hold_max_s=43_200.0,
    hold_margin_s=300.0,
    run=RunCosts(plan="by_deadline", back=0.7),
)
_TRAVEL: Final = StraightLine(_POLICY.circuity, _POLICY.speed_mps)
_CANDIDATES: Final = 16
# About 20 km around each mall, and 5 km around the mall of a ranking.
_METRO_DEG: Final = 0.2
_NEAR_DEG: Final = 0.05
# The interval of the task that measures pauses of the event loop.
_PULSE_S: Final = 0.001


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks.engine.decisions", description=__doc__
    )
    parser.add_argument("--jobs", type=int, default=100, help="of a batch (default: 100)")
    parser.add_argument("--drivers", type=int, default=400, help="of a batch (default: 400)")
    parser.add_argument("--times", type=int, default=100, help="batches (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    args = parser.parse_args(arguments)
    if min(args.jobs, args.drivers, args.times) < 1:
        parser.error("--jobs, --drivers and --times must be at least 1")
    results = measured(args.jobs, args.drivers, args.times, args.seed)
    for name, value in results.items():
        print(f"{name:40} {value:10.3f}" if isinstance(value, float) else f"{name:40} {value:>10}")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(jobs: int, drivers: int, times: int, seed: int) -> dict[str, Any]:
    """Return the times of a ranking, a batch, the runs, and the pauses of the event loop."""
    rng = random.Random(seed)
    problem = random_batch(rng, jobs, drivers)
    near, one = _ranking(rng)
    ranks = _seconds(lambda: _rank(near, one), 20 * times)
    batches = _seconds(lambda: solve(*problem, NOW_MS, _POLICY, _TRAVEL), times)
    solving_s, pauses = asyncio.run(
        _with_loop_pauses(lambda: solved(*problem, NOW_MS, _POLICY, _TRAVEL), times)
    )
    mall = next(iter(Places.load(opening_hours=False).market(MARKET).malls.values()))
    held, run_drivers = held_jobs(rng, mall, jobs), _run_drivers(rng)
    runs = _seconds(lambda: _pool(mall, held, run_drivers), times)
    pooling_s, pool_pauses = asyncio.run(
        _with_loop_pauses(lambda: asyncio.to_thread(_pool, mall, held, run_drivers), times)
    )
    return {
        "candidates": _CANDIDATES,
        "rank_p50_us": 1e6 * median(ranks),
        "rank_p99_us": 1e6 * _p99(ranks),
        "jobs": jobs,
        "drivers": drivers,
        "planned": len(solve(*problem, NOW_MS, _POLICY, _TRAVEL)),
        "batch_p50_ms": 1e3 * median(batches),
        "batch_p99_ms": 1e3 * _p99(batches),
        "as_the_engine_calls_it_p50_ms": 1e3 * median(solving_s),
        "loop_paused_p50_ms": 1e3 * median(pauses),
        "loop_paused_p99_ms": 1e3 * _p99(pauses),
        "held_jobs": len(held),
        "run_drivers": len(run_drivers),
        "runs_p50_ms": 1e3 * median(runs),
        "runs_p99_ms": 1e3 * _p99(runs),
        "runs_in_a_thread_p50_ms": 1e3 * median(pooling_s),
        "loop_paused_by_runs_p50_ms": 1e3 * median(pool_pauses),
        "loop_paused_by_runs_p99_ms": 1e3 * _p99(pool_pauses),
    }


def _seconds(work: Callable[[], object], times: int) -> list[float]:
    work()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def _rank(near: Sequence[Near], one: BatchJob) -> None:
    offerable(Matcher(one.mall, near, NOW_MS, _POLICY, _TRAVEL).plan(one.waiting))


async def _with_loop_pauses(
    decide: Callable[[], Awaitable[object]], times: int
) -> tuple[list[float], list[float]]:
    """Return the durations of a decision as the engine calls it, and the longest pause of the event
    loop during each, in seconds."""
    taken, pauses = [], []
    for _ in range(times):
        beats: list[float] = []
        pulse = asyncio.create_task(_beat(beats))
        await asyncio.sleep(2 * _PULSE_S)
        started = time.perf_counter()
        await decide()
        taken.append(time.perf_counter() - started)
        await asyncio.sleep(2 * _PULSE_S)
        pulse.cancel()
        late = [after - before for before, after in itertools.pairwise(beats)]
        pauses.append(max(late) - _PULSE_S)
    return taken, pauses


async def _beat(beats: list[float]) -> None:
    while True:
        beats.append(time.perf_counter())
        await asyncio.sleep(_PULSE_S)


def random_batch(
    rng: random.Random, jobs: int, drivers: int
) -> tuple[list[BatchJob], list[BatchDriver]]:
    """Return a random batch: jobs at the market's malls and drivers around them."""
    malls = tuple(Places.load(opening_hours=False).market(MARKET).malls.values())
    waiting = []
    for number in range(jobs):
        mall = rng.choice(malls)
        # Most jobs are ready or will be within minutes; some have waited for a long time.
        ready_ms = NOW_MS + round(rng.uniform(-0.25, 0.75) * _HOUR_MS)
        need = Need(
            stores=(rng.choice(tuple(mall.stores)),),
            ready_ms=ready_ms,
            deadline_ms=ready_ms + 2 * _HOUR_MS,
            expires_ms=ready_ms + 2 * _HOUR_MS,
            lat=mall.lat + rng.gauss(0, _NEAR_DEG),
            lon=mall.lon + rng.gauss(0, _NEAR_DEG),
            parcels=1,
            weight_g=rng.randrange(20_000),
            volume_l=rng.uniform(1, 80),
            requires=(),
            priority=0,
            created_ms=NOW_MS - _HOUR_MS,
        )
        waiting.append(BatchJob(Waiting(f"job_{MARKET}.{number}", 0, need, (), b""), mall))
    fleet = []
    for number in range(drivers):
        mall = rng.choice(malls)
        lat = mall.lat + rng.uniform(-_METRO_DEG, _METRO_DEG)
        lon = mall.lon + rng.uniform(-_METRO_DEG, _METRO_DEG)
        free_ms = NOW_MS + rng.randrange(_HOUR_MS) if number % 4 == 0 else 0
        fleet.append(BatchDriver(_driver(number, rng), lat, lon, free_ms))
    return waiting, fleet


def held_jobs(rng: random.Random, mall: Mall, jobs: int) -> list[Waiting]:
    """Return jobs of one mall that are held until their deadlines; a tenth of them are urgent."""
    waiting = []
    for number in range(jobs):
        to_go_h = rng.uniform(0.6, 1.2) if number % 10 == 0 else rng.uniform(1.5, 6.0)
        need = Need(
            stores=(rng.choice(tuple(mall.stores)),),
            ready_ms=NOW_MS,
            deadline_ms=NOW_MS + round(to_go_h * _HOUR_MS),
            expires_ms=NOW_MS + 8 * _HOUR_MS,
            lat=mall.lat + rng.gauss(0, _NEAR_DEG),
            lon=mall.lon + rng.gauss(0, _NEAR_DEG),
            parcels=1,
            weight_g=1_000,
            volume_l=4.0,
            requires=(),
            priority=0,
            created_ms=NOW_MS,
        )
        waiting.append(Waiting(f"job_{MARKET}.{number}", 0, need, (), b""))
    return waiting


def _run_drivers(rng: random.Random) -> list[RunDriver]:
    car = Vehicle(max_jobs=16)
    return [
        RunDriver(f"d{number}", car, rng.uniform(60, 1_200), rng.uniform(1, 4) * 3_600)
        for number in range(_CANDIDATES)
    ]


def _pool(mall: Mall, held: Sequence[Waiting], run_drivers: Sequence[RunDriver]) -> None:
    Pool(mall, held, NOW_MS, _RUNS, _TRAVEL).runs(run_drivers)


def _ranking(rng: random.Random) -> tuple[list[Near], BatchJob]:
    ((one, *_), _) = random_batch(rng, 1, 1)
    near = []
    for number in range(_CANDIDATES):
        lat = one.mall.lat + rng.uniform(-_NEAR_DEG, _NEAR_DEG)
        lon = one.mall.lon + rng.uniform(-_NEAR_DEG, _NEAR_DEG)
        away_m = haversine_m(lat, lon, one.mall.lat, one.mall.lon)
        position = Position(lat, lon, 5.0, NOW_MS, NOW_MS)
        near.append(Near(_driver(number, rng), position, away_m))
    return near, one


def _driver(number: int, rng: random.Random) -> Driver:
    return Driver(
        id=f"d{number}",
        wish=Wish.AVAILABLE,
        connected=True,
        until_ms=NOW_MS + rng.randrange(_HOUR_MS, 4 * _HOUR_MS),
        free_since_ms=NOW_MS - rng.randrange(_HOUR_MS),
        declines=float(rng.randrange(3)),
        declines_ms=NOW_MS - _HOUR_MS,
    )


if __name__ == "__main__":
    sys.exit(main())
