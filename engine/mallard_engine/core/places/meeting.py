"""Places where two drivers meet: a mall of the engine's own with one gate and one store.

Its id holds its market and its position, so every node knows it without reading anything:
`meeting:phoenix:33.30000:-111.84000`. It has no opening hours.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from shapely.geometry import box

from mallard_engine.core.places.mall import Gate, Mall, Store
from mallard_engine.core.places.opening_hours import OpeningHours

if TYPE_CHECKING:
    from collections.abc import Callable

STORE: Final = "transfer"
"""The id of the only store of each meeting place."""
GATE: Final = "meeting"

_PREFIX: Final = "meeting:"
_ID: Final = re.compile(r"meeting:(.{1,64}):(-?\d{1,2}\.\d{5}):(-?\d{1,3}\.\d{5})")
# How long the two take to move the parcels.
_HANDOVER_S: Final = 180
# Half the side of the square that is its outline, in degrees: about 30 m.
_HALF_DEG: Final = 0.0003


def meeting_id(market: str, lat: float, lon: float) -> str:
    """Return the id of the meeting place at this position, rounded to a metre."""
    return f"{_PREFIX}{market}:{lat:.5f}:{lon:.5f}"


def is_meeting(mall: str) -> bool:
    """Return whether the id of a mall is that of a meeting place."""
    return mall.startswith(_PREFIX) and _ID.fullmatch(mall) is not None


def meeting_place(mall: str, time_zone_of: Callable[[str], str]) -> Mall:
    """Return the meeting place of this id.

    Args:
        mall: The id.
        time_zone_of: Returns the time zone of a market.

    Raises:
        KeyError: It is no such id, or names no market.
    """
    parts = _ID.fullmatch(mall)
    if parts is None:
        raise KeyError(mall)
    market, lat, lon = parts.groups()
    return _place(mall, market, float(lat), float(lon), time_zone_of(market))


@lru_cache(maxsize=1024)
def _place(mall: str, market: str, lat: float, lon: float, time_zone: str) -> Mall:
    return Mall(
        id=mall,
        name="Transfer",
        market=market,
        kind="station",
        lat=lat,
        lon=lon,
        time_zone=time_zone,
        floors=1,
        outline=box(lon - _HALF_DEG, lat - _HALF_DEG, lon + _HALF_DEG, lat + _HALF_DEG),
        gates={GATE: Gate(GATE, lat, lon)},
        stores={STORE: Store(STORE, "Transfer", GATE, 1, 0, _HANDOVER_S)},
        hours=OpeningHours(time_zone),
    )
