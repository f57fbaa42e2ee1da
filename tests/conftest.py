"""The real server that tests run against, and a clean slate on it for each test."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from functools import cache, partial
from importlib import metadata
from pathlib import Path

import httpcore2
import hypothesis
import pytest
import redis
import redis.asyncio
import structlog

from mallard_engine.storage import redis_storage
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.scripts import all_scripts
from mallard_engine.workload.redis_groups import ClusterGroup, SentinelGroup
from tests.redis_kinds import KIND, redis_of_kind
from tests.support import GUARD_S, PATIENCE, Standstill

# Both of these measure the machine: a test process that stands still for seconds fails them.
hypothesis.settings.register_profile(
    "no clock",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("no clock")


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while the tests are collected: nearly all that is made stays."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave out of later collections what the tests' collection has made, 400,000 objects."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """The default draws every frame's variables in boxes, which takes the loop a second each."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@pytest.fixture(scope="session", autouse=True)
def loaded_scripts() -> Iterator[None]:
    """A connection to Redis loads no scripts: they take it 14 ms, of 3 to 50 that a test takes.

    The tests' server has them, and a server without them gets each with its first call.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_storage, "load_commands", list)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Clients of a test share a TLS context: to read the certificates takes each 20 to 50 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", cache(httpcore2.default_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def known_versions() -> Iterator[None]:
    """Read a distribution's version once: each connection of redis-py asks, which takes 2 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "version", cache(metadata.version))
        yield


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of a node in the test's process wait for a Redis that stands still.

    Tests of the limits have a fixture of the same name, which leaves them as they are.
    """
    limits = Link.__init__.__kwdefaults__
    assert limits is not None
    for name, seconds in PATIENCE.items():
        monkeypatch.setitem(limits, name, seconds)


@pytest.fixture(scope="session", autouse=True)
def patient_clients() -> Iterator[None]:
    """The tests' own connections wait for a Redis that stands still, not only five seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (redis.Redis, redis.asyncio.Redis):
            patch.setattr(kind, "from_url", partial(kind.from_url, socket_timeout=GUARD_S))
        yield


@pytest.fixture(scope="session")
def redis_binary() -> Path | None:
    """Another server's binary when `MALLARD_TEST_REDIS` names one; None: the embedded Valkey."""
    named = os.environ.get("MALLARD_TEST_REDIS")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def redis_server(redis_binary: Path | None) -> Iterator[EmbeddedServer]:
    """A server of this test process's own, a cluster of one: a key of another slot is an error."""
    with EmbeddedServer(
        cluster_mode=True,
        persistent=False,
        binary=redis_binary,
        options={"enable-debug-command": "local"},
    ) as server:
        with redis.Redis.from_url(server.url) as client:
            for script in all_scripts().values():
                client.script_load(script.source)
        yield server


@pytest.fixture(scope="session")
def redis_client(redis_server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A connection to the tests' server that all tests of this process share."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture(scope="session")
def redis_group(redis_binary: Path | None) -> Iterator[SentinelGroup | ClusterGroup]:
    """The servers of the kind that `MALLARD_TEST_STORE` names."""
    store = redis_of_kind(redis_binary)
    assert not isinstance(store, EmbeddedServer)
    with store:
        yield store


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of the server or the servers, empty: no keys of other tests."""
    if KIND:
        group: SentinelGroup | ClusterGroup = request.getfixturevalue("redis_group")
        group.flush()
        return group.url
    client: redis.Redis = request.getfixturevalue("redis_client")
    client.flushall()
    server: EmbeddedServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
async def standstill() -> AsyncIterator[Standstill]:
    """For how long the test's process, and those that it started, have stood still."""
    measured = Standstill()
    watching = asyncio.create_task(measured.watch())
    yield measured
    watching.cancel()
