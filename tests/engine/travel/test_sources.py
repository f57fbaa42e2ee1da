"""The travel sources of a node's settings, and unusable ones."""

from pathlib import Path
from typing import Any

import pytest

from mallard_engine.config.settings import ConfigError, load_settings
from mallard_engine.core.places.markets import Places
from mallard_engine.metrics import Metrics
from mallard_engine.travel.network import network_of
from mallard_engine.travel.network_file import About, write_network
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import in_order
from mallard_engine.travel.sources import TravelSources, travel_sources
from tests.engine.travel.streets import write_town

PLACES = Places.load(opening_hours=False)


def sources(tmp_path: Path, text: str) -> TravelSources:
    path = tmp_path / "mallard.toml"
    path.write_text(text)
    return travel_sources(load_settings({"config": path}, {}), PLACES, Metrics())


def test_default_source_is_the_straight_line(tmp_path: Path) -> None:
    found = sources(tmp_path, "")
    assert (found.now, found.ahead) == ({}, {})


async def test_each_market_has_its_configured_source(extract: Path, tmp_path: Path) -> None:
    network = network_of(read_extract(write_town(extract, 33.3, -111.9)).ways)
    write_network(tmp_path / "town.roads", in_order(network), About("town", ""))
    found = sources(
        tmp_path,
        f"""
        [markets.phoenix.travel]
        source = "roads"
        roads = "{tmp_path / "town.roads"}"
        [markets.las-vegas.travel]
        source = "osrm"
        osrm_url = "http://127.0.0.1:5000"
        """,
    )
    assert list(found.now) == ["phoenix"]
    assert {market: ahead.waits for market, ahead in found.ahead.items()} == {
        "phoenix": False,
        "las-vegas": True,
    }
    # 500 m south and 500 m east at 36 km/h.
    south, east = 500 / 111_195, 500 / 111_195
    seconds = found.now["phoenix"].seconds(33.3, -111.9, 33.3 - south, -111.9 + east, 0)
    assert seconds == pytest.approx((500 + 500 * 0.8358) / 10, rel=0.01)
    await found.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"travel_source": "roads"}, "name their file in travel.roads"),
        ({"travel_source": "osrm"}, "name its address in travel.osrm_url"),
        ({"travel_source": "map"}, "not one of straight, roads, osrm"),
        ({"travel_osrm_url": "osrm:5000"}, "osrm_url is 'osrm:5000', not an http:// address"),
        ({"travel_osrm_url": "http://me:word@osrm"}, "not an http:// address"),
        ({"travel_osrm_profile": "a/../b"}, "osrm_profile is 'a/../b', not a word"),
        ({"travel_budget_ms": "0"}, "budget_ms is 0, not from 1 to 10000"),
        ({"travel_budget": "5"}, "is unknown; is it travel_budget_ms?"),
        ({"travel_source": "roads", "travel_roads": "/no.roads"}, "roads: /no.roads: No such file"),
        ({"travel_source": "roads", "travel_roads": __file__}, "is not a road network of Mallard"),
    ],
)
def test_unusable_road_file_is_reported(settings: dict[str, Any], message: str) -> None:
    environ = {f"MALLARD_{name.upper()}": value for name, value in settings.items()}
    with pytest.raises(ConfigError) as caught:
        travel_sources(load_settings({}, environ), PLACES, Metrics())
    assert message in str(caught.value)
