"""Real nodes on a real Redis, and callers that use the public contract only."""

import dataclasses
import os
import re
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests import commands
from tests.e2e.app import App
from tests.e2e.places import Place, read_place
from tests.e2e.shop import Shop
from tests.e2e.sweep import end_open_jobs, wait_until_drivers_are_gone
from tests.redis_kinds import redis_of_kind

SECRET = "a secret that only the nodes of these tests know"
# No offer or silence ends because the test's process stands still for a while, on a busy machine.
# Tests that wait for a limit ask for `short_offers`, `short_acks` or `short_silence`.
POLICY = {
    "MALLARD_SECRET": SECRET,
    "MALLARD_OPENING_HOURS": "off",
    "MALLARD_OFFER_TIMEOUT_MS": "30000",
    "MALLARD_OFFER_ACK_TIMEOUT_MS": "15000",
    "MALLARD_RESUME_TTL_S": "30",
    "MALLARD_SILENCE_STRETCH": "1",
    "MALLARD_AT_MALL_SILENCE_S": "30",
    "MALLARD_COOLDOWN_S": "1",
    "MALLARD_DRAIN_LINGER_S": "0",
}
OFFER_MS = 1_500
ACK_MS = 700
RESUME_S = 2
SHORT_OFFERS = {"offer_timeout_ms": OFFER_MS}
SHORT_ACKS = {"offer_ack_timeout_ms": ACK_MS}
SHORT_SILENCE = {"resume_ttl_s": RESUME_S, "at_mall_silence_s": RESUME_S}
# Protects against a hanging node; far above what a busy machine needs.
START_WITHIN_S = 60


def make_token(sub: str, role: str, **claims: Any) -> str:
    body = {"sub": sub, "role": role, "aud": "mallard", "exp": time.time() + 3600, **claims}
    return jwt.encode(
        {name: value for name, value in body.items() if value is not None}, SECRET, "HS256"
    )


@dataclasses.dataclass
class Node:
    """A `mallard serve` process."""

    process: commands.Process
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        if self in RUNNING:
            RUNNING.remove(self)
            KILLED.append(self)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


# The nodes that are ready and not stopped; those that were stopped since a test began.
RUNNING: list[Node] = []
KILLED: list[Node] = []


def start_node(folder: Path, redis_url: str | None, **settings: str) -> Node:
    """Start a node and wait until it is ready; its output is in the folder's `node-….log`."""
    settings = POLICY | settings | ({"MALLARD_REDIS_URL": redis_url} if redis_url else {})
    settings = {name: value for name, value in settings.items() if value}
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    output = folder / f"node-{uuid.uuid4().hex[:8]}.log"
    with output.open("wb") as log:
        process = commands.start(
            *("serve", "--port", "0", "--data", folder),
            env=inherited | settings,
            output=log,
            errors=log,
        )
    node = Node(process, 0)
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        # The node binds a free port and prints it: a port chosen here could be taken meanwhile.
        said = output.read_text(encoding="utf-8")
        if listens := re.search(r"mallard listens on http://[^ ]*:([0-9]+) ", said):
            node.port = int(listens[1])
            if node.is_ready():
                RUNNING.append(node)
                return node
        if process.poll() is not None or time.monotonic() > deadline:
            node.stop()
            raise AssertionError(said)
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def nothing_outlives_its_test() -> Iterator[None]:
    """End what the test leaves on the nodes that outlive it; last, when its apps have gone."""
    yield
    token = make_token("sweeper", "operator")
    for node in RUNNING:
        end_open_jobs(node.url, token)
        if KILLED:
            place = read_place(node.url, token, "phoenix")
            wait_until_drivers_are_gone(node.url, token, place.market, place.gate)
    KILLED.clear()


@pytest.fixture(scope="session")
def nodes_redis(redis_binary: Path | None) -> Iterator[str]:
    """The Redis of these nodes alone: other tests wipe theirs."""
    with redis_of_kind(redis_binary) as store:
        yield store.url


@pytest.fixture(scope="session")
def node(nodes_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node that most tests talk to."""
    node = start_node(tmp_path_factory.mktemp("node"), nodes_redis)
    yield node
    node.stop()


@pytest.fixture
def start(nodes_redis: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start further nodes: on the same Redis, or each with an embedded server of its own."""
    started: list[Node] = []

    def start(*, embedded: bool = False, **settings: str) -> Node:
        folder = tmp_path / f"node{len(started)}"
        folder.mkdir()
        started.append(start_node(folder, None if embedded else nodes_redis, **settings))
        return started[-1]

    yield start
    for node in started:
        node.stop()


@pytest.fixture(scope="session")
def place(node: Node) -> Place:
    """Where the jobs of these tests are collected."""
    return read_place(node.url, make_token("places", "operator"), "phoenix")


@pytest.fixture(params=["msgpack", "json"])
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


NewApp = Callable[..., App]


@pytest.fixture
async def new_app(node: Node) -> AsyncIterator[NewApp]:
    """Make apps of new drivers; the sockets are closed at the end."""
    apps: list[App] = []

    def new_app(
        encoding: str = "msgpack", driver: str | None = None, on: Node = node, **claims: Any
    ) -> App:
        driver = driver or f"driver-{uuid.uuid4().hex[:12]}"
        token = make_token(driver, "driver", **({"market": "phoenix"} | claims))
        apps.append(App(on.socket_url, token, driver, encoding))
        return apps[-1]

    yield new_app
    for app in apps:
        await app.close()


NewShop = Callable[..., Shop]


@pytest.fixture
async def new_shop(node: Node) -> AsyncIterator[NewShop]:
    """Make order services (or operators)."""
    async with AsyncExitStack() as stack:

        def new_shop(role: str = "orders", name: str | None = None, on: Node = node) -> Shop:
            name = name or f"{role}-{uuid.uuid4().hex[:12]}"
            shop = Shop(on.url, make_token(name, role), "phoenix")
            stack.push_async_exit(shop)
            return shop

        yield new_shop


@pytest.fixture
def shop(new_shop: NewShop) -> Shop:
    return new_shop()


@pytest.fixture
def operator(new_shop: NewShop) -> Shop:
    return new_shop("operator")


@pytest.fixture
async def short_offers(operator: Shop) -> AsyncIterator[None]:
    """Offers time out soon."""
    async with policy(operator, SHORT_OFFERS):
        yield


@pytest.fixture
async def short_acks(operator: Shop) -> AsyncIterator[None]:
    """An offer that is not acknowledged soon is withdrawn."""
    async with policy(operator, SHORT_ACKS):
        yield


@pytest.fixture
async def short_turns(operator: Shop) -> AsyncIterator[None]:
    """An offer ends soon, whether it was acknowledged or not."""
    async with policy(operator, SHORT_OFFERS | SHORT_ACKS):
        yield


@pytest.fixture
async def short_silence(operator: Shop) -> AsyncIterator[None]:
    """Drivers may be silent for a short time only."""
    async with policy(operator, SHORT_SILENCE):
        yield


@pytest.fixture
async def short_limits(operator: Shop) -> AsyncIterator[None]:
    """Offers time out soon, and drivers may be silent for a short time only."""
    async with policy(operator, SHORT_OFFERS | SHORT_SILENCE):
        yield


@asynccontextmanager
async def policy(operator: Shop, values: dict[str, int]) -> AsyncIterator[None]:
    """Change the policy of the market for a while."""
    await operator.put_policy(values)
    try:
        yield
    finally:
        await operator.put_policy({})
