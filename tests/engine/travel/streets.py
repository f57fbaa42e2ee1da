"""Streets for tests: small extracts written with libosmium, and a plain search to hold roads
against."""

import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import osmium
import pytest
from osmium.osm.mutable import Node, Way

from mallard_engine.travel.network import Network

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("MALLARD_DATASETS", ROOT.parent / "shared" / "data")) / "roads"
LIECHTENSTEIN = DATA / "liechtenstein-latest.osm.pbf"
M_PER_DEG = 111_195.0

Street = tuple[Sequence[int], Mapping[str, str]]


def real_extract() -> Path:
    """The real extract, or a skip that says why."""
    if not LIECHTENSTEIN.exists():
        pytest.skip(f"no extract in {DATA}: set MALLARD_DATASETS")
    return LIECHTENSTEIN


def write_extract(
    path: Path, nodes: Mapping[int, tuple[float, float]], streets: Iterable[Street]
) -> Path:
    """Write an extract: nodes as (lat, lon) by id, and streets as node ids and tags."""
    with osmium.SimpleWriter(str(path)) as writer:
        for ref, (lat, lon) in nodes.items():
            writer.add_node(Node(id=ref, location=(lon, lat), version=1))
        for number, (refs, tags) in enumerate(streets, 1):
            writer.add_way(Way(id=number, nodes=list(refs), tags=dict(tags), version=1))
    return path


def write_town(
    path: Path, lat: float, lon: float, *, side: int = 9, block_m: float = 500.0
) -> Path:
    """Write a square town around a place: every street is residential, at 36 km/h when driven."""
    step = block_m / M_PER_DEG
    nodes = {
        row * side + column: (lat + (row - side // 2) * step, lon + (column - side // 2) * step)
        for row in range(side)
        for column in range(side)
    }
    tags = {"highway": "residential", "maxspeed": "45"}
    rows = [[row * side + column for column in range(side)] for row in range(side)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return write_extract(path, nodes, [(street, tags) for street in (*rows, *columns)])


def dijkstra(network: Network, source: int) -> dict[int, int]:
    """Milliseconds from a junction to every junction that can be reached, over the plain arcs."""
    tail, head, ms = network.arcs()
    out: dict[int, list[tuple[int, int]]] = {}
    for start, end, cost in zip(tail.tolist(), head.tolist(), ms.tolist(), strict=True):
        out.setdefault(start, []).append((end, cost))
    best = {source: 0}
    heap = [(0, source)]
    while heap:
        so_far, at = heapq.heappop(heap)
        if so_far > best[at]:
            continue
        for there, cost in out.get(at, ()):
            if so_far + cost < best.get(there, so_far + cost + 1):
                best[there] = so_far + cost
                heapq.heappush(heap, (so_far + cost, there))
    return best
