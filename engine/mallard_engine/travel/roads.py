"""Travel times on a road network in the node's process, by a customizable contraction hierarchy.

Dibbelt, Strasser, Wagner: Customizable Contraction Hierarchies, JEA 2016, in RoutingKit's
implementation. A place is snapped to the nearest road. The route goes from there to either end of
the edge, over the network, and along the other place's edge. Between road and place, the speed is
that of a car park.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.travel.network import CLOSED_MS, FIXED, Network, RoadsError
from mallard_engine.travel.snapping import Snapped, Snapper

try:
    import routingkit_cch
except ImportError:  # the extra is not installed
    routingkit_cch = None  # type: ignore[assignment]

OFF_ROAD_MPS = 4.0
"""The speed through a car park, from the road to a gate."""

# The time of a closed edge. Finite, as a place at its very end is at the junction.
_NEVER_MS = 1e15

Floats = NDArray[np.float64]


def in_order(network: Network) -> Network:
    """Return the network with an order of contraction (inertial nested dissection); slow."""
    _need_extra()
    tail, head, _ = network.arcs()
    order = routingkit_cch.compute_order_inertial(
        len(network.junction_lat),
        tail.tolist(),
        head.tolist(),
        (network.junction_lat / FIXED).tolist(),
        (network.junction_lon / FIXED).tolist(),
    )
    return replace(network, order=np.array(order, dtype=np.uint32))


class _Ends(NamedTuple):
    """How n places reach junctions by the tail and the head of their edges; each array (2, n).

    `ms` is `CLOSED_MS` or more where that direction is closed.
    """

    junction: NDArray[np.int64]
    ms: Floats


class _Queries(threading.local):
    """A thread's query objects, which are expensive and cannot be shared between threads."""

    def __init__(self, metric: "routingkit_cch.CCHMetric") -> None:
        self.many_to_one = routingkit_cch.CCHManyToOne(metric, [0])
        self.one_to_many = routingkit_cch.CCHOneToMany(metric, [0])


class RoadGraph:
    """A network prepared for queries from any thread; building it takes seconds.

    Raises:
        RoadsError: The network is inconsistent, or the extra is not installed.
    """

    def __init__(self, network: Network) -> None:
        _need_extra()
        tail, head, ms = network.arcs()
        junctions = len(network.junction_lat)
        is_sound = len(tail) and max(tail.max(), head.max()) < junctions
        if not is_sound or not np.array_equal(np.sort(network.order), np.arange(junctions)):
            raise RoadsError("the network is inconsistent")
        hierarchy = routingkit_cch.CCH(network.order.tolist(), tail.tolist(), head.tolist(), False)
        self._queries = _Queries(routingkit_cch.CCHMetric(hierarchy, ms.tolist()))
        self._snapper = Snapper(network)
        self._ends = np.stack((network.tail, network.head)).astype(np.int64)
        self._forward_ms, self._backward_ms = (
            np.where(times < CLOSED_MS, times, _NEVER_MS)
            for times in (network.forward_ms, network.backward_ms)
        )

    def free_ms(self, froms: Points, tos: Points, reach_m: float) -> Floats:
        """Return the milliseconds on free roads from each of n places to each of m: shape (n, m).

        `nan` for places farther than `reach_m` from every road.
        """
        # Both sides are snapped in one call.
        lats, lons = (np.concatenate(pair) for pair in zip(froms, tos, strict=True))
        both = self._snapper.snap(Points(lats, lons), reach_m)
        count = len(froms.lats)
        here, there = both.take(slice(count)), both.take(slice(count, None))
        if not len(lats) or both.edge.min() >= 0:
            return self._between(here, there)
        table = np.full((len(here.edge), len(there.edge)), np.nan)
        rows, columns = np.flatnonzero(here.edge >= 0), np.flatnonzero(there.edge >= 0)
        table[np.ix_(rows, columns)] = self._between(here.take(rows), there.take(columns))
        return table

    def _between(self, here: Snapped, there: Snapped) -> Floats:
        if not len(here.edge) or not len(there.edge):
            return np.empty((len(here.edge), len(there.edge)))
        table = self._over_junctions(here, there)
        rows, columns = np.nonzero(here.edge[:, None] == there.edge)
        if len(rows):
            straight = self._along(here.take(rows), there.share[columns])
            table[rows, columns] = np.fmin(table[rows, columns], straight)
        table[table >= CLOSED_MS] = np.nan
        return table + (here.off_m[:, None] + there.off_m) * (1000 / OFF_ROAD_MPS)

    def _over_junctions(self, here: Snapped, there: Snapped) -> Floats:
        """Return the milliseconds of routes over at least one junction."""
        leave = self._meets(here, self._backward_ms, self._forward_ms)
        reach = self._meets(there, self._forward_ms, self._backward_ms)
        if len(there.edge) <= len(here.edge):
            to_one = self._queries.many_to_one
            return _sweep(leave, reach, to_one.repin_sources, to_one.distances_to_multi)
        to_many = self._queries.one_to_many
        return _sweep(reach, leave, to_many.repin_targets, to_many.distances_from_multi).T

    def _meets(self, places: Snapped, by_tail_ms: Floats, by_head_ms: Floats) -> _Ends:
        """Return how places reach the ends of their edges, given the times of whole edges."""
        edge, share = places.edge, places.share
        ms = np.stack((share * by_tail_ms[edge], (1.0 - share) * by_head_ms[edge]))
        return _Ends(self._ends[:, edge], ms)

    def _along(self, here: Snapped, share: Floats) -> Floats:
        """Return the milliseconds between places on the same edges, along these."""
        further = share - here.share
        forward_ms, backward_ms = self._forward_ms[here.edge], self._backward_ms[here.edge]
        return np.abs(further) * np.where(further > 0, forward_ms, backward_ms)


class Roads(TravelTime):
    """Seconds by road: those of free roads times the slowness of `speed` at that hour.

    `nan` for a place farther than `reach_m` from every road.
    """

    def __init__(
        self, graph: RoadGraph, *, reach_m: float = 300.0, speed: SpeedByHour | None = None
    ) -> None:
        self._graph = graph
        self._reach_m = reach_m
        self._speed = speed or SpeedByHour(1.0)

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Return the seconds from one point to another."""
        here, there = Points.of([(from_lat, from_lon)]), Points.of([(to_lat, to_lon)])
        return float(self.matrix(here, there, at_ms)[0, 0])

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> Floats:
        """Return the seconds from each of n points to each of m: shape (n, m)."""
        free_ms = self._graph.free_ms(froms, tos, self._reach_m)
        return free_ms * (self._speed.slowness(at_ms) / 1000)


def _sweep(
    pinned: _Ends,
    single: _Ends,
    pin: Callable[[list[int]], None],
    ask: Callable[[list[tuple[int, int]]], list[int | None]],
) -> Floats:
    """Return the milliseconds between all pinned places and each single one: (pinned, single)."""
    pin(pinned.junction.ravel().tolist())
    columns: dict[tuple[tuple[int, int], ...], Floats] = {}
    table = np.empty((pinned.junction.shape[1], single.junction.shape[1]))
    for number, ends in enumerate(_open_ends(single)):
        if ends not in columns:
            # None (no route) becomes `nan`.
            known = np.array(ask(list(ends)), dtype=np.float64).reshape(2, -1)
            columns[ends] = np.fmin(*(known + pinned.ms))
        table[:, number] = columns[ends]
    return table


def _open_ends(ends: _Ends) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield the open junctions of each place, with whole milliseconds."""
    for junctions, times in zip(ends.junction.T.tolist(), ends.ms.T.tolist(), strict=True):
        yield tuple(
            (junction, round(ms))
            for junction, ms in zip(junctions, times, strict=True)
            if ms < CLOSED_MS
        )


def _need_extra() -> None:
    if routingkit_cch is None:
        raise RoadsError("roads need the extra: pip install 'mallard-engine[roads]'")
