"""Markets, their malls, gates and stores, and the geometry of each.

Shapely polygons have (lon, lat) coordinates in degrees, as in GeoJSON; functions take latitude
first, as the contract does. A polygon's boundary counts as inside. Prepared geometries do not
survive pickling, so every process loads its own `Market`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import shapely
from shapely.geometry import Polygon

from mallard_engine.core.places.geo import LocalPlane
from mallard_engine.core.places.opening_hours import together
from mallard_engine.core.places.polygon import PolygonBoundary
from mallard_engine.core.places.walking import Walks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mallard_engine.core.places.opening_hours import OpeningHours

MallKind: TypeAlias = Literal["mall", "station"]

# How many sets of stores' common hours a mall keeps.
_MOST_SETS = 1_024


@dataclass(frozen=True, slots=True)
class Gate:
    """Where a driver parks and enters the mall; degrees."""

    id: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Store:
    """A shop where parcels are collected.

    `gate`: the id of its gate; `floor`: 1 is the ground floor; `walk_s`: seconds on foot from the
    gate to the counter; `handover_s`: the service time at the counter from the places file, None
    for the market's `store_dwell_s`; `hours`: when it is open, within its mall's
    hours; None: whenever the mall is.
    """

    id: str
    name: str
    gate: str
    floor: int
    walk_s: int
    handover_s: int | None = None
    hours: OpeningHours | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A polygon in (lon, lat) with a fast path for points outside its bounding box."""

    polygon: Polygon
    west: float = field(init=False)
    south: float = field(init=False)
    east: float = field(init=False)
    north: float = field(init=False)

    def __post_init__(self) -> None:
        shapely.prepare(self.polygon)
        bounds = zip(("west", "south", "east", "north"), self.polygon.bounds, strict=True)
        for name, value in bounds:
            object.__setattr__(self, name, value)

    def holds(self, lat: float, lon: float) -> bool:
        """Return whether the point is inside or on the boundary; false for a NaN."""
        if not (self.south <= lat <= self.north and self.west <= lon <= self.east):
            return False
        return bool(shapely.intersects_xy(self.polygon, lon, lat))


@dataclass(frozen=True, slots=True)
class Mall:
    """A mall, or a delivery station: a mall with one store.

    `gates` and `stores` are by id, in the order of the file. Distances are on `plane`, whose
    docstring bounds their error.
    """

    id: str
    name: str
    market: str
    kind: MallKind
    lat: float
    lon: float
    time_zone: str
    floors: int
    outline: Polygon
    gates: Mapping[str, Gate]
    stores: Mapping[str, Store]
    hours: OpeningHours
    plane: LocalPlane = field(init=False, repr=False, compare=False)
    region: Region = field(init=False, repr=False, compare=False)
    outline_m: Polygon = field(init=False, repr=False, compare=False)
    """The outline in metres east and north of (`lat`, `lon`)."""
    walks: Walks = field(init=False, repr=False, compare=False)
    radius_m: float = field(init=False, repr=False, compare=False)
    """The greatest distance of the outline from (`lat`, `lon`) in metres."""
    boundary_m: PolygonBoundary = field(init=False, repr=False, compare=False)
    # The stores with hours of their own, and the hours of each set of them that was asked for.
    _own_hours: Mapping[str, OpeningHours] = field(init=False, repr=False, compare=False)
    _hours_of: dict[tuple[str, ...], OpeningHours] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plane = LocalPlane(self.lat, self.lon)
        corners = [plane.xy(lat, lon) for lon, lat in self.outline.exterior.coords]
        object.__setattr__(self, "plane", plane)
        object.__setattr__(self, "region", Region(self.outline))
        object.__setattr__(self, "outline_m", Polygon(corners))
        object.__setattr__(self, "walks", Walks(plane, self.gates, self.stores))
        object.__setattr__(self, "radius_m", max(hypot(x, y) for x, y in corners))
        object.__setattr__(self, "boundary_m", PolygonBoundary(self.outline_m))
        own = {store.id: store.hours for store in self.stores.values() if store.hours is not None}
        object.__setattr__(self, "_own_hours", own)
        object.__setattr__(self, "_hours_of", {})

    def hours_of(self, stores: Sequence[str]) -> OpeningHours:
        """Return when parcels of all these stores can be collected: all are open, and the mall."""
        own = self._own_hours
        if not own:
            return self.hours
        key = tuple(sorted(store for store in stores if store in own))
        hours = self._hours_of.get(key)
        if hours is None:
            if len(self._hours_of) >= _MOST_SETS:
                self._hours_of.clear()
            hours = together((self.hours, *(own[store] for store in key)))
            self._hours_of[key] = hours
        return hours

    @property
    def never_closes(self) -> bool:
        """Whether neither the mall nor one of its stores has opening hours."""
        return self.hours.week is None and not self._own_hours

    def holds(self, lat: float, lon: float) -> bool:
        """Return whether the point is inside the outline."""
        return self.region.holds(lat, lon)

    def distance_to_outline_m(self, lat: float, lon: float) -> float:
        """Return the metres to the outline; 0 inside it."""
        return max(0.0, -self.boundary_m.depth(*self.plane.xy(lat, lon)))

    def place_distance_m(self, lat: float, lon: float, gate_radius_m: float) -> float:
        """Return the metres to the outline or to a circle of `gate_radius_m` around a gate."""
        to_gate_m = min(self.gate_distances_m(lat, lon).values()) - gate_radius_m
        if to_gate_m <= 0:
            return 0.0
        return min(to_gate_m, self.distance_to_outline_m(lat, lon))

    def gate_distances_m(self, lat: float, lon: float) -> dict[str, float]:
        """Return the metres to each gate by gate id."""
        x, y = self.plane.xy(lat, lon)
        distances = {}
        for gate in self.gates.values():
            gate_x, gate_y = self.plane.xy(gate.lat, gate.lon)
            distances[gate.id] = ((x - gate_x) ** 2 + (y - gate_y) ** 2) ** 0.5
        return distances


class Spread(NamedTuple):
    """The positions of a market's malls as arrays of shape (malls,), in the market's order.

    `lats`, `lons`: centres; `m_per_deg_*`: the lengths of a degree there; `radius_m`: the greatest
    distance of the outline from the centre.
    """

    lats: NDArray[np.float64]
    lons: NDArray[np.float64]
    m_per_deg_lat: NDArray[np.float64]
    m_per_deg_lon: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    ids: tuple[str, ...]

    @classmethod
    def of(cls, malls: Mapping[str, Mall]) -> Spread:
        """Build the arrays for these malls."""
        planes = [mall.plane for mall in malls.values()]
        return cls(
            np.array([plane.lat for plane in planes]),
            np.array([plane.lon for plane in planes]),
            np.array([plane.m_per_deg_lat for plane in planes]),
            np.array([plane.m_per_deg_lon for plane in planes]),
            np.array([mall.radius_m for mall in malls.values()]),
            tuple(malls),
        )

    def away_m(self, lat: float, lon: float) -> NDArray[np.float64]:
        """Return the metres from the point to each centre: shape (malls,)."""
        east_m = (lon - self.lons) * self.m_per_deg_lon
        north_m = (lat - self.lats) * self.m_per_deg_lat
        # Takes a third of the time of `hypot`, which guards against overflow that cannot occur.
        away_m: NDArray[np.float64] = np.sqrt(east_m * east_m + north_m * north_m)
        return away_m


@dataclass(frozen=True, slots=True)
class Market:
    """One metro area: the polygon of its drop-offs, and its malls by id."""

    id: str
    name: str
    area: Polygon
    malls: Mapping[str, Mall]
    return_station: str | None = None
    """The station that takes what cannot go back to its shop."""
    region: Region = field(init=False, repr=False, compare=False)
    boundary: PolygonBoundary = field(init=False, repr=False, compare=False)
    spread: Spread = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", Region(self.area))
        object.__setattr__(self, "spread", Spread.of(self.malls))
        object.__setattr__(self, "boundary", PolygonBoundary(self.area))

    @property
    def time_zone(self) -> str:
        """The time zone of its traffic hours: that of its first mall."""
        return next((mall.time_zone for mall in self.malls.values()), "UTC")

    def holds(self, lat: float, lon: float) -> bool:
        """Return whether the point is inside the service area."""
        return self.region.holds(lat, lon)
