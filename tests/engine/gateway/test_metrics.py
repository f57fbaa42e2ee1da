"""What `/metrics`, `/livez` and `/readyz` tell."""

import asyncio

from mallard_engine.metrics import Metrics
from tests.engine.gateway.conftest import NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.support import eventually

NAMES = {
    "mallard_match_duration_seconds",
    "mallard_offer_latency_seconds",
    "mallard_offer_lateness_seconds",
    "mallard_offers",
    "mallard_drivers",
    "mallard_jobs",
    "mallard_location_fixes",
    "mallard_store_call_seconds",
    "mallard_store_ready",
    "mallard_store_refusals",
    "mallard_connections",
    "mallard_connections_refused",
    "mallard_requests_limited",
    "mallard_quota_refusals",
    "mallard_work_gini",
    "mallard_ws_closed",
    "mallard_event_loop_lag_seconds",
    "mallard_travel_ask_seconds",
    "mallard_travel_fallback_ways",
    "mallard_build_info",
    "mallard_dwell_seconds",
    "mallard_driver_reasons",
    "mallard_alerts",
    "mallard_problems",
}


def test_every_figure_is_described_and_none_is_labelled_by_an_id() -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    assert families.keys() == NAMES
    assert all(len(family.documentation) > 10 for family in families.values())
    metrics = Metrics()
    metrics.socket_closed(4999)
    metrics.socket_closed(4001)
    metrics.offer("offered")
    metrics.fixes("ok", 2)
    metrics.store_called("accept", 0.001)
    metrics.store_called("accept", 0.001)
    metrics.travel_asked("phoenix", "osrm", "slow", 0.1)
    metrics.travel_fell_back("phoenix", "osrm", 16)
    metrics.count_drivers("phoenix", {"available": 2})
    metrics.count_jobs("phoenix", {"queued": 1, "submitted": 9})
    metrics.fair("phoenix", 0.25, 0.5)
    metrics.dwell("phoenix", "arizona-mills", 240.0, 600.0)
    labels = {
        label
        for family in metrics.registry.collect()
        for sample in family.samples
        for label in sample.labels
    }
    # A mall is one of the few in the configuration.
    own = {"market", "state", "result", "call", "code", "version", "of", "source", "mall"}
    assert labels == own | {"le", "statistic"}
    text = metrics.render().decode()
    assert 'mallard_ws_closed_total{code="other"} 1.0' in text
    assert 'mallard_store_call_seconds_count{call="accept"} 2.0' in text
    assert 'mallard_jobs{market="phoenix",state="delivered"} 0.0' in text
    assert "submitted" not in text


def test_two_nodes_in_a_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.offer("offered")
    assert "offered" not in other.render().decode()


async def test_the_loops_lag_is_sampled() -> None:
    metrics = Metrics()

    def samples() -> bool:
        return "mallard_event_loop_lag_seconds_count 0.0" not in metrics.render().decode()

    assert not samples()
    async with metrics.watching_loop():
        await eventually(samples)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "loop lag"]


async def test_a_scrape_counts_drivers_jobs_offers_and_latency(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        drivers = 'mallard_drivers{market="phoenix",state="%s"}'
        jobs = 'mallard_jobs{market="phoenix",state="%s"}'
        assert await node.figure(drivers % "available") == 1
        await node.submit()
        offer = await driver.receive("offer")
        assert await node.figure(drivers % "offered") == 1
        assert await node.figure(jobs % "offered") == 1
        assert await node.figure("mallard_offer_latency_seconds_count") == 1
        assert await node.figure('mallard_offer_latency_seconds_bucket{le="1.0"}') == 1
        await driver.ask("accept", offer=offer["offer"])
        assert await node.figure(drivers % "on_run") == 1
        assert await node.figure(jobs % "assigned") == 1
        assert await node.figure('mallard_offers_total{result="accepted"}') == 1
        assert await node.figure('mallard_store_call_seconds_count{call="accept"}') == 1


async def test_only_a_first_offer_is_measured_from_the_jobs_arrival(
    engine_node: NodeFactory,
) -> None:
    node = await engine_node(cooldown_s=0)
    async with (
        open_app(node.ws, node.token("d1")) as one,
        open_app(node.ws, node.token("d2")) as other,
    ):
        await one.go_online(position=NEAR)
        await node.submit()
        offer = await one.receive("offer")
        await other.go_online(position=NEAR)
        await one.ask("decline", offer=offer["offer"])
        await other.receive("offer")
        assert await node.figure("mallard_offer_latency_seconds_count") == 1


async def test_a_node_lives_and_is_ready(node: RunningNode) -> None:
    alive = await node.http.get("/livez")
    assert (alive.status_code, alive.text) == (200, "ok\n")
    ready = await node.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert (await node.http.post("/livez")).status_code == 405


async def test_the_spread_of_work_is_told_where_a_market_weighs_it(
    engine_node: NodeFactory,
) -> None:
    figure = 'mallard_work_gini{market="phoenix",of="jobs"}'
    plain, weighing = await engine_node(), await engine_node(weights_earnings_s=60)
    for node, told in ((plain, False), (weighing, True)):
        assert (figure in (await node.http.get("/metrics")).text) == told
