"""Safe regions: what holds at a driver's position, and the circle in which all of it still holds.

A driver reports every few seconds and moves a few metres. Which malls are in reach, whether the
driver is at one and whether it is inside the market is computed once, and again only when a fix
lies outside the safe region.
"""

from collections.abc import Collection, Iterable, Iterator
from math import cos, inf, radians
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.places.mall import Mall, Market

REACH_MARGIN = 1.005
"""The reach is widened by this factor: Redis measures on a sphere, which differs by up to 0.5 %.

An extra mall costs a round without candidates; a missing mall would leave its jobs waiting.
"""

# Upper bound of the length of any degree; lower bound of a degree of latitude.
_LONGEST_DEG_M = 111_700.0
_SHORTEST_DEG_M = 110_500.0
# The radius is reduced by the difference between the planes and the sphere, and by a metre.
_STILL_SHARE = 0.98
# 0.1 mm.
_EDGE_DEG = 1e-9
# From this many malls on, distances are computed with numpy.
_MANY = 32

# The malls in reach; nearby malls by the lower bound of their distance, with it; and how far the
# driver may move until the set in reach changes.
_Measured = tuple[Collection[str], Iterable[tuple[float, Mall]], float]


class MallSubset(Collection[str]):
    """A subset of a market's malls, in the market's order, as a bit mask.

    Masks are compared for every fix outside the safe region; names are looked up only on demand.
    """

    __slots__ = ("ids", "which")

    def __init__(self, ids: tuple[str, ...], which: NDArray[np.bool_]) -> None:
        self.ids, self.which = ids, which

    def __iter__(self) -> Iterator[str]:
        return iter([self.ids[index] for index in self.which.nonzero()[0].tolist()])

    def __len__(self) -> int:
        return int(np.count_nonzero(self.which))

    def __contains__(self, mall: object) -> bool:
        return mall in tuple(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MallSubset) and other.ids is self.ids:
            return bool((self.which == other.which).all())
        return isinstance(other, Collection) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def without(self, others: Collection[str]) -> Collection[str]:
        """Return the malls that are not in `others`."""
        if isinstance(others, MallSubset) and others.ids is self.ids:
            return MallSubset(self.ids, self.which & ~others.which)
        known = set(others)
        return [mall for mall in self if mall not in known]


def newly_in_reach(malls: Collection[str], before: Collection[str]) -> Collection[str]:
    """Return the malls that were not in reach before."""
    if isinstance(malls, MallSubset):
        return malls.without(before)
    return set(malls) - set(before)


class SafeRegion(NamedTuple):
    """What holds at (`lat`, `lon`) in degrees and within `safe_m` metres of it.

    `inside`: the point is in the market's area. `malls`: the malls in reach, in the market's order.
    `at_mall`: the mall that the point is at, if any.
    """

    lat: float
    lon: float
    safe_m: float
    inside: bool
    malls: Collection[str]
    at_mall: str | None

    def contains(self, lat: float, lon: float) -> bool:
        """Return whether the cached result is still valid at this point.

        It always is at the very point that it was computed for, even on an edge.
        """
        off_deg = abs(lat - self.lat) + abs(lon - self.lon)
        return off_deg * _LONGEST_DEG_M < self.safe_m or not off_deg


def safe_region_at(
    market: Market, lat: float, lon: float, *, reach_m: float, at_mall_m: float
) -> SafeRegion:
    """Compute the safe region of a point.

    Args:
        market: The market whose malls count.
        lat: Latitude in degrees.
        lon: Longitude in degrees.
        reach_m: A point within this distance of a mall's centre is in its reach.
        at_mall_m: A point within this distance of a mall's outline is at the mall.
    """
    depth_deg = market.boundary.depth(lon, lat)
    edge_deg = abs(depth_deg)
    safe_m = edge_deg * _SHORTEST_DEG_M * cos(radians(min(abs(lat) + edge_deg, 90.0)))
    reach_m *= REACH_MARGIN
    measure = _measured_together if len(market.malls) >= _MANY else _measured
    reached, near, safe_m = measure(market, lat, lon, reach_m, at_mall_m, safe_m)
    at_mall = None
    # Nearest edge first: once a mall's lower bound exceeds the safe radius, neither its outline nor
    # any later one can reduce the radius.
    for least_m, mall in near:
        if least_m >= safe_m:
            break
        outline_m = mall.distance_to_outline_m(lat, lon)
        if outline_m <= at_mall_m:
            at_mall = mall.id
        safe_m = min(safe_m, abs(outline_m - at_mall_m))
    return SafeRegion(
        lat,
        lon,
        max(0.0, safe_m * _STILL_SHARE - 1.0),
        # On the edge itself, shapely's exact arithmetic decides.
        depth_deg > 0.0 if edge_deg > _EDGE_DEG else market.holds(lat, lon),
        reached,
        at_mall,
    )


def _measured(
    market: Market, lat: float, lon: float, reach_m: float, at_mall_m: float, safe_m: float
) -> _Measured:
    reached = []
    near: list[tuple[float, Mall]] = []
    for mall in market.malls.values():
        away_m = mall.plane.distance_m(lat, lon)
        if away_m <= reach_m:
            reached.append(mall.id)
        safe_m = min(safe_m, abs(away_m - reach_m))
        near.append((away_m - mall.radius_m - at_mall_m, mall))
    near.sort(key=_least_m)
    return tuple(reached), near, safe_m


def _measured_together(
    market: Market, lat: float, lon: float, reach_m: float, at_mall_m: float, safe_m: float
) -> _Measured:
    """Do the same as `_measured` for many malls at once."""
    spread = market.spread
    away_m = spread.away_m(lat, lon)
    reached: Collection[str] = spread.ids
    if reach_m < inf:
        reached = MallSubset(spread.ids, away_m <= reach_m)
        safe_m = min(safe_m, float(np.abs(away_m - reach_m).min()))
    least_m = away_m - spread.radius_m - at_mall_m
    # The nearest outline bounds the safe radius, so few others have to be measured.
    nearest = int(least_m.argmin())
    widest_m = max(float(least_m[nearest] + 2 * spread.radius_m[nearest]), at_mall_m)
    some = (least_m <= min(safe_m, widest_m)).nonzero()[0]
    some = some[np.argsort(least_m[some], kind="stable")]
    near = ((float(least_m[index]), market.malls[spread.ids[index]]) for index in some)
    return reached, near, safe_m


def _least_m(near: tuple[float, Mall]) -> float:
    return near[0]
