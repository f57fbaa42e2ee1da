"""A node that starts while a server of its cluster is away."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from load_tests.credentials import Credentials
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.redis_groups import ClusterGroup, kill
from tests.support import GUARD_S

MALLS = {
    "phoenix": ("chandler-fashion-center", {"lat": 33.3197, "lon": -111.8412}),
    "northern-virginia": ("tysons-corner-center", {"lat": 38.9187, "lon": -77.2311}),
    "las-vegas": ("fashion-show-las-vegas", {"lat": 36.1280, "lon": -115.1710}),
}


@pytest.fixture(scope="module")
def cluster(redis_binary: Path | None) -> Iterator[ClusterGroup]:
    with ClusterGroup(replicas=0, binary=redis_binary, persistent=True) as group:
        yield group


class Orders:
    """An order service of a node."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def post(self, market: str) -> int:
        mall, home = MALLS[market]
        body = {
            "pickup": {"mall": mall, "stores": [{"store": "lego"}]},
            "dropoff": {**home, "name": "Ada", "address": "1 Main St", "contact": "555"},
        }
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        return self._http.post("/v1/jobs", json=body, headers=headers).status_code

    def ready(self) -> Any:
        answer = self._http.get("/readyz")
        assert answer.status_code == 200, answer.text
        return answer.json()["warnings"]

    def until_taken(self, market: str) -> None:
        ends_s = time.monotonic() + GUARD_S
        while (status := self.post(market)) != 201:
            assert status == 503
            assert time.monotonic() < ends_s, f"{market} was not taken up"
            time.sleep(0.1)


# One of these servers has the mark of the schema and the revoked tokens, another one the policies.
@pytest.mark.slow
@pytest.mark.parametrize("away", MALLS)
def test_node_starts_and_serves_a_market_once_its_shard_is_back(
    cluster: ClusterGroup, tmp_path: Path, away: str
) -> None:
    secret = secrets.token_hex(32)
    environment = {
        "MALLARD_SECRET": secret,
        "MALLARD_OPENING_HOURS": "off",
        "MALLARD_REDIS_URL": cluster.url,
    }
    bearer = {"Authorization": f"Bearer {Credentials(secret).orders}"}
    first, second = (Node(number, tmp_path, environment) for number in (1, 2))
    with ExitStack() as stack:
        stack.callback(cluster.heal)
        stack.callback(second.stop)
        stack.callback(first.stop)
        first.start()  # which marks the store
        first.stop()
        lost = cluster.primary_of(f"mallard:{{{away}}}:due")
        kill(lost)
        second.start()
        http = stack.enter_context(
            httpx2.Client(base_url=second.url, headers=bearer, trust_env=False, timeout=GUARD_S)
        )
        orders = Orders(http)
        for market in MALLS:
            assert orders.post(market) == (503 if market == away else 201), market
        (warning,) = [it for it in orders.ready() if "no work" in it]
        assert warning.startswith(f"no work in {away}: the store at 127.0.0.1:")
        cluster.revive()
        orders.until_taken(away)
        ends_s = time.monotonic() + GUARD_S
        while any("no work" in it or "revoked" in it for it in orders.ready()):
            assert time.monotonic() < ends_s
            time.sleep(0.1)
