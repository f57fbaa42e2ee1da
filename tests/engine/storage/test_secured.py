"""TLS and users with Sentinel and with a cluster: orders, durability, a failover, a wrong login."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from mallard_engine.core.model import Submission
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.fitness import inspect_url
from mallard_engine.storage.redis_storage import RedisStorage
from tests.engine.storage.secured import (
    Secured,
    binary_with_tls,
    secured_cluster,
    secured_sentinels,
)
from tests.engine.storage.test_durability import submission
from tests.engine.storage.worlds import MARKET
from tests.support import eventually

BINARY = binary_with_tls()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="needs a redis-server with TLS, and openssl"),
]
KINDS = {"sentinel": secured_sentinels, "cluster": secured_cluster}


@pytest.fixture(scope="module", params=list(KINDS))
def group(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    with KINDS[request.param](BINARY or "", tmp_path_factory.mktemp("secured")) as group:
        yield group


def sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for opened in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(opened.readlink()).startswith("socket:")
    return count


@pytest.fixture(autouse=True)
async def closed(group: Secured) -> AsyncIterator[None]:
    """Wait until connections that were given up have said goodbye, as TLS asks of both sides."""
    before = sockets()
    yield
    await eventually(lambda: sockets() <= before)


@asynccontextmanager
async def connected(
    url: str, durability: Literal["none", "replica"]
) -> AsyncIterator[RedisStorage]:
    store = RedisStorage(url, {MARKET: replace(MarketPolicy(), durability=durability)})
    await store.connect()
    yield store
    await store.close()


async def takes(store: RedisStorage, order: Submission) -> bool:
    with suppress(StoreUnavailable):
        await store.jobs.submit(order)
        return True
    return False


async def test_wrong_password_is_named(group: Secured) -> None:
    with pytest.raises(StoreUnavailable, match=r"(?i)WRONGPASS|invalid username-password"):
        await inspect_url(group.url.replace("mallard:duckling", "mallard:drake"))


async def test_unknown_certificate_is_refused(group: Secured) -> None:
    url = group.url.partition("ssl_ca_certs")[0].rstrip("?&")
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        await inspect_url(url)


async def test_store_is_judged_with_the_users_permissions(group: Secured) -> None:
    found = await inspect_url(group.url, demands={"replica"})
    assert not [it.text for it in found if it.refuse or "unknown" in it.text]
    assert any("min-replicas-to-write is 0" in it.text for it in found)


# The last one: it leaves a server dead.
async def test_orders_are_confirmed_before_and_after_a_failover(group: Secured) -> None:
    async with connected(group.url, "none") as store:
        order = submission("before")
        await eventually(lambda: takes(store, order))
        link = store.runner.link.link_of(store.runner.keys[MARKET].block[0])
        assert link is not None
        port = int(str(link.address).partition(" ")[0].rpartition(":")[2])
        async with connected(group.url, "replica") as durable:
            confirmed = submission("on the replica")
            await eventually(lambda: takes(durable, confirmed))
        group.kill(port)
        await eventually(lambda: takes(store, submission("again")))
        assert (await store.jobs.get(confirmed.job)).id == confirmed.job
