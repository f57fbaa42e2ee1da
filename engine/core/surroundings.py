"""What is around a point, and how far one may move until something of it changes.

A driver reports every few seconds and moves some metres. Which malls are in reach, whether it is at
one and whether it is in the market at all is worked out once, and again only when it has left the
circle in which nothing of that changes.
"""

from math import cos, radians
from typing import NamedTuple

import numpy as np
import shapely

from engine.core.mall import Market

REACH_MARGIN = 1.005
"""Reach is drawn this much wider: the store measures on a sphere, which differs by up to 0.5 %.

A mall too many costs a round that finds nobody; a mall too few would leave its jobs waiting.
"""

# A degree is never longer, and one of latitude never shorter, than these.
_LONGEST_DEG_M = 111_700.0
_SHORTEST_DEG_M = 110_500.0
# The circle is drawn smaller by what the planes and the sphere differ, and by a metre.
_STILL_SHARE = 0.98


class Surroundings(NamedTuple):
    """What is around (``lat``, ``lon``), and as far as ``still_m`` from there.

    ``inside``: in the market's area. ``malls``: those in reach, in the market's order.
    ``at_mall``: the mall that one is at, if any.
    """

    lat: float
    lon: float
    still_m: float
    inside: bool
    malls: tuple[str, ...]
    at_mall: str | None

    def hold(self, lat: float, lon: float) -> bool:
        """Whether all of this is true of that point for certain."""
        return (abs(lat - self.lat) + abs(lon - self.lon)) * _LONGEST_DEG_M < self.still_m


def look_around(
    market: Market, lat: float, lon: float, *, reach_m: float, at_mall_m: float
) -> Surroundings:
    """Look around from a point: ``reach_m`` around the centres of malls is in their reach, and
    ``at_mall_m`` around an outline is at the mall."""
    point = shapely.Point(lon, lat)
    edge_deg = float(shapely.distance(market.area.boundary, point))
    still_m = edge_deg * _SHORTEST_DEG_M * cos(radians(min(abs(lat) + edge_deg, 90.0)))
    reach_m *= REACH_MARGIN
    away_m = market.centres.away_m(lat, lon)
    if len(away_m):
        still_m = min(still_m, float(np.min(np.abs(away_m - reach_m))))
    at_mall = None
    # Nearest edge first: where even a mall's widest circle is further than what is known to be
    # still, its outline need not be measured, nor any behind it.
    least_m = away_m - market.centres.radius_m - at_mall_m
    for index in np.argsort(least_m, kind="stable"):
        if least_m[index] >= still_m:
            break
        mall = market.centres.malls[index]
        outline_m = mall.distance_to_outline_m(lat, lon)
        if outline_m <= at_mall_m:
            at_mall = mall.id
        still_m = min(still_m, abs(outline_m - at_mall_m))
    return Surroundings(
        lat,
        lon,
        max(0.0, still_m * _STILL_SHARE - 1.0),
        market.holds(lat, lon),
        tuple(market.centres.ids[away_m <= reach_m].tolist()),
        at_mall,
    )
