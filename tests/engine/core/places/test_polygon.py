import random

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.polygon import PolygonBoundary

# No denormal numbers: shapely warns of what it makes of them.
near = st.integers(-3_000, 3_000).map(lambda thousandths: thousandths / 1000)


@settings(deadline=None)
@given(st.lists(st.tuples(near, near), min_size=3, max_size=12), near, near)
def test_depth_equals_shapelys_distance_and_side(
    corners: list[tuple[float, float]], x: float, y: float
) -> None:
    hull = shapely.convex_hull(shapely.MultiPoint(corners))
    if not isinstance(hull, shapely.Polygon) or hull.area < 1e-3:
        return
    depth = PolygonBoundary(hull).depth(x, y)
    point = shapely.Point(x, y)
    assert abs(depth) == pytest.approx(shapely.distance(hull.boundary, point), abs=1e-9)
    if abs(depth) > 1e-9:
        assert (depth > 0) is bool(shapely.intersects(hull, point))


def test_depth_in_shipped_places_equals_shapely() -> None:
    drawn = random.Random(3)
    for mall in Places.load().malls.values():
        ring = PolygonBoundary(mall.outline_m)
        for _ in range(200):
            x, y = drawn.uniform(-400, 400), drawn.uniform(-400, 400)
            point = shapely.Point(x, y)
            assert max(0.0, -ring.depth(x, y)) == pytest.approx(
                shapely.distance(mall.outline_m, point), abs=1e-9
            )


def test_hole_is_outside() -> None:
    ring = PolygonBoundary(
        shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], holes=[[(3, 3), (6, 3), (6, 6), (3, 6)]])
    )
    assert ring.depth(4.5, 4.5) == -1.5
    assert ring.depth(1.0, 4.5) == 1.0


def test_repeated_corner_changes_nothing() -> None:
    square = [(0, 0), (0, 0), (4, 0), (4, 4), (4, 4), (0, 4)]
    assert PolygonBoundary(shapely.Polygon(square)).depth(1, 2) == 1.0
