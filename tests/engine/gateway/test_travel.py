"""An engine with its own travel-time source: ETAs of `explain` and quotes follow the roads."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.places.markets import Places
from mallard_engine.travel.network import network_of
from mallard_engine.travel.network_file import About, write_network
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import RoadGraph, Roads, in_order
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.travel.osrm_server import OsrmServer, osrm_server, seconds
from tests.engine.travel.streets import write_town

FALLBACKS = 'mallard_travel_fallback_ways_total{{market="phoenix",source="{}"}}'
DOOR_S = 60.0


@pytest.fixture
async def server() -> AsyncIterator[OsrmServer]:
    async with osrm_server() as running:
        yield running


def asked(result: str) -> str:
    labels = f'market="phoenix",result="{result}",source="osrm"'
    return f"mallard_travel_ask_seconds_count{{{labels}}}"


def ends(places: Places) -> tuple[tuple[float, float], tuple[float, float], float]:
    """The LEGO store's gate, the customer, and the seconds on foot between gate and store."""
    mall = places.mall(MALL)
    store = mall.stores["lego"]
    gate = mall.gates[store.gate]
    return (gate.lat, gate.lon), (HOME["lat"], HOME["lon"]), store.walk_s


async def explained(node: RunningNode, job: str) -> dict[str, Any]:
    response = await node.http.get(
        f"/v1/jobs/{job}/explain", headers=node.bearer("ops", Role.OPERATOR)
    )
    (candidate,) = response.json()["candidates"]
    found: dict[str, Any] = candidate
    return found


@pytest.mark.parametrize("rounds", ["instant", "batch"])
async def test_eta_follows_the_roads(
    engine_node: NodeFactory, places: Places, tmp_path: Path, rounds: str
) -> None:
    extract = write_town(tmp_path / "town.osm.pbf", NEAR["lat"], NEAR["lon"], side=41)
    network = in_order(network_of(read_extract(extract).ways))
    write_network(tmp_path / "town.roads", network, About("town", ""))
    roads = Roads(RoadGraph(network))
    node = await engine_node(
        preset="express",
        travel_source="roads",
        travel_roads=tmp_path / "town.roads",
        round=rounds,
        window_ms=1,
    )
    gate, home, walk_s = ends(places)
    here = NEAR["lat"], NEAR["lon"]
    to_gate, to_door = roads.seconds(*here, *gate, 0), roads.seconds(*gate, *home, 0)
    assert to_gate != pytest.approx(1.3 * haversine_m(*here, *gate) / 9.0, rel=0.05)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        quote = await quoted(node)
        assert quote["eta_s"] == pytest.approx(to_gate, abs=1)
        job = await node.submit()
        offer = await ann.receive("offer")
        assert offer["eta_s"] == pytest.approx(to_gate, abs=1)
        candidate = await explained(node, job["id"])
        assert candidate["eta_s"] == offer["eta_s"]
        reply = await ann.ask("accept", offer=offer["offer"])
        eta = reply["jobs"][0]["eta"]
        # The driver first walks from the store back to the gate.
        haul_ms = (walk_s + to_door + DOOR_S) * 1000
        assert eta["dropoff_ms"] - eta["pickup_ms"] == pytest.approx(haul_ms, abs=1_000)
    assert await node.metric(FALLBACKS.format("roads")) == 0


async def quoted(node: RunningNode) -> dict[str, Any]:
    body = {
        "external_id": "Q-1",
        "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
        "dropoff": HOME,
        "parcels": {"count": 1, "weight_g": 800, "volume_l": 4},
    }
    response = await node.http.post(
        "/v1/quotes", json=body, headers=node.bearer("shop", Role.ORDERS)
    )
    assert response.is_success, response.text
    quote: dict[str, Any] = response.json()
    return quote


@pytest.mark.parametrize("rounds", ["instant", "batch"])
async def test_eta_comes_from_the_osrm_server(
    engine_node: NodeFactory, server: OsrmServer, places: Places, rounds: str
) -> None:
    node = await engine_node(
        preset="express",
        travel_source="osrm",
        travel_osrm_url=server.url,
        travel_budget_ms=5_000,
        round=rounds,
        window_ms=1,
    )
    gate, _, _ = ends(places)
    to_gate = seconds((NEAR["lat"], NEAR["lon"]), gate)
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        assert (await quoted(node))["eta_s"] == pytest.approx(to_gate, abs=1)
        job = await node.submit()
        offer = await ann.receive("offer")
        assert offer["eta_s"] == pytest.approx(to_gate, abs=1)
        assert (await explained(node, job["id"]))["eta_s"] == offer["eta_s"]
    assert await node.metric(asked("ok")) >= 2
    assert await node.metric(FALLBACKS.format("osrm")) == 0


@pytest.mark.parametrize("rounds", ["instant", "batch"])
async def test_hanging_osrm_server_delays_no_offer(
    engine_node: NodeFactory, server: OsrmServer, places: Places, rounds: str
) -> None:
    server.hangs = True
    node = await engine_node(
        preset="express",
        travel_source="osrm",
        travel_osrm_url=server.url,
        travel_budget_ms=50,
        travel_failures=2,
        travel_rest_s=600,
        round=rounds,
        window_ms=1,
    )
    gate, _, _ = ends(places)
    straight_s = 1.3 * haversine_m(NEAR["lat"], NEAR["lon"], *gate) / 9.0
    async with open_app(node.ws, node.token("ann")) as ann:
        await ann.go_online(position=NEAR)
        for _ in range(4):
            assert (await quoted(node))["eta_s"] == pytest.approx(straight_s, abs=1)
        await node.submit()
        assert (await ann.receive("offer"))["eta_s"] == pytest.approx(straight_s, abs=1)
    assert await node.metric(asked("slow")) == 2
    assert await node.metric(asked("resting")) >= 3
    assert await node.metric(FALLBACKS.format("osrm")) >= 10
    assert len(server.requests) <= 4  # two tables each time
