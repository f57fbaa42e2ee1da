import math
import random

import pytest

from mallard_engine.core.places import safe_region
from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.safe_region import SafeRegion, newly_in_reach, safe_region_at
from mallard_engine.simulation.pickup_points import market_of_points

M_PER_DEG = 111_195.0


@pytest.fixture(scope="module")
def places() -> Places:
    return Places.load()


def around(
    places: Places, market: str, lat: float, lon: float, reach_m: float = 25_000
) -> SafeRegion:
    return safe_region_at(places.market(market), lat, lon, reach_m=reach_m, at_mall_m=70.0)


def test_malls_in_reach_are_found(places: Places) -> None:
    tysons = places.mall("tysons-galleria")
    here = around(places, tysons.market, tysons.lat, tysons.lon, 2_000)
    assert set(here.malls) == {"tysons-galleria", "tysons-corner-center"}
    assert around(places, tysons.market, 38.0, -80.0).malls == ()
    assert len(around(places, tysons.market, tysons.lat, tysons.lon, 1e6).malls) == 5


def test_reach_is_slightly_wider_than_requested(places: Places) -> None:
    mall = places.mall("meadows-mall")
    for away_m, in_reach in ((10_030, True), (10_060, False)):
        lat = mall.lat + away_m / mall.plane.m_per_deg_lat
        assert (mall.id in around(places, mall.market, lat, mall.lon, 10_000).malls) is in_reach


def test_inside_and_at_mall_are_detected(places: Places) -> None:
    mall = places.mall("chandler-fashion-center")
    here = around(places, mall.market, mall.lat, mall.lon)
    assert (here.inside, here.at_mall) == (True, mall.id)
    away = around(places, mall.market, 33.45, -112.07)
    assert (away.inside, away.at_mall) == (True, None)
    assert not around(places, mall.market, 48.1, 11.5).inside


@pytest.mark.parametrize("spread_deg", [0.002, 0.02, 0.3, 2.0])
def test_nothing_changes_within_the_safe_region(places: Places, spread_deg: float) -> None:
    drawn = random.Random(7)
    held = 0
    for mall in places.malls.values():
        for _ in range(40):
            lat = mall.lat + drawn.gauss(0, spread_deg)
            lon = mall.lon + drawn.gauss(0, spread_deg)
            here = around(places, mall.market, lat, lon)
            angle = drawn.uniform(0, math.tau)
            step_deg = here.safe_m / M_PER_DEG * drawn.uniform(0.5, 1.1)
            there = lat + step_deg * math.sin(angle), lon + step_deg * math.cos(angle)
            if here.contains(*there):
                held += 1
                assert around(places, mall.market, *there)[3:] == here[3:]
    assert held > 50


def test_region_on_an_edge_contains_its_own_point(places: Places) -> None:
    mall = places.mall("meadows-mall")
    edge_lat = mall.lat + 10_000 * safe_region.REACH_MARGIN / mall.plane.m_per_deg_lat
    here = around(places, mall.market, edge_lat, mall.lon, 10_000)
    assert here.safe_m == 0.0
    assert here.contains(edge_lat, mall.lon)
    assert not here.contains(edge_lat + 1e-9, mall.lon)


@pytest.mark.parametrize("reach_m", [math.inf, 3_000.0])
def test_many_malls_together_equal_one_by_one(
    monkeypatch: pytest.MonkeyPatch, reach_m: float
) -> None:
    drawn = random.Random(11)
    # Close together: circles and outlines of several overlap.
    points = {f"m{n}": (drawn.gauss(0, 0.004), drawn.gauss(0, 0.004)) for n in range(60)}
    market = market_of_points("town", points).market("town")
    at_malls = set()
    for _ in range(200):
        lat, lon = drawn.gauss(0, 0.005), drawn.gauss(0, 0.005)
        monkeypatch.setattr(safe_region, "_MANY", 1_000)
        one_by_one = safe_region_at(market, lat, lon, reach_m=reach_m, at_mall_m=70.0)
        monkeypatch.setattr(safe_region, "_MANY", 2)
        together = safe_region_at(market, lat, lon, reach_m=reach_m, at_mall_m=70.0)
        assert together._replace(safe_m=0.0) == one_by_one._replace(safe_m=0.0)
        assert together.safe_m == pytest.approx(one_by_one.safe_m, abs=1e-6)
        at_malls.add(together.at_mall)
    assert len(at_malls) > 10


def test_newly_in_reach_is_equal_for_many_and_few_malls() -> None:
    drawn = random.Random(5)
    points = {f"m{n}": (drawn.gauss(0, 0.02), drawn.gauss(0, 0.02)) for n in range(60)}
    market = market_of_points("town", points).market("town")
    before = safe_region_at(market, 0.0, 0.0, reach_m=2_000.0, at_mall_m=70.0).malls
    after = safe_region_at(market, 0.0, 0.01, reach_m=2_000.0, at_mall_m=70.0).malls
    assert before != after
    assert after == tuple(after)
    new = set(after) - set(before)
    assert new
    for earlier in (before, tuple(before)):
        assert set(newly_in_reach(after, earlier)) == new
        assert set(newly_in_reach(tuple(after), earlier)) == new
    assert len(after) == len(set(after))
    assert set(newly_in_reach(after, ())) == set(after)
    assert all((mall in after) is (mall in tuple(after)) for mall in points)
    assert hash(after) == hash(tuple(after))
