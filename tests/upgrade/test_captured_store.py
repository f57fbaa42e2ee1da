"""This version opens a Redis written by an earlier one and continues its jobs."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import msgpack
import pytest
import redis

from mallard_engine.storage.embedded.server import EmbeddedServer
from tests import commands
from tests.e2e.app import App
from tests.e2e.conftest import POLICY, Node, make_token, start_node
from tests.e2e.shop import Shop
from tests.support import eventually
from tests.upgrade.captured import STORES, captured, restore

pytestmark = pytest.mark.slow

MARKET = "phoenix"
AT_MALL = (33.3017, -111.8990)
# Fields that the first version could omit; they stand for fields added by later versions.
OPTIONAL = ("former", "alerted_ms", "age_check", "eta_pickup_ms", "eta_dropoff_ms", "reason")
CAR = {
    "kind": "car",
    "max_jobs": 1,
    "max_weight_g": 60_000,
    "max_volume_l": 300,
    "equipment": ["forklift"],
}


def as_captured(client: Any) -> None:
    """Keep Redis as it was captured."""


def with_later_fields(client: Any) -> None:
    """Add fields as a node of a later version would, which this one does not know."""

    def extend(key: bytes, name: bytes | str, later: Callable[[Any], Any]) -> None:
        # Packed as by the scripts, whose MessagePack has no bytes type: strings hold any bytes.
        record = msgpack.unpackb(client.hget(key, name), raw=True)
        client.hset(key, name, msgpack.packb(later(record), use_bin_type=False))

    for job in client.scan_iter("mallard:*:job:*"):
        client.hset(job, "field_of_a_later_version", "x")
        for name in ("asked", "timeline"):
            extend(job, name, lambda entries: [[*entry, b"later"] for entry in entries])
        extend(job, "need", lambda record: record | {b"later": 1})
    for kind in ("drivers", "offers"):
        for key in client.scan_iter(f"mallard:*:{kind}"):
            for name in client.hkeys(key):
                extend(key, name, lambda record: record | {b"later": 1})
    for key in client.scan_iter("mallard:*:waiting"):
        for name in client.hkeys(key):
            extend(key, name, lambda record: [*record, b"later"])


def without_optional_fields(client: Any) -> None:
    """Remove the optional fields, as an earlier version did not write them."""
    for job in client.scan_iter("mallard:*:job:*"):
        client.hdel(job, *OPTIONAL)


@pytest.fixture(
    scope="module",
    params=[
        (store.stem, change)
        for store in sorted(STORES.glob("*.json"))
        for change in (as_captured, with_later_fields, without_optional_fields)
    ],
    ids=lambda param: f"{param[0]}-{param[1].__name__}",
)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Node, str]]:
    """A node of this version on a Redis that an earlier version wrote."""
    store, change = request.param
    with EmbeddedServer(persistent=False) as server:
        with redis.Redis.from_url(server.url) as client:
            restore(client, captured(store))
            change(client)
        node = start_node(
            tmp_path_factory.mktemp("upgraded"), server.url, MALLARD_RESUME_TTL_S="600"
        )
        yield node, server.url
        node.stop()


@pytest.fixture
async def shop(opened: tuple[Node, str]) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        shop = Shop(opened[0].url, make_token("shop", "orders"), MARKET)
        stack.push_async_callback(shop.http.aclose)
        yield shop


async def jobs_of(shop: Shop) -> dict[str, dict[str, Any]]:
    response = await shop.http.get("/v1/jobs", params={"market": MARKET, "limit": 200})
    assert response.status_code == 200, response.text
    return {job["external_id"]: job for job in response.json()["items"]}


async def test_every_captured_job_is_read(shop: Shop) -> None:
    jobs = await jobs_of(shop)
    for state in ("delivered", "cancelled", "expired", "lost", "picked_up", "returning", "queued"):
        assert jobs[state]["state"] == state
        assert await shop.state(jobs[state]["id"]) == state
        await shop.explain(jobs[state]["id"])
    assert len(jobs) == 11


@pytest.mark.parametrize(
    ("state", "step"), [("picked_up", "delivered"), ("returning", "delivered")]
)
async def test_driver_finishes_the_job_it_held(
    opened: tuple[Node, str], shop: Shop, state: str, step: str
) -> None:
    name = f"driver-{state}"
    app = App(opened[0].socket_url, make_token(name, "driver", market=MARKET), name, "json")
    try:
        welcome = await app.hello(vehicle=CAR)
        (job,) = welcome["jobs"]
        assert job["external_id"] == state
        await app.step(job, step)
        assert await shop.state(job["job"]) == step
    finally:
        await app.close()


async def test_waiting_job_is_offered_and_delivered(opened: tuple[Node, str], shop: Shop) -> None:
    name = "driver-of-the-new-version"
    app = App(opened[0].socket_url, make_token(name, "driver", market=MARKET), name, "json")
    try:
        await app.online(*AT_MALL, vehicle=CAR)
        offer = await app.expect("offer")
        (job,) = await app.accept(offer)
        for step in ("at_mall", "picked_up", "delivered"):
            await app.step(job, step)
        assert await shop.state(job["job"]) == "delivered"
    finally:
        await app.close()


async def test_idempotency_keys_are_still_known(shop: Shop) -> None:
    jobs = await jobs_of(shop)
    order = {
        "external_id": "delivered",
        "pickup": {"mall": "chandler-fashion-center", "stores": [{"store": "lego"}]},
        "dropoff": {"lat": 33.3197, "lon": -111.8412},
    }

    async def answer() -> httpx2.Response | None:
        response = await shop.post(order)
        # The data are on another server than before, so writes may be missing (ADR 0239).
        return None if response.status_code == 503 else response

    again = await eventually(answer)
    assert again is not None
    assert again.status_code == 409, again.text
    assert again.json()["job"] == jobs["delivered"]["id"]


def test_audit_of_the_upgraded_store_is_clean(opened: tuple[Node, str]) -> None:
    environment = os.environ | POLICY | {"MALLARD_RESUME_TTL_S": "600"}
    done = commands.run("check", "--redis", opened[1], env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
