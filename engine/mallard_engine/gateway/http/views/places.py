"""Markets and their malls, as every caller sees them."""

from typing import Any, Final

import shapely

from mallard_engine.core.pauses import MARKET, Pauses, place_of
from mallard_engine.core.places.mall import Mall, Market
from mallard_engine.core.places.opening_hours import OpeningHours, openings_until, span_text
from mallard_engine.gateway.timestamps import Moment, moment_or_none
from mallard_protocol import resources

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOWS_MS: Final = 7 * 86_400_000


def market_view(market: Market, pauses: Pauses, now_ms: int) -> resources.Market:
    """Return a market with its malls, where matching is paused, and when they are open from now."""
    return resources.Market(
        id=market.id,
        name=market.name,
        area=_geojson(market.area),
        malls=tuple(_mall_view(mall, pauses, now_ms) for mall in market.malls.values()),
        paused=MARKET in pauses,
    )


def _mall_view(mall: Mall, pauses: Pauses, now_ms: int) -> resources.Mall:
    return resources.Mall(
        id=mall.id,
        name=mall.name,
        lat=mall.lat,
        lon=mall.lon,
        time_zone=mall.time_zone,
        outline=_geojson(mall.outline),
        gates=tuple(resources.Gate(gate.id, gate.lat, gate.lon) for gate in mall.gates.values()),
        stores=tuple(
            resources.Store(
                *(store.id, store.name, store.gate, store.floor),
                paused=place_of(mall.id, store.id) in pauses,
            )
            for store in mall.stores.values()
        ),
        hours=_hours_view(mall.hours),
        windows=tuple(
            resources.Window(Moment.at_ms(it.from_ms), moment_or_none(it.to_ms))
            for it in openings_until(mall.hours, now_ms, now_ms + _WINDOWS_MS)
        ),
        paused=mall.id in pauses,
    )


def _hours_view(hours: OpeningHours) -> resources.Hours | None:
    if hours.week is None:
        return None
    return resources.Hours(
        {
            day: tuple(map(span_text, spans))
            for day, spans in zip(_WEEKDAYS, hours.week, strict=True)
        },
        {day.isoformat(): tuple(map(span_text, it)) for day, it in hours.holidays.items()},
    )


def _geojson(polygon: shapely.Polygon) -> dict[str, Any]:
    geometry: dict[str, Any] = shapely.geometry.mapping(polygon)
    return geometry
