"""The streams of the Python clients, which resume by themselves, against real nodes."""

import asyncio
import threading
from typing import Any, cast

import pytest

from mallard_client.errors import ApiProblem
from mallard_client.orders.client import OrderClient, OrderClientSync
from mallard_engine.core.event_ids import event_id
from mallard_engine.gateway.events.tail import START
from mallard_protocol.codes import Role
from mallard_protocol.events import Event
from tests.engine.gateway.conftest import PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.http_support import Caller
from tests.support import GUARD_S, eventually


def client(*nodes: RunningNode, token: str | None = None) -> OrderClient:
    token = token or nodes[0].token("shop", Role.ORDERS)
    return OrderClient([node.url for node in nodes], token)


async def test_events_go_on_when_streams_end(node: RunningNode) -> None:
    heard: list[Event] = []

    async def listen(orders: OrderClient) -> None:
        async for event in orders.events(PHOENIX):
            heard.append(event)
            if len(heard) == 12:
                return

    async with client(node) as orders:
        listening = asyncio.create_task(listen(orders))
        jobs = []
        await eventually(lambda: len(node.node.streams) == 1)
        for number in range(12):
            if number % 3 == 0:  # also before the first event
                node.node.streams.end_revoked(lambda who: who.sub == "shop")
            jobs.append((await node.submit())["id"])
        await asyncio.wait_for(listening, GUARD_S)
    assert [event.job for event in heard] == jobs
    assert all(event.type == "job.created" for event in heard)
    assert heard[0].data["state"] == "queued"


async def test_events_move_to_another_node(engine_node: NodeFactory) -> None:
    first, second = await engine_node(), await engine_node()
    heard: list[str] = []

    async def listen(orders: OrderClient) -> None:
        async for event in orders.events(PHOENIX, types=["job.created"]):
            heard.append(str(event.job))  # noqa: PERF401 - it is read meanwhile

    async with client(first, second) as orders:
        listening = asyncio.create_task(listen(orders))
        await eventually(lambda: len(first.node.streams) + len(second.node.streams) == 1)
        one = (await second.submit())["id"]
        await eventually(lambda: heard == [one])
        first.node.leave()
        other = (await second.submit())["id"]
        await eventually(lambda: heard == [one, other])
        listening.cancel()
        await asyncio.wait([listening])


async def test_job_events_end_with_the_job(node: RunningNode) -> None:
    job = (await node.submit())["id"]
    async with client(node) as orders:
        seen: list[str] = []
        async for event in orders.job_events(job):
            seen.append(event.type)
            if event.type == "job.created":
                node.node.streams.end_revoked(lambda who: who.sub == "shop")
                await Caller(node).post(f"/v1/jobs/{job}/cancel", {"reason": "customer"})
        assert seen == ["job.created", "job.cancelled"]
        last = (await node.node.store.event_log.read(PHOENIX, START, 10))[-1].place
        again = [event async for event in orders.job_events(job, after=event_id(PHOENIX, last))]
        assert again == []


@pytest.mark.parametrize("kind", [OrderClient, OrderClientSync])
async def test_job_that_ends_between_two_streams_is_heard(
    node: RunningNode, kind: type[OrderClient | OrderClientSync], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream may end before anything has come, and the job before the client asks for it."""
    job = (await node.submit())["id"]
    [event] = await node.node.store.event_log.read(PHOENIX, START, 10)
    created = event_id(PHOENIX, event.place)
    loop, run = asyncio.get_running_loop(), cast("Any", kind._run)

    async def cancel() -> None:
        await Caller(node).post(f"/v1/jobs/{job}/cancel", {"reason": "customer"})

    async def cancel_first(self: OrderClient, steps: Any) -> Any:
        await cancel()
        return await run(self, steps)

    def cancel_first_sync(self: OrderClientSync, steps: Any) -> Any:
        asyncio.run_coroutine_threadsafe(cancel(), loop).result()
        return run(self, steps)

    async def listen() -> list[str]:
        async with client(node) as orders:
            return [event.type async for event in orders.job_events(job, after=created)]

    def listen_sync() -> list[str]:
        with OrderClientSync(node.url, node.token("shop", Role.ORDERS)) as orders:
            return [event.type for event in orders.job_events(job, after=created)]

    is_sync = kind is OrderClientSync
    monkeypatch.setattr(kind, "_run", cancel_first_sync if is_sync else cancel_first)
    heard = asyncio.create_task(asyncio.to_thread(listen_sync) if is_sync else listen())
    await eventually(lambda: len(node.node.streams) == 1)
    node.node.streams.end_revoked(lambda who: who.sub == "shop")
    assert await heard == ["job.cancelled"]


async def test_error_for_trimmed_events_names_the_oldest(node: RunningNode) -> None:
    for _ in range(2):
        await node.submit()
    log, call = node.node.store.event_log, node.node.store.runner.link.call
    entries = await log.read(PHOENIX, START, 10)
    key = node.node.store.runner.keys[PHOENIX].key("events")
    await call("XTRIM", key, "MINID", str(entries[1].place))
    async with client(node) as orders:
        with pytest.raises(ApiProblem) as refused:
            async for _ in orders.events(PHOENIX, after=event_id(PHOENIX, entries[0].place)):
                pass
    assert refused.value.code == "events_trimmed"
    assert refused.value.oldest == event_id(PHOENIX, entries[1].place)


async def test_refusals_are_raised(node: RunningNode) -> None:
    async with client(node) as orders:
        for market, types, code in (
            ("atlantis", None, "bad_request"),
            (PHOENIX, ["job.eaten"], "bad_request"),
        ):
            with pytest.raises(ApiProblem) as refused:
                async for _ in orders.events(market, types=types):
                    pass
            assert refused.value.code == code
        with pytest.raises(ApiProblem) as refused:
            async for _ in orders.job_events("job_phoenix.none"):
                pass
        assert refused.value.code == "not_found"


async def test_sync_events_go_on_when_streams_end(node: RunningNode) -> None:
    heard: list[str] = []

    def listen() -> None:
        with OrderClientSync(node.url, node.token("shop", Role.ORDERS)) as orders:
            for event in orders.events(PHOENIX):
                heard.append(str(event.job))
                if len(heard) == 4:
                    break
            heard.extend(event.type for event in orders.job_events(heard[0]))

    thread = threading.Thread(target=listen)
    thread.start()
    jobs = []
    await eventually(lambda: len(node.node.streams) == 1)
    for number in range(4):
        if number == 2:
            node.node.streams.end_revoked(lambda who: who.sub == "shop")
        jobs.append((await node.submit())["id"])
    await eventually(lambda: len(heard) >= 5)
    await Caller(node).post(f"/v1/jobs/{jobs[0]}/cancel", {"reason": "customer"})
    await asyncio.to_thread(thread.join, 20)
    assert heard == [*jobs, "job.created", "job.cancelled"]
