"""Snaps points to the nearest road, many at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.matching.travel_time import Points
from mallard_engine.core.places.geo import LocalPlane
from mallard_engine.travel.network import FIXED, Network

SAMPLE_M = 10.0
_NEAREST = 3

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Snapped(NamedTuple):
    """n points snapped to the network; each array (n,).

    `edge`: -1 if no road is in reach; `share`: of the edge's length up to the snapped point;
    `off_m`: distance from the point to the road.
    """

    edge: Numbers
    share: Floats
    off_m: Floats

    def take(self, chosen: slice | Numbers) -> "Snapped":
        """Return a subset of the points."""
        return Snapped(self.edge[chosen], self.share[chosen], self.off_m[chosen])


class Snapper:
    """Finds the nearest road on a plane around the middle of the network.

    Every road is sampled at least every `SAMPLE_M` metres, and the nearest of the segments of the
    nearest samples is taken: no other road is nearer by more than half of `SAMPLE_M`. An R-tree
    over the segments would be exact, but takes four times as long for a hundred points and holds an
    object a segment.
    """

    def __init__(self, network: Network) -> None:
        lat, lon = network.lat / FIXED, network.lon / FIXED
        middle = float(lat.min() + lat.max()) / 2, float(lon.min() + lon.max()) / 2
        self._plane = LocalPlane(*middle)
        x, y = self._plane.xy_batch(lat, lon)
        first = network.first.astype(np.int64)
        owner = np.repeat(np.arange(len(first) - 1), np.diff(first))
        # A segment for every point that is not the last of its edge.
        starts = np.flatnonzero(owner[1:] == owner[:-1])
        self._edge = owner[starts]
        self._x, self._y = x[starts], y[starts]
        self._dx, self._dy = x[starts + 1] - self._x, y[starts + 1] - self._y
        metres = np.maximum(np.hypot(self._dx, self._dy), 1e-6)
        self._square_m = metres**2
        edge_m = np.bincount(self._edge, metres)[self._edge]
        before_m = np.cumsum(metres) - metres
        begun_m = before_m[np.searchsorted(self._edge, self._edge)]
        self._share_before = (before_m - begun_m) / edge_m
        self._share = metres / edge_m
        self._lay_samples(metres)

    def snap(self, points: Points, reach_m: float) -> Snapped:
        """Return the nearest road to each of n points, if it is within reach."""
        x, y = self._plane.xy_batch(*points)
        _, sample = self._samples.query(
            np.column_stack((x, y)), k=_NEAREST, distance_upper_bound=reach_m + SAMPLE_M
        )
        segment = self._sampled[sample]  # (n, nearest); -1, the last, where there is none
        to_x, to_y = x[:, None] - self._x[segment], y[:, None] - self._y[segment]
        dx, dy = self._dx[segment], self._dy[segment]
        part = np.clip((to_x * dx + to_y * dy) / self._square_m[segment], 0.0, 1.0)
        away_m = np.hypot(to_x - part * dx, to_y - part * dy)
        away_m[segment < 0] = np.inf
        which = np.arange(len(x)), away_m.argmin(axis=1)
        chosen, off_m = segment[which], away_m[which]
        share = self._share_before[chosen] + part[which] * self._share[chosen]
        edge = np.where(off_m <= reach_m, self._edge[chosen], -1)
        return Snapped(edge, np.minimum(share, 1.0), off_m)

    def _lay_samples(self, metres: Floats) -> None:
        from scipy.spatial import cKDTree  # noqa: PLC0415 - only nodes with roads need it

        pieces = np.ceil(metres / SAMPLE_M).astype(np.int64)
        segment = np.repeat(np.arange(len(pieces)), pieces)
        number = np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        part = (number + 0.5) / pieces[segment]
        at = np.column_stack(
            (
                self._x[segment] + part * self._dx[segment],
                self._y[segment] + part * self._dy[segment],
            )
        )
        self._samples = cKDTree(at)
        self._sampled = np.append(segment, -1)
