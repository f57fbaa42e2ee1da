"""The straight line replaces what a road network does not know, and is counted."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.matching.travel_matrix import MatrixRequest
from mallard_engine.core.matching.travel_time import Points, StraightLine, TravelTime
from mallard_engine.metrics import Metrics
from mallard_engine.travel.breaker import Breaker
from mallard_engine.travel.counts import Counts
from mallard_engine.travel.fallback import WithFallback
from mallard_engine.travel.network import FIXED, Network
from mallard_engine.travel.roads import RoadGraph, Roads
from mallard_engine.travel.table_service import IN_A_THREAD_FROM, InProcess, OverNetwork

AT_MS = 1_790_000_000_000
STRAIGHT = StraightLine(1.3, 9.0)
VADUZ, BALZERS, LAKE_ZURICH = (47.1410, 9.5215), (47.0680, 9.5030), (47.25, 8.65)


def fallbacks(metrics: Metrics) -> float:
    labels = {"market": "liechtenstein", "source": "roads"}
    name = "mallard_travel_fallback_ways_total"
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_straight_line_replaces_unknown_pairs_and_is_counted(
    country: Network, country_graph: RoadGraph
) -> None:
    metrics = Metrics()
    roads = Roads(country_graph)
    source = WithFallback(roads, STRAIGHT, Counts(metrics, "liechtenstein", "roads"))
    by_road = roads.seconds(*VADUZ, *BALZERS, AT_MS)
    assert 300 < by_road < 1_500
    assert source.seconds(*VADUZ, *BALZERS, AT_MS) == by_road
    assert fallbacks(metrics) == 0
    across = STRAIGHT.seconds(*LAKE_ZURICH, *BALZERS, AT_MS)
    assert source.seconds(*LAKE_ZURICH, *BALZERS, AT_MS) == across
    assert fallbacks(metrics) == 1
    matrix = await InProcess(source).fetch([MatrixRequest((VADUZ, LAKE_ZURICH), (BALZERS,))], AT_MS)
    assert matrix.seconds(*VADUZ, *BALZERS, AT_MS) == pytest.approx(by_road)
    assert matrix.seconds(*LAKE_ZURICH, *BALZERS, AT_MS) == pytest.approx(across)
    assert fallbacks(metrics) == 2
    # Pairs that were not requested are queried now.
    back = matrix.matrix(Points.of([BALZERS]), Points.of([VADUZ, LAKE_ZURICH]), AT_MS)
    assert back[0, 0] == pytest.approx(roads.seconds(*BALZERS, *VADUZ, AT_MS))
    assert np.isfinite(back).all()


async def test_large_matrix_in_a_thread_is_equal(
    country: Network, country_graph: RoadGraph
) -> None:
    roads = Roads(country_graph)
    at = list(
        zip(country.junction_lat[:80] / FIXED, country.junction_lon[:80] / FIXED, strict=True)
    )
    places = tuple((float(lat), float(lon)) for lat, lon in at)
    matrix = await InProcess(roads).fetch([MatrixRequest(places, places)], AT_MS)
    points = Points.of(places)
    assert len(places) ** 2 >= IN_A_THREAD_FROM
    assert np.array_equal(matrix.matrix(points, points, AT_MS), roads.matrix(points, points, AT_MS))


class Broken(TravelTime):
    """A source that always raises."""

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        raise ZeroDivisionError

    async def table(self, ways: MatrixRequest) -> NDArray[np.float64]:
        raise ZeroDivisionError(ways)

    async def close(self) -> None:
        pass


async def test_source_that_raises_falls_back() -> None:
    metrics = Metrics()
    counts = Counts(metrics, "liechtenstein", "roads")
    source = WithFallback(Broken(), STRAIGHT, counts)
    expected = STRAIGHT.seconds(*VADUZ, *BALZERS, AT_MS)
    assert source.seconds(*VADUZ, *BALZERS, AT_MS) == expected
    assert (
        source.matrix(Points.of([VADUZ, VADUZ]), Points.of([BALZERS]), AT_MS).tolist()
        == [[pytest.approx(expected)]] * 2
    )
    assert fallbacks(metrics) == 3
    network = OverNetwork(
        Broken(),
        STRAIGHT,
        Breaker(3, 10.0, time.monotonic),
        counts,
        budget_s=5.0,
        speed=SpeedByHour(9.0),
        clock=time.perf_counter,
    )
    assert await network.fetch([MatrixRequest((VADUZ,), (BALZERS,))], AT_MS) is STRAIGHT
    assert fallbacks(metrics) == 4
