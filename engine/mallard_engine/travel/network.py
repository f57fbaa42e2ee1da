"""A road network as arrays: junctions, the edges between them, and the line that each edge follows.

Only the largest strongly connected component is kept, so every place that is snapped to a road has
a route to every other.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.places.geo import EARTH_RADIUS_M

FIXED = 1e7
"""OpenStreetMap's fixed-point resolution: steps in a degree."""
CLOSED_MS = 2**31 - 1
"""The time of an edge in a direction that is closed."""

_MS_PER_M_AT_1_KMH = 3600.0


class RoadsError(ValueError):
    """A file does not give a usable road network; the message names it and the fault."""


@dataclass(frozen=True, slots=True)
class RawWays:
    """Ways as read from an extract. Way k has the points ``first[k]:first[k + 1]``.

    ``node``: the point's id; ``lat``, ``lon``: `FIXED` steps; each (points,). ``forward_kmh``,
    ``backward_kmh``: (ways,), 0 where closed.
    """

    first: NDArray[np.int64]
    node: NDArray[np.int64]
    lat: NDArray[np.int32]
    lon: NDArray[np.int32]
    forward_kmh: NDArray[np.float64]
    backward_kmh: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Network:
    """A network of n junctions and e edges.

    Edge k leads from junction ``tail[k]`` to ``head[k]`` by the points ``first[k]:first[k + 1]``.
    Positions are in `FIXED` steps, times in milliseconds, `CLOSED_MS` where closed. ``order``: the
    junctions in the order in which they are contracted.
    """

    junction_lat: NDArray[np.int32]
    junction_lon: NDArray[np.int32]
    tail: NDArray[np.uint32]
    head: NDArray[np.uint32]
    forward_ms: NDArray[np.uint32]
    backward_ms: NDArray[np.uint32]
    first: NDArray[np.uint32]
    lat: NDArray[np.int32]
    lon: NDArray[np.int32]
    order: NDArray[np.uint32]

    def arcs(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
        """Return tail, head and milliseconds of every arc, without loops and slower parallels."""
        forward, backward = self.forward_ms < CLOSED_MS, self.backward_ms < CLOSED_MS
        tail = np.concatenate((self.tail[forward], self.head[backward]))
        head = np.concatenate((self.head[forward], self.tail[backward]))
        ms = np.concatenate((self.forward_ms[forward], self.backward_ms[backward]))
        by_pair = np.lexsort((ms, head, tail))
        tail, head, ms = tail[by_pair], head[by_pair], ms[by_pair]
        is_first = np.ones(len(tail), dtype=bool)
        is_first[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        kept = is_first & (tail != head)
        return tail[kept], head[kept], ms[kept]


def array_names() -> tuple[str, ...]:
    """Return the names of a network's arrays, in order."""
    return tuple(item.name for item in fields(Network))


def network_of(ways: RawWays) -> Network:
    """Build the network of the largest connected component, without an order of contraction.

    Raises:
        RoadsError: No two roads are connected.
    """
    ways = _without_standstill(ways)
    owner = np.repeat(np.arange(len(ways.first) - 1), np.diff(ways.first))
    _, index, uses = np.unique(ways.node, return_inverse=True, return_counts=True)
    is_end = np.zeros(len(ways.node), dtype=bool)
    is_end[ways.first[:-1]] = is_end[ways.first[1:] - 1] = True
    is_junction = np.zeros(len(uses), dtype=bool)
    is_junction[index[is_end]] = True
    is_junction |= uses > 1
    # An edge runs from one junction of a way to its next.
    stops = np.flatnonzero(is_junction[index])
    same_way = owner[stops[:-1]] == owner[stops[1:]]
    start, end = stops[:-1][same_way], stops[1:][same_way]
    tail, head, way = index[start], index[end], owner[start]
    metres = _lengths_m(ways, start, end)
    forward_ms = _milliseconds(metres, ways.forward_kmh[way])
    backward_ms = _milliseconds(metres, ways.backward_kmh[way])
    kept = _connected(len(uses), tail, head, forward_ms < CLOSED_MS, backward_ms < CLOSED_MS)
    if not kept.any():
        raise RoadsError("no two of its roads are connected")
    start, end, tail, head = start[kept], end[kept], tail[kept], head[kept]
    used, where = np.unique(np.concatenate((tail, head)), return_inverse=True)
    position = np.empty(len(uses), dtype=np.int64)
    position[index] = np.arange(len(index))
    at = position[used]
    points, first = _ranges(start, end + 1)
    return Network(
        ways.lat[at],
        ways.lon[at],
        where[: len(tail)].astype(np.uint32),
        where[len(tail) :].astype(np.uint32),
        forward_ms[kept],
        backward_ms[kept],
        first.astype(np.uint32),
        ways.lat[points],
        ways.lon[points],
        np.arange(len(used), dtype=np.uint32),
    )


def segment_lengths_m(lat: NDArray[np.int32], lon: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the metres from each point to the next: shape (points - 1,)."""
    north = np.diff(lat.astype(np.float64)) / FIXED
    east = np.diff(lon.astype(np.float64)) / FIXED
    middle = np.radians((lat[1:].astype(np.float64) + lat[:-1]) / (2 * FIXED))
    metres: NDArray[np.float64] = np.radians(np.hypot(north, east * np.cos(middle)))
    return metres * EARTH_RADIUS_M


def _without_standstill(ways: RawWays) -> RawWays:
    """Return the ways without repeated points."""
    again = np.zeros(len(ways.node), dtype=bool)
    again[1:] = ways.node[1:] == ways.node[:-1]
    again[ways.first[:-1]] = False
    kept = ~again
    first = np.concatenate(([0], np.cumsum(kept)))[ways.first]
    long_enough = np.diff(first) > 1
    points, first = _ranges(first[:-1][long_enough], first[1:][long_enough])
    points = np.flatnonzero(kept)[points]
    return RawWays(
        first,
        ways.node[points],
        ways.lat[points],
        ways.lon[points],
        ways.forward_kmh[long_enough],
        ways.backward_kmh[long_enough],
    )


def _ranges(
    start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the concatenated ranges start:end, and where each begins."""
    lengths = end - start
    first = np.concatenate(([0], np.cumsum(lengths)))
    numbers = np.arange(first[-1]) + np.repeat(start - first[:-1], lengths)
    return numbers, first


def _lengths_m(
    ways: RawWays, start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.float64]:
    along_m = np.concatenate(([0.0], np.cumsum(segment_lengths_m(ways.lat, ways.lon))))
    metres: NDArray[np.float64] = along_m[end] - along_m[start]
    return metres


def _milliseconds(metres: NDArray[np.float64], kmh: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return driving times, at least 1 ms, as an edge without duration would have no direction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ms = np.maximum(1.0, np.round(metres * _MS_PER_M_AT_1_KMH / kmh))
    return np.where(kmh > 0, np.minimum(ms, CLOSED_MS - 1), CLOSED_MS).astype(np.uint32)


def _connected(
    nodes: int,
    tail: NDArray[np.int64],
    head: NDArray[np.int64],
    forward: NDArray[np.bool_],
    backward: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which edges lie in the largest strongly connected component."""
    # Slow to load, and only nodes with roads need them.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    rows = np.concatenate((tail[forward], head[backward]))
    columns = np.concatenate((head[forward], tail[backward]))
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(nodes, nodes))
    _, part = connected_components(graph.tocsr(), directed=True, connection="strong")
    largest = np.bincount(part).argmax()
    inside = (part[tail] == largest) & (part[head] == largest)
    kept: NDArray[np.bool_] = inside & (tail != head) & (forward | backward)
    return kept
