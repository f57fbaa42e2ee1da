"""Where the parcels of a job go back to."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from mallard_engine.core.model import ReturnPlace
from mallard_engine.core.places.mall import Mall, Market
from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import OpeningHours, opening_at, parse_spans
from mallard_engine.core.places.return_place import return_place

PLACES = Places.load()
MALL = PLACES.mall("chandler-fashion-center")
STATION = "phoenix-station"
# A Friday, 15:00 in Phoenix, and the closing time of the mall on that day.
OPEN_MS = 1_800_000_000_000 + 14 * 3_600_000
CLOSES_MS = opening_at(MALL.hours, OPEN_MS).to_ms or 0
FIRST, SECOND = list(MALL.stores)[:2]


def place_of(
    *stores: str,
    at_ms: int = OPEN_MS,
    closed: Mapping[str, int] | None = None,
    station: str | None = STATION,
    current: ReturnPlace | None = None,
) -> ReturnPlace:
    market: Market = replace(PLACES.market("phoenix"), return_station=station)
    return return_place(market, MALL, stores, lambda _mall: at_ms, closed or {}, current)


def test_open_shop_takes_its_parcels_back() -> None:
    place = place_of(FIRST)
    assert (place.kind, place.mall, place.store) == ("store", MALL.id, FIRST)
    assert place.open_until == CLOSES_MS
    assert MALL.holds(place.lat, place.lon)


@pytest.mark.parametrize("stores", [(FIRST, SECOND), (FIRST,)])
def test_station_takes_what_no_single_open_shop_takes(stores: tuple[str, ...]) -> None:
    at_ms = OPEN_MS if len(stores) > 1 else CLOSES_MS
    place = place_of(*stores, at_ms=at_ms)
    assert (place.kind, place.mall, place.open_until) == ("station", STATION, None)
    assert PLACES.mall(STATION).holds(place.lat, place.lon)


def test_shop_that_closed_itself_sends_to_the_station() -> None:
    closed = {f"{MALL.id}/{FIRST}": OPEN_MS + 60_000}
    assert place_of(FIRST, closed=closed).kind == "station"
    assert place_of(FIRST, closed={f"{MALL.id}/{FIRST}": OPEN_MS}).kind == "store"


def test_without_a_station_the_first_to_open_takes_it() -> None:
    closed = {f"{MALL.id}/{FIRST}": OPEN_MS + 60_000}
    assert place_of(FIRST, SECOND, closed=closed, station=None).store == SECOND
    assert place_of(FIRST, SECOND, station=None).store == FIRST
    alone = place_of(FIRST, at_ms=CLOSES_MS, station=None)
    assert (alone.kind, alone.store) == ("store", FIRST)
    assert alone.open_until
    assert alone.open_until > CLOSES_MS


def test_place_that_never_closes_has_no_end() -> None:
    always: Mall = replace(MALL, hours=OpeningHours("America/Phoenix"))
    place = return_place(PLACES.market("phoenix"), always, [FIRST], lambda _mall: OPEN_MS, {})
    assert place.open_until is None


def test_shop_takes_parcels_back_within_its_own_hours() -> None:
    early = OpeningHours(MALL.time_zone, (parse_spans("08:00-16:00"),) * 7)
    shop = replace(MALL.stores[FIRST], hours=early)
    mall = replace(MALL, stores={**MALL.stores, FIRST: shop})
    market: Market = replace(PLACES.market("phoenix"), return_station=STATION)
    closes_ms = opening_at(early, OPEN_MS).to_ms
    assert closes_ms is not None

    def place(stores: tuple[str, ...], at_ms: int, market: Market = market) -> ReturnPlace:
        return return_place(market, mall, stores, lambda _mall: at_ms, {})

    there = place((FIRST,), OPEN_MS)
    assert (there.kind, there.open_until) == ("store", closes_ms)
    assert place((FIRST,), closes_ms).kind == "station"
    alone = replace(market, return_station=None)
    assert place((FIRST, SECOND), closes_ms, alone).store == SECOND


def test_place_is_kept_while_it_is_open() -> None:
    closed = {f"{MALL.id}/{FIRST}": OPEN_MS + 60_000}
    away = place_of(FIRST, closed=closed)
    assert place_of(FIRST, current=away) == away
    at_shop = place_of(FIRST)
    assert place_of(FIRST, SECOND, current=at_shop) == at_shop
    assert place_of(FIRST, closed=closed, current=at_shop) == away
    assert place_of(FIRST, current=replace(away, mall="gone")) == at_shop
    assert place_of(FIRST, current=replace(at_shop, store="gone")) == at_shop
