"""Travel times by road against a plain search over the same network."""

import random
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.matching.travel_time import Points
from mallard_engine.travel.network import CLOSED_MS, FIXED, Network, RoadsError, network_of
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import OFF_ROAD_MPS, RoadGraph, Roads, in_order
from mallard_engine.travel.snapping import SAMPLE_M, Snapper
from tests.engine.travel.streets import M_PER_DEG, dijkstra, write_extract, write_town

AT_MS = 1_790_000_000_000
REACH_M = 300.0


def junctions(network: Network, numbers: list[int]) -> Points:
    return Points(network.junction_lat[numbers] / FIXED, network.junction_lon[numbers] / FIXED)


def places(network: Network, count: int, seed: int, off_m: float = 60.0) -> Points:
    """Return random places beside roads."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, len(network.lat), count)
    off = rng.uniform(-off_m, off_m, (2, count)) / M_PER_DEG
    return Points(network.lat[at] / FIXED + off[0], network.lon[at] / FIXED + off[1])


def test_real_network_agrees_with_a_plain_search(
    country: Network, country_graph: RoadGraph
) -> None:
    rng = random.Random(11)
    froms, tos = (rng.sample(range(len(country.junction_lat)), 40) for _ in range(2))
    table = country_graph.free_ms(junctions(country, froms), junctions(country, tos), REACH_M)
    for row, source in enumerate(froms):
        best = dijkstra(country, source)
        for column, target in enumerate(tos):
            # A junction lies on its roads, to within the rounding of a plane.
            assert table[row, column] == pytest.approx(best[target], abs=40)


@st.composite
def towns(draw: st.DrawFn) -> Network:
    """Random small networks with one-way streets, parallel ones and loops."""
    count = draw(st.integers(3, 14))
    pairs = draw(
        st.lists(
            st.tuples(
                st.integers(0, count - 1),
                st.integers(0, count - 1),
                st.integers(1, 90_000),
                st.sampled_from(("both", "forward")),
            ),
            max_size=40,
        )
    )
    # A ring, so that the network is strongly connected.
    ring = [
        (node, (node + 1) % count, draw(st.integers(1, 90_000)), "forward") for node in range(count)
    ]
    streets = [it for it in (*ring, *pairs) if it[0] != it[1]]
    # On a circle, so that no two junctions are at one place.
    angle = 2 * np.pi * np.arange(count) / count
    lat = ((47.0 + 0.05 * np.sin(angle)) * FIXED).astype(np.int32)
    lon = ((9.5 + 0.05 * np.cos(angle)) * FIXED).astype(np.int32)
    ends = np.array([(tail, head) for tail, head, _, _ in streets])
    return Network(
        lat,
        lon,
        ends[:, 0].astype(np.uint32),
        ends[:, 1].astype(np.uint32),
        np.array([ms for _, _, ms, _ in streets], dtype=np.uint32),
        np.array(
            [ms if way == "both" else CLOSED_MS for _, _, ms, way in streets], dtype=np.uint32
        ),
        np.arange(0, 2 * len(streets) + 1, 2, dtype=np.uint32),
        lat[ends].ravel(),
        lon[ends].ravel(),
        np.arange(count, dtype=np.uint32),
    )


@settings(max_examples=60, deadline=None)
@given(network=towns())
def test_random_network_agrees_with_a_plain_search(network: Network) -> None:
    graph = RoadGraph(in_order(network))
    everywhere = list(range(len(network.junction_lat)))
    at = junctions(network, everywhere)
    table = graph.free_ms(at, at, REACH_M)
    for source in everywhere:
        best = dijkstra(network, source)
        assert table[source] == pytest.approx([best[target] for target in everywhere], abs=3)


def test_no_detour_is_quicker(country: Network, country_graph: RoadGraph) -> None:
    at = places(country, 60, seed=5)
    ms = country_graph.free_ms(at, at, REACH_M)
    by_way_of = (ms[:, :, None] + ms[None, :, :]).min(axis=1)
    # Each of the ends is rounded to a whole millisecond.
    assert (ms <= by_way_of + 8).all()


def test_two_way_streets_give_symmetric_times(extract: Path) -> None:
    network = network_of(read_extract(write_town(extract, 47.0, 9.5)).ways)
    at = places(network, 50, seed=6)
    ms = RoadGraph(network).free_ms(at, at, REACH_M)
    assert ms == pytest.approx(ms.T, abs=4)


def test_oneway_street_is_driven_one_way(extract: Path) -> None:
    step = 1_000 / M_PER_DEG
    nodes = {
        1: (47.0, 9.5),
        2: (47.0 + step, 9.5),
        3: (47.0 + step, 9.5 + step),
        4: (47.0, 9.5 + step),
    }
    oneway = {"highway": "residential", "maxspeed": "45", "oneway": "yes"}
    ring = [([1, 2, 3], oneway), ([3, 4, 1], oneway)]
    network = network_of(read_extract(write_extract(extract, nodes, ring)).ways)
    graph = Roads(RoadGraph(network))
    low, high = (47.0 + 0.2 * step, 9.5), (47.0 + 0.8 * step, 9.5)
    round_m = 2_000 + 2 * 1_000 * np.cos(np.radians(47.0))
    assert graph.seconds(*low, *high, AT_MS) == pytest.approx(60, rel=0.01)
    assert graph.seconds(*high, *low, AT_MS) == pytest.approx(round_m / 10 - 60, rel=0.01)
    assert graph.seconds(*low, *low, AT_MS) == pytest.approx(0, abs=0.01)


def test_table_equals_single_pairs(country: Network, country_graph: RoadGraph) -> None:
    roads = Roads(country_graph)
    for rows, columns in ((7, 5), (5, 7), (1, 6), (6, 1)):
        froms, tos = places(country, rows, seed=rows), places(country, columns, seed=90 + columns)
        table = roads.matrix(froms, tos, AT_MS)
        assert table.shape == (rows, columns)
        for row, here in enumerate(zip(*froms, strict=True)):
            for column, there in enumerate(zip(*tos, strict=True)):
                one = roads.seconds(*here, *there, AT_MS)
                assert table[row, column] == pytest.approx(one, abs=0.01)


def test_place_off_the_network_has_no_time(country: Network, country_graph: RoadGraph) -> None:
    roads = Roads(country_graph, reach_m=50)
    froms = Points.of([(47.14, 9.52), (47.3, 9.0), (0.0, 0.0), (-90.0, 180.0)])
    known = places(country, 3, seed=8, off_m=5)
    table = roads.matrix(froms, known, AT_MS)
    assert np.isnan(table[1:]).all()
    assert np.isfinite(roads.matrix(known, known, AT_MS)).all()
    assert np.isnan(roads.matrix(known, froms, AT_MS)[:, 1:]).all()
    assert roads.matrix(Points.of([]), known, AT_MS).shape == (0, 3)
    assert roads.matrix(known, Points.of([]), AT_MS).shape == (3, 0)


def test_distance_from_road_to_place_counts(extract: Path) -> None:
    town = network_of(read_extract(write_town(extract, 47.0, 9.5, side=2, block_m=2_000)).ways)
    roads = Roads(RoadGraph(town))
    here, there = 47.0 - 1_500 / M_PER_DEG, 47.0 - 500 / M_PER_DEG
    east = 100 / (M_PER_DEG * np.cos(np.radians(47.0)))
    at_road = roads.seconds(here, 9.5, there, 9.5, AT_MS)
    beside = roads.seconds(here, 9.5 + float(east), there, 9.5, AT_MS)
    assert beside - at_road == pytest.approx(100 / OFF_ROAD_MPS, rel=0.01)


def test_point_is_snapped_to_the_nearest_road(country: Network) -> None:
    snapper = Snapper(
        country,
    )
    at = places(country, 25, seed=4)
    found = snapper.snap(at, REACH_M)
    first = country.first.astype(int)
    exact = 0
    for number, (lat, lon) in enumerate(zip(*at, strict=True)):
        scale = np.cos(np.radians(lat))
        x = (country.lon / FIXED - lon) * M_PER_DEG * scale
        y = (country.lat / FIXED - lat) * M_PER_DEG
        dx, dy = np.diff(x), np.diff(y)
        share = -(x[:-1] * dx + y[:-1] * dy) / np.maximum(dx**2 + dy**2, 1e-9)
        share = np.clip(share, 0, 1)
        away = np.hypot(x[:-1] + share * dx, y[:-1] + share * dy)
        away[first[1:-1] - 1] = np.inf  # from the end of one edge to the start of the next
        # Up to the plane's error, no road is nearer by more than half a sample.
        assert away.min() - 0.5 <= found.off_m[number] <= away.min() + SAMPLE_M / 2 + 0.5
        exact += abs(found.off_m[number] - away.min()) < 0.5
    assert exact > 20


def test_slow_hour_takes_longer(country: Network, country_graph: RoadGraph) -> None:
    at = places(country, 4, seed=3)
    rush = SpeedByHour(10.0, (5.0,) * 24)
    free = Roads(country_graph).matrix(at, at, AT_MS)
    assert Roads(country_graph, speed=rush).matrix(at, at, AT_MS) == pytest.approx(2 * free)


def test_concurrent_threads_get_equal_results(country: Network, country_graph: RoadGraph) -> None:
    sides = [(places(country, 40, seed=n), places(country, 3 + n, seed=50 + n)) for n in range(6)]
    expected = [country_graph.free_ms(*side, REACH_M) for side in sides]
    wrong: list[int] = []

    def ask(number: int) -> None:
        answers = [country_graph.free_ms(*sides[number], REACH_M) for _ in range(20)]
        wrong.extend(number for it in answers if not np.array_equal(it, expected[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_inconsistent_network_is_refused(extract: Path) -> None:
    town = network_of(read_extract(write_town(extract, 47.0, 9.5, side=2)).ways)
    town.order[:] = 0
    with pytest.raises(RoadsError, match="is inconsistent"):
        RoadGraph(town)
