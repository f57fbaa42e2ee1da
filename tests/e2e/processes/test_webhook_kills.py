"""Nodes are killed while they deliver to a webhook: each event arrives at least once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.e2e.conftest import NewShop, Node, start_node
from tests.e2e.places import Place
from tests.engine.gateway.webhooks.receiver import Heard, Receiver, answer, receiving
from tests.support import eventually

ALLOW = {"MALLARD_WEBHOOK_ALLOW": "127.0.0.0/8"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as it:
        yield it


@pytest.mark.slow
async def test_killed_nodes_lose_no_delivery(
    new_shop: NewShop, place: Place, receiver: Receiver, redis_binary: Path | None, tmp_path: Path
) -> None:
    """Three times the node that delivers is killed, with deliveries under way."""

    async def slowly(_heard: Heard) -> bytes:
        await asyncio.sleep(0.3)
        return answer(204)

    receiver.reply = slowly
    # Not the other tests' Redis: their nodes, which may not post to loopback, would share the work.
    with EmbeddedServer(persistent=False, binary=redis_binary) as server:
        await _kill_and_compare(server.url, new_shop, place, receiver, tmp_path)


async def _kill_and_compare(
    redis: str, new_shop: NewShop, place: Place, receiver: Receiver, folder: Path
) -> None:
    def start(number: int) -> Node:
        own = folder / f"node{number}"
        own.mkdir()
        return start_node(own, redis, **ALLOW)

    node = start(0)
    shop = new_shop(name="toys", on=node)
    made = (await shop.http.post("/v1/webhooks", json={"url": receiver.url, "types": []})).json()
    jobs: list[str] = []
    for number in range(1, 4):
        heard = len(receiver.heard)
        jobs += [(await shop.submit(place.order()))["id"] for _ in range(10)]
        # Some are under way, others wait.
        await receiver.hears(heard + 1, 30)
        node.stop()
        node = start(number)
        shop = new_shop(name="toys", on=node)

    def created() -> dict[str, set[str]]:
        ids: dict[str, set[str]] = {}
        for it in receiver.heard:
            event: dict[str, Any] = it.verified(made["secret"])
            if event["type"] == "job.created":
                ids.setdefault(event["job"], set()).add(it.id)
        return ids

    await eventually(lambda: created().keys() >= set(jobs))
    # Repeats have the id of the first, and no event was invented.
    assert created().keys() == set(jobs)
    assert all(len(ids) == 1 for ids in created().values())

    async def nothing_waits() -> bool:
        found = (await shop.http.get(f"/v1/webhooks/{made['id']}")).json()
        return not found["waiting"]

    await eventually(nothing_waits)
    node.stop()
