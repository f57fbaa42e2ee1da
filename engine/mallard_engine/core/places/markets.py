"""The places that the engine serves; look-ups by id and by position.

    places = Places.load()
    mall = places.mall("chandler-fashion-center")
    places.in_area("phoenix", 33.3197, -111.8412)

A look-up by an unknown id raises `KeyError`; `markets` and `malls` are plain mappings.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from mallard_engine.core.places.mall import Gate, Mall, MallKind, Market, Store
from mallard_engine.core.places.market_file import PlacesError, read_market
from mallard_engine.core.places.meeting import meeting_place
from mallard_protocol.codes import SANDBOX_MARKET

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable
    from pathlib import Path


__all__ = ["Gate", "Mall", "MallKind", "Market", "Places", "PlacesError", "Store"]


class Places:
    """All markets and malls by id.

    A node creates one instance at start and shares it; a reload replaces its content (`use`),
    never the attributes of a market or mall.
    """

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

    @classmethod
    def load(
        cls,
        paths: Iterable[Path] | None = None,
        *,
        opening_hours: bool = True,
        sandbox: bool = False,
    ) -> Places:
        """Read the markets from TOML files or folders of them; None: those of the package.

        Without `opening_hours` every mall is always open. With `sandbox` that market is added; no
        other market may have its id.

        Raises:
            PlacesError: A file cannot be used; the message names the entry.
        """
        packaged: Traversable = resources.files("mallard_engine") / "places"
        roots: Iterable[Traversable] = [packaged] if paths is None else paths
        files = [file for root in roots for file in _toml_files(root)]
        markets = [read_market(file, opening_hours=opening_hours) for file in files]
        if any(market.id == SANDBOX_MARKET for market in markets):
            raise PlacesError(f"market {SANDBOX_MARKET}: the id is reserved for robot drivers")
        if sandbox:
            markets.append(read_market(packaged / "sandbox" / "sandbox.toml"))
        return cls(markets)

    def lack_of(self, other: Places) -> str | None:
        """Return why `other` cannot replace these places; None if it can.

        It cannot if it lacks a mall, store or gate that stored jobs may name, or if only one of
        both has a market.
        """
        if found := self.markets.keys() ^ other.markets.keys():
            return f"market {min(found)} is new or gone"
        for mall in self.malls.values():
            new = other.malls.get(mall.id)
            if new is None or new.market != mall.market:
                return f"{mall.market}: mall {mall.id} is gone"
            if missing := mall.stores.keys() - new.stores.keys():
                return f"{mall.market}: mall {mall.id}: store {min(missing)} is gone"
            if missing := mall.gates.keys() - new.gates.keys():
                return f"{mall.market}: mall {mall.id}: gate {min(missing)} is gone"
        return None

    def use(self, other: Places) -> None:
        """Replace all content by that of `other`, which must pass `lack_of`."""
        self.markets, self.malls = other.markets, other.malls

    def market(self, market: str) -> Market:
        """Return the market of this id."""
        return self.markets[market]

    def mall(self, mall: str) -> Mall:
        """Return the mall or the meeting place of this id, in any market."""
        known = self.malls.get(mall)
        return known or meeting_place(mall, lambda market: self.markets[market].time_zone)

    def knows(self, mall: str) -> bool:
        """Return whether there is a mall or a meeting place of this id."""
        try:
            self.mall(mall)
        except KeyError:
            return False
        return True

    def market_of_mall(self, mall: str) -> Market:
        """Return the market that a mall or a meeting place belongs to."""
        return self.markets[self.mall(mall).market]

    def in_area(self, market: str, lat: float, lon: float) -> bool:
        """Return whether a point, such as a drop-off, is inside the market's area."""
        return self.markets[market].holds(lat, lon)


def _toml_files(root: Traversable) -> list[Traversable]:
    """Return the file itself, or the TOML files of a folder by name."""
    if not root.is_dir():
        return [root]
    files = [entry for entry in root.iterdir() if entry.name.endswith(".toml")]
    if not files:
        raise PlacesError(f"{root}: no .toml file in this folder")
    return sorted(files, key=lambda file: file.name)
