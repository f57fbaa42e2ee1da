"""What is around a point, and how far one may move until something of it changes.

A driver reports every few seconds and moves some metres. Which malls are in reach, whether it is at
one and whether it is in the market at all is worked out once, and again only when it has left the
circle in which nothing of that changes.
"""

from collections.abc import Collection, Iterable, Iterator
from math import cos, inf, radians
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.places.mall import Mall, Market

REACH_MARGIN = 1.005
"""Reach is drawn this much wider: the store measures on a sphere, which differs by up to 0.5 %.

A mall too many costs a round that finds nobody; a mall too few would leave its jobs waiting.
"""

# A degree is never longer, and one of latitude never shorter, than these.
_LONGEST_DEG_M = 111_700.0
_SHORTEST_DEG_M = 110_500.0
# The circle is drawn smaller by what the planes and the sphere differ, and by a metre.
_STILL_SHARE = 0.98
# A tenth of a millimetre.
_EDGE_DEG = 1e-9
# From so many malls on they are measured together.
_MANY = 32

# The malls in reach; those nearby by their nearest edge, with the least it can be away; and how far
# one may move until one more or one less is in reach.
_Measured = tuple[Collection[str], Iterable[tuple[float, Mall]], float]


class MallSubset(Collection[str]):
    """Some of many malls, in the market's order. Which they are is compared with every step that a
    driver takes; their names are hardly ever wanted, so that they are read only then."""

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
        """Those that are not among the others."""
        if isinstance(others, MallSubset) and others.ids is self.ids:
            return MallSubset(self.ids, self.which & ~others.which)
        known = set(others)
        return [mall for mall in self if mall not in known]


def newly_in_reach(malls: Collection[str], before: Collection[str]) -> Collection[str]:
    """Those of the malls that were not in reach before."""
    if isinstance(malls, MallSubset):
        return malls.without(before)
    return set(malls) - set(before)


class SafeRegion(NamedTuple):
    """What is around (``lat``, ``lon``), and as far as ``safe_m`` from there.

    ``inside``: in the market's area. ``malls``: those in reach, in the market's order.
    ``at_mall``: the mall that one is at, if any.
    """

    lat: float
    lon: float
    safe_m: float
    inside: bool
    malls: Collection[str]
    at_mall: str | None

    def hold(self, lat: float, lon: float) -> bool:
        """Whether all of this is true of that point for certain: of the very same point it is,
        however near an edge."""
        off_deg = abs(lat - self.lat) + abs(lon - self.lon)
        return off_deg * _LONGEST_DEG_M < self.safe_m or not off_deg


def safe_region_at(
    market: Market, lat: float, lon: float, *, reach_m: float, at_mall_m: float
) -> SafeRegion:
    """Look around from a point: ``reach_m`` around the centres of malls is in their reach, and
    ``at_mall_m`` around an outline is at the mall."""
    depth_deg = market.ring.depth(lon, lat)
    edge_deg = abs(depth_deg)
    safe_m = edge_deg * _SHORTEST_DEG_M * cos(radians(min(abs(lat) + edge_deg, 90.0)))
    reach_m *= REACH_MARGIN
    measure = _measured_together if len(market.malls) >= _MANY else _measured
    reached, near, safe_m = measure(market, lat, lon, reach_m, at_mall_m, safe_m)
    at_mall = None
    # Nearest edge first: where even a mall's widest circle is further than what is known to be
    # still, its outline need not be measured, nor any behind it.
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
        # At the very edge the library's exact arithmetic has the word.
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
    """The same for many malls at once."""
    spread = market.spread
    away_m = spread.away_m(lat, lon)
    reached: Collection[str] = spread.ids
    if reach_m < inf:
        reached = MallSubset(spread.ids, away_m <= reach_m)
        safe_m = min(safe_m, float(np.abs(away_m - reach_m).min()))
    least_m = away_m - spread.radius_m - at_mall_m
    # Once the nearest is measured, the circle is no larger than this: few others are looked at.
    nearest = int(least_m.argmin())
    widest_m = max(float(least_m[nearest] + 2 * spread.radius_m[nearest]), at_mall_m)
    some = (least_m <= min(safe_m, widest_m)).nonzero()[0]
    some = some[np.argsort(least_m[some], kind="stable")]
    near = ((float(least_m[index]), market.malls[spread.ids[index]]) for index in some)
    return reached, near, safe_m


def _least_m(near: tuple[float, Mall]) -> float:
    return near[0]
