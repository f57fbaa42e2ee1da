"""Arrival at a mall and departure from it, fix by fix."""

import pytest
from shapely import Point, get_coordinates, unary_union

from mallard_engine.core.places.geofence import (
    OUTSIDE_FIXES,
    Change,
    Presence,
    Sighting,
    is_around,
)
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places


def fix(
    at_s: float, place_m: float = 0.0, east_m: float = 0.0, speed_mps: float | None = None
) -> Sighting:
    return Sighting(round(at_s * 1000), place_m, east_m, 0.0, speed_mps)


def test_two_slow_fixes_at_the_place_are_an_arrival() -> None:
    presence = Presence("mall")
    assert presence.near(fix(0, speed_mps=1.0)) is None
    assert presence.near(fix(4, speed_mps=1.0)) is Change.ARRIVED
    assert presence.here
    assert presence.near(fix(8, speed_mps=1.0)) is None


def test_one_fix_off_the_place_resets_the_count() -> None:
    presence = Presence("mall")
    assert presence.near(fix(0, speed_mps=0.0)) is None
    assert presence.near(fix(4, place_m=30, speed_mps=0.0)) is None
    assert presence.near(fix(8, speed_mps=0.0)) is None
    assert presence.near(fix(12, speed_mps=0.0)) is Change.ARRIVED


def test_passing_driver_does_not_arrive() -> None:
    presence = Presence("mall")
    for second in range(0, 40, 4):
        assert presence.near(fix(second, speed_mps=12.0)) is None
    assert not presence.here


def test_missing_speed_is_computed_from_two_fixes() -> None:
    presence = Presence("mall")
    assert presence.near(fix(0, place_m=40, east_m=-60)) is None
    assert presence.near(fix(4, east_m=0)) is None  # 15 m/s
    assert presence.near(fix(8, east_m=4)) is None
    assert presence.near(fix(12, east_m=8)) is Change.ARRIVED


def test_one_fix_suffices_without_any_speed() -> None:
    assert Presence("mall").near(fix(0)) is Change.ARRIVED
    presence = Presence("mall")
    assert presence.near(fix(0, place_m=60, east_m=-900)) is None
    # After a minute, the distance moved says nothing about the present speed.
    assert presence.near(fix(60)) is Change.ARRIVED


def test_only_three_fixes_in_a_row_outside_are_a_departure() -> None:
    presence = Presence("mall")
    presence.near(fix(0))
    for _ in range(4):
        assert [presence.outside() for _ in range(OUTSIDE_FIXES - 1)] == [None, None]
        presence.still()
    changes = [presence.outside() for _ in range(OUTSIDE_FIXES)]
    assert changes == [None, None, Change.LEFT]
    assert presence.is_over


def test_slow_driver_leaves_only_after_more_fixes() -> None:
    presence = Presence("mall")
    presence.near(fix(0))
    changes = [presence.outside(0.0) for _ in range(2 * OUTSIDE_FIXES)]
    assert changes == [None] * (2 * OUTSIDE_FIXES - 1) + [Change.LEFT]


def test_driver_who_never_arrived_leaves_no_state() -> None:
    presence = Presence("mall")
    presence.near(fix(0, place_m=50, speed_mps=0.0))
    assert presence.outside() is None
    assert presence.is_over


def test_place_is_the_outline_and_circles_around_gates() -> None:
    mall = Places.load().mall("chandler-fashion-center")
    assert mall.place_distance_m(mall.lat, mall.lon, 25.0) == 0
    for gate in mall.gates.values():
        assert mall.place_distance_m(gate.lat, gate.lon, 25.0) == 0
    lat = mall.lat + 0.01
    expected = min(
        mall.distance_to_outline_m(lat, mall.lon),
        min(mall.gate_distances_m(lat, mall.lon).values()) - 25,
    )
    assert mall.place_distance_m(lat, mall.lon, 25.0) == expected > 0


MALLS = Places.load().malls


def points_at(mall: Mall, metres: float) -> list[tuple[float, float]]:
    """Points around the mall at this distance from its outline or its nearest gate's circle."""
    gates = [Point(mall.plane.xy(it.lat, it.lon)).buffer(25.0) for it in mall.gates.values()]
    ring = unary_union([mall.outline_m, *gates]).buffer(metres)
    return [at(mall, x, y) for x, y in get_coordinates(ring)]


def at(mall: Mall, x: float, y: float) -> tuple[float, float]:
    """The latitude and longitude of a point on the mall's plane."""
    plane = mall.plane
    return mall.lat + y / plane.m_per_deg_lat, mall.lon + x / plane.m_per_deg_lon


@pytest.mark.parametrize("name", sorted(MALLS))
def test_garage_and_its_surroundings_are_around_the_mall(name: str) -> None:
    mall = MALLS[name]
    inside = mall.outline_m.representative_point()
    assert is_around(mall, *at(mall, inside.x, inside.y))
    assert all(is_around(mall, it.lat, it.lon) for it in mall.gates.values())
    for metres, expected in ((1, True), (60, True), (69, True), (80, False), (500, False)):
        assert {is_around(mall, *point) for point in points_at(mall, metres)} == {expected}
