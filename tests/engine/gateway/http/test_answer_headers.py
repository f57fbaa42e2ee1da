"""Headers of every response, and the port for metrics and health."""

import httpx2
import pytest

from mallard_engine.config.settings import ConfigError, load_settings
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.raw_client import RawClient
from tests.support import GUARD_S


@pytest.mark.finding("A14")
async def test_personal_data_is_not_cached(node: RunningNode) -> None:
    job = (await node.submit())["id"]
    shop, ops = node.bearer("shop", Role.ORDERS), node.bearer("ops", Role.OPERATOR)
    drivers = "/v1/markets/phoenix/drivers?near=33.3,-111.9"
    for path, headers in (
        ("/v1/jobs", shop),
        (f"/v1/jobs/{job}", shop),
        (f"/v1/jobs/{job}/explain", shop),
        (drivers, ops),
        (f"/v1/jobs/{job}", {}),
        ("/v1/jobs/job_phoenix.01J", shop),
        ("/nothing", {}),
        ("/livez", {}),
        ("/readyz", {}),
    ):
        answer = await node.http.get(path, headers=headers)
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.headers["x-content-type-options"] == "nosniff", path
    # Nothing personal; a client may keep it, and asks whether it has changed.
    markets = await node.http.get("/v1/markets", headers=shop)
    assert markets.headers["cache-control"] == "private, no-cache"
    posted = await node.http.post("/v1/quotes", json={}, headers=shop)
    assert posted.headers["cache-control"] == "no-store"


@pytest.mark.finding("A14")
async def test_documents_may_be_cached(node: RunningNode) -> None:
    for path in ("/openapi.json", "/asyncapi.json"):
        answer = await node.http.get(path)
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.finding("A14")
async def test_early_refusals_have_the_headers_too(node: RunningNode) -> None:
    for request in (b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 20_000):
        async with await RawClient.open(node.server.port) as client:
            answer = await client.ask(request)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.finding("A14")
async def test_metrics_are_served_on_the_ops_port_only(engine_node: NodeFactory) -> None:
    node = await engine_node(ops_port=0)
    assert (await node.http.get("/metrics")).status_code == 404
    assert (await node.http.get("/readyz")).status_code == 200
    assert node.server.ops_port != node.server.port
    url = f"http://127.0.0.1:{node.server.ops_port}"
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=GUARD_S) as ops:
        assert "mallard_build_info" in (await ops.get("/metrics")).text
        assert (await ops.get("/livez")).status_code == 200
        assert (await ops.get("/readyz")).status_code == 200
        assert (await ops.get("/v1/jobs")).status_code == 404


def test_ops_port_is_a_setting() -> None:
    environ = {"MALLARD_OPS_PORT": "9100", "MALLARD_OPS_HOST": "::1"}
    settings = load_settings({}, environ)
    assert (settings.ops_host, settings.ops_port) == ("::1", 9100)
    for wrong in ({"MALLARD_OPS_PORT": "70000"}, {"MALLARD_OPS_HOST": "::1"}):
        with pytest.raises(ConfigError, match="MALLARD_OPS"):
            load_settings({}, wrong)
