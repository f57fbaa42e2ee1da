"""Which versions may share a Redis, and whether its nodes agree on the policies."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mallard_engine.core.policy import MarketPolicy, TravelSource
from mallard_engine.storage import schema
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_engine.storage.policy_agreement import FRESH_MS, KEY, disagreements, fingerprint
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.schema import OURS, Schema, WrongSchema, mark, read_mark, refusal
from tests import commands

NEWER = Schema(written=OURS.written + 5, oldest_reader=OURS.written + 1)
EXPANDED = Schema(written=OURS.written + 5, oldest_reader=OURS.oldest_reader)
POLICY = MarketPolicy()


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(redis_url)
    await link.connect()
    yield link
    await link.close()


async def write_mark(link: Link, found: Schema) -> None:
    await link.call(
        "HSET", schema.KEY, "written", found.written, "oldest_reader", found.oldest_reader
    )


def test_empty_and_unmarked_stores_may_be_used() -> None:
    assert refusal(None) is None
    assert refusal(OURS) is None
    assert refusal(EXPANDED) is None


def test_newer_store_is_refused_in_one_line() -> None:
    why = refusal(NEWER)
    assert why is not None
    assert "newer version" in why
    assert "\n" not in why


async def test_first_node_marks_the_store(link: Link) -> None:
    await mark(link)
    assert read_mark(await link.call("HGETALL", schema.KEY)) == OURS


async def test_mark_of_a_later_version_is_not_lowered(link: Link) -> None:
    await write_mark(link, EXPANDED)
    await mark(link)
    assert read_mark(await link.call("HGETALL", schema.KEY)) == EXPANDED


async def test_newer_store_is_not_changed(link: Link, redis_url: str) -> None:
    await write_mark(link, NEWER)
    store = RedisStorage(redis_url, {"phoenix": POLICY})
    with pytest.raises(WrongSchema):
        await store.connect()
    await store.close()
    assert read_mark(await link.call("HGETALL", schema.KEY)) == NEWER


class OvertakenLink(Link):
    """A later version writes its mark right after this node reads it."""

    async def call(self, *command: str | bytes | float) -> Any:
        reply = await super().call(*command)
        if command[0] == "HGETALL":
            await write_mark(self, NEWER)
        return reply


async def test_later_mark_between_read_and_write_is_kept(redis_url: str) -> None:
    link = OvertakenLink(redis_url)
    await link.connect()
    try:
        with pytest.raises(WrongSchema):
            await mark(link)
        assert read_mark(await link.call("HGETALL", schema.KEY)) == NEWER
    finally:
        await link.close()


def test_serve_refuses_a_newer_store_in_one_line(tmp_path: Path) -> None:
    with (
        EmbeddedServer(tmp_path) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        fields = dataclasses.asdict(NEWER)
        client.hset(schema.KEY, mapping=fields)
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    done = commands.run("serve", "--port", "0", "--data", tmp_path, env=environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "written by a newer version" in line


def test_fingerprint_depends_on_every_setting() -> None:
    assert fingerprint(POLICY) == fingerprint(MarketPolicy())
    weights = dataclasses.replace(POLICY.weights, idle=0.06)
    assert fingerprint(dataclasses.replace(POLICY, weights=weights)) != fingerprint(POLICY)


def test_fingerprint_ignores_file_locations() -> None:
    here, there = (
        dataclasses.replace(
            POLICY, travel=TravelSource(source="roads", roads=Path(folder) / "phoenix.roads")
        )
        for folder in ("here", "there")
    )
    assert fingerprint(here) == fingerprint(there)


async def test_nodes_with_other_policies_are_reported(link: Link) -> None:
    assert await disagreements(link.call, "one", {"phoenix": "aa"}, 1_000) == []
    assert await disagreements(link.call, "two", {"phoenix": "aa", "las-vegas": "cc"}, 1_000) == []
    (line,) = await disagreements(link.call, "three", {"phoenix": "bb"}, 1_000)
    assert line == "policies of phoenix differ: this node has bb, one has aa, two has aa"


async def test_entry_of_a_dead_node_is_removed(link: Link) -> None:
    await disagreements(link.call, "one", {"phoenix": "aa"}, 1_000)
    later = 1_001 + FRESH_MS
    assert await disagreements(link.call, "two", {"phoenix": "bb"}, later) == []
    assert await link.call("HKEYS", KEY) == [b"two"]


async def test_nodes_with_different_policies_warn(redis_url: str) -> None:
    other = dataclasses.replace(POLICY, cooldown_s=31.0)
    stores = [
        RedisStorage(redis_url, {"phoenix": policy}, node=name)
        for name, policy in (("one", POLICY), ("two", other))
    ]
    for store in stores:
        await store.connect()
    try:
        assert any("policies of phoenix differ" in text for text in stores[1].warnings)
        assert not any("policies" in text for text in stores[0].warnings)
        await stores[0].inspect()
        assert any("policies of phoenix differ" in text for text in stores[0].warnings)
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_inspection_begins_with_one_write(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RedisStorage(redis_url, {"phoenix": POLICY}, node="one")
    await store.connect()
    link, begun, may_answer = store.runner.link, list[object](), asyncio.Event()
    answered = link.call

    async def call(*command: str | bytes | float) -> Any:
        begun.append(command[0])
        await may_answer.wait()
        return await answered(*command)

    monkeypatch.setattr(link, "call", call)
    try:
        inspecting = asyncio.create_task(store.inspect())
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(map(str, begun)) == ["CONFIG", "HGETALL", "HSET", "INFO"]
        may_answer.set()
        await inspecting
    finally:
        await store.close()
