"""Road networks for tests: the real extract, and small towns."""

from pathlib import Path

import pytest

from mallard_engine.travel.network import Network, network_of
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import RoadGraph, in_order
from tests.engine.travel.streets import real_extract


@pytest.fixture(scope="session")
def country() -> Network:
    """The network of a complete small country."""
    return in_order(network_of(read_extract(real_extract()).ways))


@pytest.fixture(scope="session")
def country_graph(country: Network) -> RoadGraph:
    return RoadGraph(country)


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    """Where a test writes an extract."""
    return tmp_path / "town.osm.pbf"
