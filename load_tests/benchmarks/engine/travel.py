"""`python -m load_tests.benchmarks.engine.travel EXTRACT`: road routing against the straight line.

Measures the time to build and load a road network, the CPU time of travel-time tables, and the
error of the straight line: in seconds, and in its choice of the driver. `--city N` measures a
synthetic city of N × N blocks with an arterial at every eighth street.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.matching.travel_time import Points, StraightLine, TravelTime
from mallard_engine.core.places.geo import haversine_matrix_m
from mallard_engine.travel.network import FIXED, Network, RawWays, network_of
from mallard_engine.travel.network_file import About, read_network, write_network
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import RoadGraph, Roads, in_order

_AT_MS = 1_790_000_000_000
_BLOCK_DEG = 0.0018
_ARTERIAL_EVERY = 8
_BESIDE_DEG = 0.0005
# The last two are the tables of a batch of 100 jobs at ten gates and 400 drivers.
_SHAPES = ((1, 1), (16, 1), (100, 1), (400, 100), (500, 10), (10, 100))
_CLOSE_BY_M = 5_000.0


class Built(NamedTuple):
    """A network ready for queries, and the times and sizes of its build."""

    network: Network
    roads: Roads
    took: dict[str, float]


def build(ways: Callable[[], RawWays]) -> Built:
    """Build a network, write it, read it back and prepare it for queries."""
    took: dict[str, float] = {}
    raw = _timed(took, "read_s", ways)
    plain = _timed(took, "network_s", lambda: network_of(raw))
    network = _timed(took, "order_s", lambda: in_order(plain))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.roads"
        took["bytes"] = write_network(path, network, About("bench", ""))
        network, _ = _timed(took, "load_file_s", lambda: read_network(path))
    graph = _timed(took, "load_graph_s", lambda: RoadGraph(network))
    took["junctions"], took["edges"] = len(network.junction_lat), len(network.tail)
    took["points"] = len(network.lat)
    return Built(network, Roads(graph), took)


def city_ways(blocks: int) -> RawWays:
    """Return the streets of a square city of 200 m blocks.

    Every eighth street is an arterial. The neighbourhoods between them have one exit on each side,
    as in metropolitan areas of the western United States.
    """
    side = blocks + 1
    number = np.arange(side * side).reshape(side, side)
    streets: list[NDArray[np.int64]] = []
    kmh: list[float] = []
    for grid in (number, number.T):
        for line in range(side):
            if line % _ARTERIAL_EVERY == 0:
                streets.append(grid[line])
                kmh.append(65.0)
                continue
            inset = 0 if line % _ARTERIAL_EVERY == _ARTERIAL_EVERY // 2 else 1
            for start in range(0, blocks, _ARTERIAL_EVERY):
                streets.append(grid[line, start + inset : start + _ARTERIAL_EVERY + 1 - inset])
                kmh.append(25.0)
    node = np.concatenate(streets)
    speeds = np.array(kmh)
    return RawWays(
        np.concatenate(([0], np.cumsum([len(street) for street in streets]))),
        node,
        np.round((33.0 + node // side * _BLOCK_DEG) * FIXED).astype(np.int32),
        np.round((-112.5 + node % side * _BLOCK_DEG) * FIXED).astype(np.int32),
        speeds,
        speeds,
    )


def places(network: Network, count: int, rng: np.random.Generator) -> Points:
    """Return random places up to about 50 m beside the roads."""
    at = rng.integers(0, len(network.lat), count)
    beside = rng.uniform(-_BESIDE_DEG, _BESIDE_DEG, (2, count))
    return Points(network.lat[at] / FIXED + beside[0], network.lon[at] / FIXED + beside[1])


def table_us(source: TravelTime, network: Network, froms: int, tos: int, times: int) -> float:
    """Return the median CPU time of a table in microseconds, each time for other places."""
    rng = np.random.default_rng(froms * 1_000 + tos)
    sides = [(places(network, froms, rng), places(network, tos, rng)) for _ in range(times)]
    took = []
    for here, there in sides:
        started = time.thread_time()
        source.matrix(here, there, _AT_MS)
        took.append(time.thread_time() - started)
    return float(np.median(took)) * 1e6


def straight_line_error(built: Built, straight: StraightLine) -> dict[str, float]:
    """Return the relative error of the straight line for pairs of places 0.5-15 km apart.

    `default_off` uses the default speed, `fitted_off` the best single speed for these roads.
    """
    rng = np.random.default_rng(1)
    froms, tos = places(built.network, 400, rng), places(built.network, 400, rng)
    away_m = haversine_matrix_m(*froms, *tos)
    by_road = built.roads.matrix(froms, tos, _AT_MS)
    counts = np.isfinite(by_road) & (away_m > 500) & (away_m < 15_000)
    share = straight.matrix(froms, tos, _AT_MS)[counts] / by_road[counts]
    fitted = share / np.median(share)
    return {
        "pairs": int(counts.sum()),
        "straight_over_road_median": float(np.median(share)),
        **_percentiles("default_off", np.abs(share - 1)),
        **_percentiles("fitted_off", np.abs(fitted - 1)),
    }


def choices(built: Built, straight: StraightLine, rounds: int = 500) -> dict[str, float]:
    """Return how often the straight line chooses another of 16 drivers than the roads do.

    The drivers are within 5 km of a gate. Also returns the delay of that choice in seconds.
    """
    rng = np.random.default_rng(2)
    later = []
    for _ in range(rounds):
        gate, crowd = places(built.network, 1, rng), places(built.network, 2_000, rng)
        near = np.flatnonzero(haversine_matrix_m(*crowd, *gate)[:, 0] < _CLOSE_BY_M)[:16]
        drivers = Points(crowd.lats[near], crowd.lons[near])
        by_road = built.roads.matrix(drivers, gate, _AT_MS)[:, 0]
        if len(near) < 2 or np.isnan(by_road).any():
            continue
        chosen = straight.matrix(drivers, gate, _AT_MS)[:, 0].argmin()
        later.append(by_road[chosen] - by_road.min())
    wrong = np.array([seconds for seconds in later if seconds > 0])
    return {
        "rounds": len(later),
        "another_driver": len(wrong) / len(later),
        "later_mean_s": float(np.mean(later)),
        **_percentiles("later_where_wrong_s", wrong),
    }


def measure(name: str, ways: Callable[[], RawWays], times: int, *, is_real: bool) -> dict[str, Any]:
    """Measure one network."""
    built = build(ways)
    straight = StraightLine(1.3, 9.0)
    sources = {"straight": straight, "roads": built.roads}
    tables = {
        f"{froms}x{tos}": {
            kind: table_us(source, built.network, froms, tos, max(5, times // tos))
            for kind, source in sources.items()
        }
        for froms, tos in _SHAPES
    }
    results: dict[str, Any] = {"name": name, "build": built.took, "tables_us": tables}
    if is_real:  # a synthetic city says nothing about real roads
        results["straight_line"] = straight_line_error(built, straight)
        results["choices"] = choices(built, straight)
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write the results to `--json`."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.benchmarks.engine.travel")
    parser.add_argument("extract", type=Path, nargs="?", help="an extract (.osm.pbf)")
    parser.add_argument("--city", type=int, default=0, metavar="N", help="a city of N × N blocks")
    parser.add_argument("--times", type=int, default=300, help="how often each table is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    args = parser.parse_args(argv)
    results = []
    if args.extract:
        extract: Path = args.extract
        real = measure(extract.name, lambda: read_extract(extract).ways, args.times, is_real=True)
        results.append(real)
    if args.city:
        name = f"city of {args.city} × {args.city} blocks"
        results.append(measure(name, lambda: city_ways(args.city), args.times, is_real=False))
    report = {"python": platform.python_version(), "networks": results}
    text = json.dumps(report, indent=1, ensure_ascii=False)
    if args.json:
        args.json.write_text(f"{text}\n", encoding="utf-8")
    print(text)


def _timed(took: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = work()
    took[name] = round(time.perf_counter() - started, 4)
    return result


def _percentiles(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"{name}_p{share}": float(np.percentile(values, share)) for share in (50, 90, 99)}


if __name__ == "__main__":
    main()
