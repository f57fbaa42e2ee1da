"""From an extract to a network: junctions, directions, connectivity, invalid extracts."""

from pathlib import Path

import numpy as np
import pytest

from mallard_engine.core.places.geo import haversine_m
from mallard_engine.travel.network import CLOSED_MS, FIXED, Network, RoadsError, network_of
from mallard_engine.travel.osm_extract import read_extract
from tests.engine.travel.streets import M_PER_DEG, Street, real_extract, write_extract, write_town

ROAD = {"highway": "residential"}
STEP = 100.0 / M_PER_DEG


def network(path: Path, nodes: dict[int, tuple[float, float]], streets: list[Street]) -> Network:
    return network_of(read_extract(write_extract(path, nodes, streets)).ways)


def line(count: int) -> dict[int, tuple[float, float]]:
    """Nodes 1, 2, … northward, 100 m apart."""
    return {number: (47.0 + number * STEP, 9.5) for number in range(1, count + 1)}


def test_points_between_junctions_make_one_edge(extract: Path) -> None:
    found = network(extract, line(4), [([1, 2, 3, 4], ROAD)])
    assert (len(found.junction_lat), len(found.tail)) == (2, 1)
    assert found.first.tolist() == [0, 4]
    # 300 m at 25 km/h.
    assert found.forward_ms.tolist() == found.backward_ms.tolist() == [pytest.approx(43_200, 0.001)]


def test_ways_meet_at_shared_nodes(extract: Path) -> None:
    nodes = line(3) | {7: (47.0 + 2 * STEP, 9.51)}
    found = network(extract, nodes, [([1, 2, 3], ROAD), ([2, 7], ROAD)])
    assert (len(found.junction_lat), len(found.tail)) == (4, 3)


def test_oneway_street_is_kept_if_a_way_back_exists(extract: Path) -> None:
    nodes = line(2) | {7: (47.0 + STEP, 9.51)}
    oneway = ROAD | {"oneway": "yes"}
    found = network(extract, nodes, [([1, 2], oneway), ([2, 7, 1], ROAD)])
    assert (found.backward_ms == CLOSED_MS).sum() == 1
    # Out by the short road, which is quicker; back only by the long one.
    tail, head, ms = found.arcs()
    there, back = (int(ms[(tail == one) & (head == other)][0]) for one, other in ((0, 1), (1, 0)))
    assert there == pytest.approx(14_400, rel=0.001)
    assert back > 50 * there / 10


def test_dead_ends_of_oneway_streets_are_dropped(extract: Path) -> None:
    nodes = line(4) | {8: (47.5, 9.5), 9: (47.5 + STEP, 9.5)}
    dead_end = ROAD | {"oneway": "yes"}
    found = network(extract, nodes, [([1, 2, 3], ROAD), ([3, 4], dead_end), ([8, 9], ROAD)])
    assert len(found.tail) == 1
    assert (found.lat / FIXED).max() == pytest.approx(47.0 + 3 * STEP)


def test_point_outside_the_extract_splits_a_way(extract: Path) -> None:
    found = network(
        extract, line(5) | {6: (47.0, 9.51)}, [([1, 2, 99, 4, 5], ROAD), ([2, 6, 4], ROAD)]
    )
    assert len(found.tail) == 3


def test_repeated_points_and_loops_are_ignored(extract: Path) -> None:
    nodes = line(3) | {7: (47.0, 9.51), 8: (47.001, 9.51)}
    found = network(
        extract, nodes, [([1, 1, 2, 2, 3, 3], ROAD), ([3, 7, 8, 3], ROAD), ([2, 2], ROAD)]
    )
    tail, head, ms = found.arcs()
    assert (tail != head).all()
    assert (ms > 0).all()


def test_quickest_of_parallel_roads_is_the_arc(extract: Path) -> None:
    nodes = line(2) | {7: (47.0 + STEP, 9.51)}
    found = network(extract, nodes, [([1, 2], ROAD), ([1, 7, 2], ROAD)])
    assert len(found.tail) == 2
    tail, _, ms = found.arcs()
    assert len(tail) == 2
    assert ms.tolist() == [found.forward_ms.min()] * 2


def test_real_extract_is_connected(country: Network) -> None:
    extract = read_extract(real_extract())
    assert 2_000 < extract.used < extract.of
    assert len(country.junction_lat) > 3_000
    assert np.array_equal(np.sort(country.order), np.arange(len(country.junction_lat)))
    # No road is quicker than the straight line at the greatest allowed speed.
    for edge in range(0, len(country.tail), 97):
        tail, head = country.tail[edge], country.head[edge]
        ends = [
            (country.junction_lat[it] / FIXED, country.junction_lon[it] / FIXED)
            for it in (tail, head)
        ]
        straight_m = haversine_m(*map(float, (*ends[0], *ends[1])))
        ms = min(country.forward_ms[edge], country.backward_ms[edge])
        assert straight_m * 3600 / 130 <= ms + 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "cannot be read as an OpenStreetMap extract"),
        (b"hello, I am text" * 100, "cannot be read as an OpenStreetMap extract"),
    ],
)
def test_file_that_is_no_extract_is_refused(
    extract: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        extract.write_bytes(content)
    with pytest.raises(RoadsError, match=message):
        read_extract(extract)


def test_truncated_extract_is_refused(extract: Path) -> None:
    extract.write_bytes(write_town(extract, 47.0, 9.5).read_bytes()[:-20])
    with pytest.raises(RoadsError, match="cannot be read"):
        read_extract(extract)


def test_extract_without_roads_is_refused(extract: Path) -> None:
    write_extract(extract, line(2), [([1, 2], {"highway": "footway"})])
    with pytest.raises(RoadsError, match="no road that a car may use"):
        read_extract(extract)


def test_unconnected_roads_are_refused(extract: Path) -> None:
    with pytest.raises(RoadsError, match="no two of its roads"):
        network(extract, line(2), [([1, 2], ROAD | {"oneway": "yes"})])
