"""Markets and their malls."""

from typing import Any

from msgspec import Struct

from mallard_protocol.instants import Instant


class Gate(Struct, frozen=True):
    """An entrance with parking for drivers."""

    id: str
    lat: float
    lon: float


class Store(Struct, frozen=True):
    """A shop of a mall. ``paused``: by an operator; its jobs wait."""

    id: str
    name: str
    gate: str
    floor: int
    paused: bool = False


class Hours(Struct, frozen=True):
    """The opening hours of a week, in the mall's time zone, as ``10:00-21:00``.

    ``weekly``: ``mon`` to ``sun``; ``holidays``: of a date, instead of its weekday's. No span:
    closed. An end at or before its start is on the next day.
    """

    weekly: dict[str, tuple[str, ...]]
    holidays: dict[str, tuple[str, ...]] = {}


class Window(Struct, frozen=True, rename={"from_": "from"}):
    """When parcels can be collected: from its opening until it closes; null: it does not close."""

    from_: Instant
    to: Instant | None


class Mall(Struct, frozen=True):
    """A mall, or a delivery station. ``outline``: GeoJSON Polygon.

    ``hours``: null if it is always open. ``windows``: of the next seven days, the present one
    first. ``paused``: see `Market`.
    """

    id: str
    name: str
    lat: float
    lon: float
    time_zone: str
    outline: dict[str, Any]
    gates: tuple[Gate, ...]
    stores: tuple[Store, ...]
    hours: Hours | None = None
    windows: tuple[Window, ...] = ()
    paused: bool = False


class Market(Struct, frozen=True):
    """One metro area. ``area``: GeoJSON Polygon.

    ``paused``: an operator has paused matching. Orders are taken and wait; live offers, runs and
    deadlines continue.
    """

    id: str
    name: str
    area: dict[str, Any]
    malls: tuple[Mall, ...]
    paused: bool = False


class MarketList(Struct, frozen=True):
    """The body of ``GET /v1/markets``."""

    items: tuple[Market, ...]
