"""`/metrics`, `/livez` and `/readyz` of a running node."""

from tests.engine.gateway.conftest import NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app


async def test_metrics_count_drivers_jobs_offers_and_latency(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        drivers = 'mallard_drivers{market="phoenix",state="%s"}'
        jobs = 'mallard_jobs{market="phoenix",state="%s"}'
        assert await node.metric(drivers % "available") == 1
        await node.submit()
        offer = await driver.receive("offer")
        assert await node.metric(drivers % "offered") == 1
        assert await node.metric(jobs % "offered") == 1
        assert await node.metric("mallard_offer_latency_seconds_count") == 1
        assert await node.metric('mallard_offer_latency_seconds_bucket{le="1.0"}') == 1
        await driver.ask("accept", offer=offer["offer"])
        assert await node.metric(drivers % "on_run") == 1
        assert await node.metric(jobs % "assigned") == 1
        assert await node.metric('mallard_offers_total{result="accepted"}') == 1
        assert await node.metric('mallard_store_call_seconds_count{call="accept"}') == 1


async def test_offer_latency_counts_first_offer_of_a_job_only(
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
        assert await node.metric("mallard_offer_latency_seconds_count") == 1


async def test_running_node_is_live_and_ready(node: RunningNode) -> None:
    alive = await node.http.get("/livez")
    assert (alive.status_code, alive.text) == (200, "ok\n")
    ready = await node.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert (await node.http.post("/livez")).status_code == 405


async def test_work_gini_is_exposed_where_earnings_are_weighed(
    engine_node: NodeFactory,
) -> None:
    figure = 'mallard_work_gini{market="phoenix",of="jobs"}'
    without, weighing = await engine_node(), await engine_node(weights_earnings_s=60)
    for node, exposed in ((without, False), (weighing, True)):
        assert (figure in (await node.http.get("/metrics")).text) == exposed
