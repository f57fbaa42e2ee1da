"""Signed distance of one point to the boundary of a polygon, in pure Python.

For a single point, numpy and shapely spend tens of microseconds on the call itself; our polygons
have about a dozen corners.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely.geometry import Polygon

_Edge = tuple[float, float, float, float, float, float]

# An edge whose squared length is less counts as its first corner.
_SMALLEST = 1e-300


class PolygonBoundary:
    """The boundary of a polygon, holes included, in the polygon's own plane and unit."""

    __slots__ = ("_edges",)

    def __init__(self, polygon: Polygon) -> None:
        self._edges = tuple(_edges(polygon))

    def depth(self, x: float, y: float) -> float:
        """Return the distance of the point to the boundary: positive inside, negative outside.

        The sign follows the even-odd rule for a ray to the east.
        """
        least = inf
        inside = False
        for ax, ay, by, dx, dy, per_square in self._edges:
            px, py = x - ax, y - ay
            along = (px * dx + py * dy) * per_square
            if along > 0.0:
                along = min(along, 1.0)
                px -= along * dx
                py -= along * dy
            square = px * px + py * py
            least = min(least, square)
            if (ay > y) != (by > y) and x < ax + (y - ay) / dy * dx:
                inside = not inside
        away = sqrt(least)
        return away if inside else -away


def _edges(polygon: Polygon) -> Iterator[_Edge]:
    """Yield each edge as start x, start y, end y, delta x, delta y, 1 ÷ squared length.

    The end is stored, not computed from start and delta: neighbours must agree on their common
    corner, or a ray past it crosses both or neither.
    """
    for ring in (polygon.exterior, *polygon.interiors):
        for (ax, ay, *_), (bx, by, *_) in pairwise(ring.coords):
            dx, dy = bx - ax, by - ay
            square = dx * dx + dy * dy
            yield ax, ay, by, dx, dy, 1.0 / square if square > _SMALLEST else 0.0
