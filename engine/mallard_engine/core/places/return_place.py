"""Where the parcels of a job go back to: its shop, the market's return station, or another shop.

One place takes the whole job. A job of one shop goes back there if the shop is open when the driver
arrives. Otherwise it goes to the market's return station; a market without one uses whichever of
the job's shops is open on arrival or opens first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from mallard_engine.core.model import ReturnPlace
from mallard_engine.core.places.opening_hours import opening_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mallard_engine.core.places.mall import Mall, Market


class _Counter(NamedTuple):
    """A shop and when it takes parcels: from the arrival on, or later (epoch ms)."""

    mall: Mall
    store: str
    from_ms: int
    to_ms: int | None


def return_place(
    market: Market,
    mall: Mall,
    stores: Sequence[str],
    arrival_ms: Callable[[Mall], int],
    closed_until_ms: Mapping[str, int],
    current: ReturnPlace | None = None,
) -> ReturnPlace:
    """Return where a job's parcels go back to.

    Args:
        market: The market, with its return station.
        mall: The mall of the job.
        stores: The job's shops, at least one.
        arrival_ms: When the driver would arrive at a mall (epoch ms).
        closed_until_ms: The shops that are closed by their own word, by mall/store.
        current: Where they go back to so far: it is kept while it is open on arrival, so that a
            shop that opens again does not turn its driver round once more.
    """
    kept = market.malls.get(current.mall) if current else None
    if current and kept and current.store in kept.stores:
        counter = _counter(kept, current.store, arrival_ms(kept), closed_until_ms)
        if counter.from_ms <= arrival_ms(kept):
            return _place(current.kind, counter)
    shops = [_counter(mall, store, arrival_ms(mall), closed_until_ms) for store in stores]
    only_open = len(shops) == 1 and shops[0].from_ms <= arrival_ms(mall)
    if only_open or market.return_station is None:
        return _place("store", min(shops, key=lambda shop: shop.from_ms))
    station = market.malls[market.return_station]
    (store,) = station.stores
    return _place("station", _counter(station, store, arrival_ms(station), closed_until_ms))


def _counter(
    mall: Mall, store: str, arrival_ms: int, closed_until_ms: Mapping[str, int]
) -> _Counter:
    at_ms = max(arrival_ms, closed_until_ms.get(f"{mall.id}/{store}", 0))
    opening = opening_at(mall.hours_of((store,)), at_ms)
    return _Counter(mall, store, max(opening.from_ms, at_ms), opening.to_ms)


def _place(kind: Literal["store", "station"], counter: _Counter) -> ReturnPlace:
    """Return the place. Its position is that of the mall, which is inside the fence."""
    mall = counter.mall
    return ReturnPlace(
        kind=kind,
        mall=mall.id,
        store=counter.store,
        lat=mall.lat,
        lon=mall.lon,
        open_until=counter.to_ms,
    )
