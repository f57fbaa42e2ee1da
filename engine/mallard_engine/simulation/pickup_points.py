"""Places of a simulated market: every pickup point is a mall with one store."""

from collections.abc import Iterable, Mapping

from shapely.geometry import box

from mallard_engine.core.places.geo import LocalPlane
from mallard_engine.core.places.mall import Gate, Mall, Market, Store
from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import OpeningHours

STORE = "counter"
_GATE = "door"
_HALF_WIDTH_M = 15.0
_MARGIN_DEG = 0.2


def pickup_point(market: str, point: str, lat: float, lon: float, walk_s: int = 0) -> Mall:
    """Return a mall with one store that is always open and a gate at its centre.

    Args:
        walk_s: From the gate to the counter, and from there back.
    """
    plane = LocalPlane(lat, lon)
    north, east = _HALF_WIDTH_M / plane.m_per_deg_lat, _HALF_WIDTH_M / plane.m_per_deg_lon
    return Mall(
        id=point,
        name=point,
        market=market,
        kind="station",
        lat=lat,
        lon=lon,
        time_zone="UTC",
        floors=1,
        outline=box(lon - east, lat - north, lon + east, lat + north),
        gates={_GATE: Gate(_GATE, lat, lon)},
        stores={STORE: Store(STORE, point, _GATE, 1, walk_s)},
        hours=OpeningHours("UTC"),
    )


def market_of_points(
    market: str,
    points: Mapping[str, tuple[float, float]],
    others: Iterable[tuple[float, float]] = (),
    walk_s: int = 0,
) -> Places:
    """Return a market with a mall at each point; its area contains them and `others` (lat, lon)."""
    everywhere = [*points.values(), *others]
    lats, lons = [lat for lat, _ in everywhere], [lon for _, lon in everywhere]
    area = box(
        min(lons) - _MARGIN_DEG,
        min(lats) - _MARGIN_DEG,
        max(lons) + _MARGIN_DEG,
        max(lats) + _MARGIN_DEG,
    )
    malls = {
        point: pickup_point(market, point, lat, lon, walk_s) for point, (lat, lon) in points.items()
    }
    return Places([Market(market, market, area, malls)])
