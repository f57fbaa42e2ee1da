"""Real nodes: uvicorn in this process, on a free port, on the tests' Redis."""

import asyncio
import copy
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest

from mallard_engine.config.settings import load_settings
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.http.transport import protocol as http_protocol
from mallard_engine.gateway.node import Node
from mallard_engine.gateway.server import Lifecycle, Server, server_config
from mallard_engine.gateway.socket.timers import SocketTimeouts
from mallard_engine.storage import redis_storage
from mallard_engine.storage.calls.leases import RedisLeases
from mallard_protocol.codes import Role
from tests.support import GUARD_S, eventually

PHOENIX = "phoenix"
MALL = "chandler-fashion-center"
# A few minutes from the mall, and a customer in the same market.
NEAR = {"lat": 33.31, "lon": -111.90}
HOME = {"lat": 33.3197, "lon": -111.8412}
# A test process may stand still for seconds on a busy machine: no node may lose drivers by that.
_LEASE_MS = 20_000
# Clients of a test share its process with the node: the node may not call them slow after 5 s.
_CLIENTS_S = 60.0
_TIMEOUTS = SocketTimeouts(hello_within_s=_CLIENTS_S)
_orders = itertools.count(1)


@dataclass
class RunningNode:
    """A running node and helpers to call it."""

    node: Node
    server: Server
    task: asyncio.Task[None]
    http: httpx2.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    def token(
        self,
        sub: str,
        role: Role = Role.DRIVER,
        *,
        ttl_s: float = 3600,
        market: str | None = PHOENIX,
        **claims: Any,
    ) -> str:
        market = market if role is Role.DRIVER else None
        if role is Role.STORE:
            claims = {"mall": MALL, "store": "lego"} | claims
        token: str = self.node.tokens.mint(sub, role, ttl_s=ttl_s, market=market, **claims)
        return token

    def bearer(self, sub: str, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(sub, role)}"}

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """Post a job as the order service `shop`."""
        number = next(_orders)
        body = {
            "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
            "dropoff": {**HOME, "name": "Ada", "address": "1 Main St", "contact": "555"},
            "parcels": {"count": 1, "weight_g": 800, "volume_l": 4},
            "external_id": f"ORD-{number}",
        } | fields
        response = await self.http.post(
            "/v1/jobs",
            json=body,
            headers={**self.bearer("shop", Role.ORDERS), "Idempotency-Key": f"key-{number}"},
        )
        assert response.status_code == 201, response.text
        job: dict[str, Any] = response.json()
        return job

    async def job(self, job: str) -> dict[str, Any]:
        response = await self.http.get(f"/v1/jobs/{job}", headers=self.bearer("shop", Role.ORDERS))
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def job_in(self, job: str, state: str) -> dict[str, Any]:
        """Wait until the job is in this state, and return it."""

        async def found() -> dict[str, Any] | None:
            seen = await self.job(job)
            return seen if seen["state"] == state else None

        reached: dict[str, Any] | None = await eventually(found)
        assert reached is not None
        return reached

    async def order(self, path: str, **body: Any) -> dict[str, Any]:
        """Post a request as an operator and return the response."""
        response = await self.http.post(path, json=body, headers=self.bearer("ops", Role.OPERATOR))
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    async def metric(self, sample: str) -> float:
        """The value of a line of `/metrics`; 0 without one."""
        text = (await self.http.get("/metrics")).text
        lines = (line.rpartition(" ") for line in text.splitlines())
        return next((float(value) for name, _, value in lines if name == sample), 0.0)


class NodeFactory(Protocol):
    def __call__(
        self,
        timeouts: SocketTimeouts = _TIMEOUTS,
        *,
        store_down_close_s: float = 30,
        **settings: Any,
    ) -> Awaitable[RunningNode]: ...


@pytest.fixture(scope="session")
def places() -> Places:
    return Places.load(opening_hours=False)


@pytest.fixture
def long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_storage, "RedisLeases", partial(RedisLeases, lease_ms=_LEASE_MS))


@pytest.fixture
def slow_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_WITHIN_S", "BODY_WITHIN_S", "KEEP_ALIVE_S", "UNSENT_WITHIN_S"):
        monkeypatch.setattr(http_protocol, name, _CLIENTS_S)


@pytest.fixture
async def engine_node(
    redis_url: str, tmp_path: Path, places: Places, long_leases: None, slow_clients: None
) -> AsyncIterator[NodeFactory]:
    """Start nodes that share one Redis. At the end each must have released everything."""
    running: list[RunningNode] = []

    async def start(
        timeouts: SocketTimeouts = _TIMEOUTS, *, store_down_close_s: float = 30, **settings: Any
    ) -> RunningNode:
        flags: dict[str, Any] = {
            "data": str(tmp_path),
            "secret": "s" * 32,
            "opening_hours": "off",
            "drain_linger_s": 0,
            "redis_url": redis_url,
        } | settings
        checked = load_settings(flags, {})
        node = Node(
            checked,
            # A reload replaces the content of the node's copy.
            copy.copy(places),
            flags["redis_url"],
            timeouts=timeouts,
            store_down_close_s=store_down_close_s,
        )
        server = Server(
            server_config(node.app, "127.0.0.1", 0, node.connections),
            Lifecycle(node.drain, node.leave, checked.drain_linger_s),
            ops=None if checked.ops_port is None else server_config(node.ops_app, "127.0.0.1", 0),
        )
        # Not `serve`, which would handle the signals of the test process.
        task = asyncio.create_task(server._serve(), name="node")
        await eventually(lambda: server.started or task.done())
        node.presence.on_drain = server.begin_exit
        if task.done():
            task.result()
        node.presence.address = f"http://127.0.0.1:{server.port}"
        http = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=GUARD_S
        )
        running.append(RunningNode(node, server, task, http))
        return running[-1]

    yield start
    for each in running:
        await each.http.aclose()
        if not each.task.done():
            # The test's phones have hung up; a drain would wait for those still on their way out.
            await eventually(partial(_is_left_alone, each.node))
            each.server.begin_exit()
        await asyncio.wait_for(each.task, GUARD_S)
    for each in running:
        _assert_empty(each)


@pytest.fixture
async def node(engine_node: Callable[..., Awaitable[RunningNode]]) -> RunningNode:
    """One node."""
    return await engine_node()


def _is_left_alone(node: Node) -> bool:
    return len(node.hub) == 0


def _assert_empty(each: RunningNode) -> None:
    node = each.node
    assert len(node.hub) == 0
    assert node.hub.markets == ()
    assert len(node.socket) == 0
    assert len(node.positions) == 0
    assert len(node.connections) == 0
    assert not each.server.server_state.connections
    assert not each.server.server_state.tasks


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Collect on request only, and only what is made from now on.

    A collection of all that a test process holds takes half a second.
    """
    gc.disable()
    gc.freeze()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.unfreeze()
    gc.enable()
