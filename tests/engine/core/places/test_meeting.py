"""Meeting places: malls of the engine's own, described by their ids."""

import pytest

from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.meeting import STORE, is_meeting, meeting_id
from mallard_engine.core.places.opening_hours import closes_at_ms, is_open

PLACES = Places.load()
CHRISTMAS_NIGHT_MS = 1_798_200_000_000


@pytest.mark.parametrize(
    ("market", "lat", "lon"),
    [("phoenix", 33.3, -111.84), ("las-vegas", 36.123456789, -115.2), ("phoenix", -0.5, 179.9)],
)
def test_id_says_where_the_place_is(market: str, lat: float, lon: float) -> None:
    mall = meeting_id(market, lat, lon)
    assert is_meeting(mall)
    place = PLACES.mall(mall)
    assert (place.id, place.market) == (mall, market)
    assert place.lat == pytest.approx(lat, abs=1e-5)
    assert place.lon == pytest.approx(lon, abs=1e-5)
    assert PLACES.market_of_mall(mall).id == market


def test_place_has_one_gate_one_store_and_no_hours() -> None:
    place = PLACES.mall(meeting_id("phoenix", 33.3, -111.84))
    (gate,) = place.gates.values()
    (store,) = place.stores.values()
    assert (store.id, store.gate) == (STORE, gate.id)
    assert (gate.lat, gate.lon) == (place.lat, place.lon)
    assert place.holds(place.lat, place.lon)
    assert is_open(place.hours, CHRISTMAS_NIGHT_MS)
    assert closes_at_ms(place.hours, CHRISTMAS_NIGHT_MS) is None


def test_place_is_no_mall_of_its_market() -> None:
    mall = meeting_id("phoenix", 33.3, -111.84)
    assert PLACES.knows(mall)
    assert mall not in PLACES.malls
    assert mall not in PLACES.market("phoenix").malls


@pytest.mark.parametrize(
    "mall",
    [
        "nowhere",
        "meeting:",
        "meeting:atlantis:33.30000:-111.84000",
        "meeting:phoenix:33.3:-111.84",
        "meeting:phoenix:nan:-111.84000",
        "chandler-fashion-center:33.30000:-111.84000",
    ],
)
def test_other_id_is_unknown(mall: str) -> None:
    assert not PLACES.knows(mall)
    with pytest.raises(KeyError):
        PLACES.mall(mall)
