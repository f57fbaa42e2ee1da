"""Markets and their malls."""

from typing import Any

from msgspec import Struct


class Gate(Struct, frozen=True):
    """An entrance with parking for drivers."""

    id: str
    lat: float
    lon: float


class Store(Struct, frozen=True):
    """A shop of a mall."""

    id: str
    name: str
    gate: str
    floor: int


class Mall(Struct, frozen=True):
    """A mall, or a delivery station. ``outline``: GeoJSON Polygon."""

    id: str
    name: str
    lat: float
    lon: float
    time_zone: str
    outline: dict[str, Any]
    gates: tuple[Gate, ...]
    stores: tuple[Store, ...]


class Market(Struct, frozen=True):
    """One metro area. ``area``: GeoJSON Polygon."""

    id: str
    name: str
    area: dict[str, Any]
    malls: tuple[Mall, ...]


class MarketList(Struct, frozen=True):
    """The body of ``GET /v1/markets``."""

    items: tuple[Market, ...]
