"""The places that the engine serves: which market and mall is a point in, what is in reach.

    places = Places.load()
    mall = places.mall("chandler-fashion-center")
    places.in_area("phoenix", 33.3197, -111.8412)

A look-up by id raises `KeyError` for an id that is not there; `markets` and `malls` are mappings
for those who would rather ask first.
"""

from __future__ import annotations

from importlib import resources
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import shapely

from engine.core.mall import Gate, Mall, MallKind, Market, Store
from engine.core.places_file import PlacesError, read_market

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Gate", "Mall", "MallKind", "Market", "Places", "PlacesError", "Store"]

REACH_MARGIN = 1.005
"""Reach is drawn this much wider: the store measures on a sphere, which differs by up to 0.5 %.

A mall too many costs a round that finds nobody; a mall too few would leave its jobs waiting.
"""


# A degree of latitude is 110,574 m at the least; and no market lies within 0.6 degrees of a pole.
_LEAST_M_PER_DEG = 110_500.0
_LEAST_COS = 0.01


class Places:
    """Every market, with its malls by id. Made once at start; nothing in it changes."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.markets: dict[str, Market] = {}
        self.malls: dict[str, Mall] = {}
        for market in markets:
            if market.id in self.markets:
                raise PlacesError(f"market {market.id}: defined twice")
            self.markets[market.id] = market
            for mall in market.malls.values():
                if mall.id in self.malls:
                    other = self.malls[mall.id].market
                    raise PlacesError(f"{market.id}: mall {mall.id}: also in market {other}")
                self.malls[mall.id] = mall
        self._malls_of = {
            market.id: tuple(market.malls.values()) for market in self.markets.values()
        }
        self._outlines = {
            market: shapely.STRtree([mall.outline for mall in malls])
            for market, malls in self._malls_of.items()
        }
        # Plain tuples: `malls_in_reach` runs whenever a driver becomes free.
        self._reach = {
            market.id: tuple(
                (mall.id, mall.lat, mall.lon, mall.plane.m_per_deg_lat, mall.plane.m_per_deg_lon)
                for mall in market.malls.values()
            )
            for market in self.markets.values()
        }

    @classmethod
    def load(cls, paths: Iterable[Path] | None = None, *, opening_hours: bool = True) -> Places:
        """Read the markets from TOML files, or folders of them; None: those of the package.

        Without `opening_hours` every mall is always open. Raises `PlacesError`, which names the
        entry that is wrong.
        """
        packaged: Traversable = resources.files("engine") / "places"
        roots: Iterable[Traversable] = [packaged] if paths is None else paths
        files = [file for root in roots for file in _toml_files(root)]
        return cls(read_market(file, opening_hours=opening_hours) for file in files)

    def market(self, market: str) -> Market:
        """Return the market of this id."""
        return self.markets[market]

    def mall(self, mall: str) -> Mall:
        """Return the mall of this id, in whichever market it is."""
        return self.malls[mall]

    def market_of_mall(self, mall: str) -> Market:
        """Return the market that a mall belongs to."""
        return self.markets[self.malls[mall].market]

    def market_at(self, lat: float, lon: float) -> str | None:
        """Return the id of the market whose area holds the point; None outside of all."""
        return next((m.id for m in self.markets.values() if m.holds(lat, lon)), None)

    def in_area(self, market: str, lat: float, lon: float) -> bool:
        """Whether a point, such as a drop-off, is inside the market's area."""
        return self.markets[market].holds(lat, lon)

    def in_market(self, market: str, lats: ArrayLike, lons: ArrayLike) -> NDArray[np.bool_]:
        """`in_area` of n points at once: shape (n,)."""
        return self.markets[market].region.holds_batch(lats, lons)

    def mall_at(self, market: str, lat: float, lon: float) -> Mall | None:
        """Return the mall whose outline holds the point; None outside of all."""
        malls = self.markets[market].malls.values()
        return next((mall for mall in malls if mall.holds(lat, lon)), None)

    def mall_at_batch(self, market: str, lats: ArrayLike, lons: ArrayLike) -> NDArray[np.intp]:
        """Each point's mall as an index into the market's malls, in their order; −1: none.

        Shape (n,).
        """
        found = np.full(np.shape(lats), -1, dtype=np.intp)
        for index, mall in enumerate(self.markets[market].malls.values()):
            found[mall.region.holds_batch(lats, lons)] = index
        return found

    def malls_near(
        self, market: str, lats: ArrayLike, lons: ArrayLike, within_m: float
    ) -> list[str | None]:
        """The id of each point's mall: whose outline is within `within_m`. None: of no mall."""
        y, x = np.asarray(lats, dtype=np.float64), np.asarray(lons, dtype=np.float64)
        near: list[str | None] = [None] * y.size
        north = within_m / _LEAST_M_PER_DEG
        east = north / np.maximum(np.cos(np.radians(np.abs(y) + north)), _LEAST_COS)
        around = shapely.box(x - east, y - north, x + east, y + north)
        # Few points are near any mall: the index leaves those pairs to be measured.
        points, malls = self._outlines[market].query(around)
        for number in np.unique(malls):
            mall = self._malls_of[market][number]
            close = points[malls == number]
            distances_m = mall.distance_to_outline_m_batch(y[close], x[close])
            for index in close[distances_m <= within_m]:
                near[index] = mall.id
        return near

    def malls_in_reach(
        self, market: str, lat: float, lon: float, radius_m: float = inf
    ) -> tuple[str, ...]:
        """Return the ids of the malls whose centre is within `radius_m`, nearest first."""
        limit_m2 = (radius_m * REACH_MARGIN) ** 2
        near = []
        for mall, mall_lat, mall_lon, m_per_deg_lat, m_per_deg_lon in self._reach[market]:
            north_m = (lat - mall_lat) * m_per_deg_lat
            east_m = (lon - mall_lon) * m_per_deg_lon
            distance_m2 = north_m * north_m + east_m * east_m
            if distance_m2 <= limit_m2:
                near.append((distance_m2, mall))
        near.sort()
        return tuple([mall for _, mall in near])


def _toml_files(root: Traversable) -> list[Traversable]:
    """A file is itself; of a folder, its TOML files by name."""
    if not root.is_dir():
        return [root]
    files = [entry for entry in root.iterdir() if entry.name.endswith(".toml")]
    if not files:
        raise PlacesError(f"{root}: no .toml file in this folder")
    return sorted(files, key=lambda file: file.name)
