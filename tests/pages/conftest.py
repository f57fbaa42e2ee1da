"""Pages in Chromium beside a real engine.

Every test here is marked `pages` and shares one event loop, one browser and one engine.
`make test-pages` runs them; they need Chromium and, for axe, what `npm ci` installs.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mallard_engine.demo.sign_in_codes import kept_codes
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.e2e.app import App
from tests.e2e.conftest import Node, make_token, start_node
from tests.e2e.places import Place, read_place
from tests.e2e.shop import Shop
from tests.e2e.sweep import acknowledge_alerts, end_open_jobs, wait_until_drivers_are_gone
from tests.pages.browser import AXE, Watched, chromium, opened, running_browser
from tests.pages.recorded.still import opened_still, serving_still

_HERE = Path(__file__).parent
_TEST_S = 400
# An offer must not expire while a browser is slow or stands still for seconds, or while a test
# looks at it in every size and colour scheme.
SETTINGS = {
    "MALLARD_OFFER_TIMEOUT_MS": "120000",
    "MALLARD_OFFER_ACK_TIMEOUT_MS": "120000",
    "MALLARD_RESUME_TTL_S": "120",
    # An `App` sends its position once, and a story may take minutes.
    "MALLARD_STALE_AFTER_S": "600",
    # A test's phone is at its next stop at once, however far that is.
    "MALLARD_MAX_SPEED_MPS": "100000",
    "MALLARD_ADDRESS_RATE_PER_S": "0",
    "MALLARD_SHOP_RATE_PER_S": "0",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacks = _lacks()
    for item in items:
        if not item.path.is_relative_to(_HERE):
            continue
        item.add_marker(pytest.mark.pages)
        # Only bounds a test that fails: a long story has dozens of steps, slow on a busy machine.
        item.add_marker(pytest.mark.timeout(_TEST_S))
        # First of its markers: in automatic mode each test has one already.
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        if lacks is not None:
            item.add_marker(pytest.mark.skip(reason=lacks))


def _lacks() -> str | None:
    if chromium() is None:
        return "there is no Chromium: apt-get install chromium, or name one in MALLARD_CHROMIUM"
    if not AXE.exists():
        return "there is no axe: make web"
    return None


@pytest.fixture(scope="session")
def nodes_redis(redis_binary: Path | None) -> Iterator[str]:
    with EmbeddedServer(persistent=False, binary=redis_binary) as server:
        yield server.url


@pytest.fixture(scope="session")
def node(nodes_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = start_node(tmp_path_factory.mktemp("node"), nodes_redis, **SETTINGS)
    yield node
    node.stop()


@pytest.fixture(autouse=True)
def nothing_outlives_its_test(node: Node) -> Iterator[None]:
    yield
    token = make_token("sweeper", "operator")
    # Not as a fixture of this one: some tests have a parameter of that name.
    place = read_place(node.url, token, "phoenix")
    wait_until_drivers_are_gone(node.url, token, place.market, place.gate)
    end_open_jobs(node.url, token)
    acknowledge_alerts(node.url, token)


@pytest.fixture(scope="session")
def place(node: Node) -> Place:
    return read_place(node.url, make_token("places", "operator"), "phoenix")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    async with running_browser() as browser:
        yield browser


OpenPage = Callable[..., AbstractAsyncContextManager[Watched]]


@pytest.fixture
def open_page(browser: Any, node: Node) -> OpenPage:
    """Open a page of the engine: `async with open_page("/shop", size="tablet", token=…) as it`."""
    opening: Callable[..., Any] = partial(opened, browser)
    return lambda path, **options: opening(node.url + path, **options)


OpenStill = Callable[..., AbstractAsyncContextManager[Watched]]


@pytest.fixture(scope="session")
def still_url() -> Iterator[str]:
    with serving_still() as url:
        yield url


@pytest.fixture
def open_still(browser: Any, still_url: str) -> OpenStill:
    """Open a state of the console: `async with open_still("orders") as it`."""
    opening: OpenStill = partial(opened_still, browser, still_url)
    return opening


KeepToken = Callable[[str], Awaitable[str]]


@pytest.fixture
def keep(nodes_redis: str) -> KeepToken:
    """Keep a token; return the one-time code that it can be exchanged for."""

    async def keep(token: str) -> str:
        (code,) = await kept_codes(nodes_redis, [token])
        return code

    return keep


@pytest_asyncio.fixture(loop_scope="session")
async def orders(node: Node) -> AsyncIterator[Shop]:
    """An order service."""
    token = make_token(f"orders-{uuid.uuid4().hex[:8]}", "orders")
    async with Shop(node.url, token, "phoenix") as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def operator(node: Node) -> AsyncIterator[Shop]:
    """An operator."""
    async with Shop(node.url, make_token("ops", "operator"), "phoenix") as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def new_app(node: Node) -> AsyncIterator[Callable[..., App]]:
    """Make driver apps, which speak the contract's socket; closed at the end."""
    async with AsyncExitStack() as stack:

        def new_app(driver: str | None = None, **claims: Any) -> App:
            driver = driver or f"driver-{uuid.uuid4().hex[:12]}"
            token = make_token(driver, "driver", **({"market": "phoenix"} | claims))
            app = App(node.socket_url, token, driver)
            stack.push_async_callback(app.close)
            return app

        yield new_app
