"""Distances are held against straight chords of the WGS 84 ellipsoid, an independent reference.

A chord is shorter than the way along the ground by d³ / 24R²: 2 cm at 25 km.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.places.geo import LocalPlane, coarse, haversine_m

SEMI_MAJOR_M = 6_378_137.0
E2 = (2 - 1 / 298.257223563) / 298.257223563

latitudes = st.floats(33, 39)
bearings = st.floats(0, 2 * math.pi)


def chord_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    return math.dist(_ecef(lat_a, lon_a), _ecef(lat_b, lon_b))


def _ecef(lat: float, lon: float) -> tuple[float, float, float]:
    phi, lam = math.radians(lat), math.radians(lon)
    normal = SEMI_MAJOR_M / math.sqrt(1 - E2 * math.sin(phi) ** 2)
    return (
        normal * math.cos(phi) * math.cos(lam),
        normal * math.cos(phi) * math.sin(lam),
        normal * (1 - E2) * math.sin(phi),
    )


def _away(lat: float, lon: float, bearing: float, metres: float) -> tuple[float, float]:
    north, east = metres * math.cos(bearing), metres * math.sin(bearing)
    return lat + north / 111_000, lon + east / (111_000 * math.cos(math.radians(lat)))


@pytest.mark.parametrize(("metres", "bound"), [(1_000, 0.0001), (25_000, 0.001)])
@given(lat=latitudes, bearing=bearings)
def test_local_plane_is_within_its_stated_error(
    metres: float, bound: float, lat: float, bearing: float
) -> None:
    there = _away(lat, -112.0, bearing, metres)
    true_m = chord_m(lat, -112.0, *there)
    assert LocalPlane(lat, -112.0).distance_m(*there) == pytest.approx(true_m, rel=bound)


@given(lat=st.floats(-89, 89), bearing=bearings)
def test_haversine_is_within_its_stated_error(lat: float, bearing: float) -> None:
    there = _away(lat, 20.0, bearing, 5_000)
    assert haversine_m(lat, 20.0, *there) == pytest.approx(chord_m(lat, 20.0, *there), rel=0.006)


def test_distance_across_the_date_line_is_short() -> None:
    across_m = haversine_m(36, 179.99, 36, -179.99)
    assert across_m == pytest.approx(1_799, rel=0.001)


def test_antipodes_have_a_distance() -> None:
    assert haversine_m(33.3, -111.9, -33.3, 68.1) == pytest.approx(math.pi * 6_371_008.8)


def test_batch_projection_equals_single_points() -> None:
    plane = LocalPlane(36.1, -115.2)
    x, y = plane.xy_batch([36.2, 36.0], [-115.1, -115.3])
    assert [(x[0], y[0]), (x[1], y[1])] == [plane.xy(36.2, -115.1), plane.xy(36.0, -115.3)]


def test_coarse_rounds_to_five_thousandths() -> None:
    assert coarse(33.3197, -111.8412) == (33.32, -111.84)
    assert coarse(33.3224, -111.8426) == (33.32, -111.845)


@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_coarse_moves_a_point_by_at_most_half_a_step(lat: float, lon: float) -> None:
    rounded = coarse(lat, lon)
    assert abs(rounded[0] - lat) <= 0.0025 + 1e-9
    assert abs(rounded[1] - lon) <= 0.0025 + 1e-9
    assert coarse(*rounded) == rounded
