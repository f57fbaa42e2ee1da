"""Streams of events over HTTP: every line of the contract."""

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest

from mallard_engine.core.event_ids import Place, event_id
from mallard_engine.gateway.events import broadcast, streams
from mallard_engine.gateway.events.tail import START
from mallard_engine.gateway.events.views import EventViews
from mallard_protocol.codes import Role
from mallard_protocol.events import MAX_STREAMS, EventType
from tests.engine.gateway.conftest import NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.events.sse import stream
from tests.engine.gateway.http_support import Caller, problem
from tests.support import eventually

EVENTS = "/v1/events"
OPS: dict[str, Any] = {"sub": "ops", "role": Role.OPERATOR}


async def delivered(driver: DriverApp, node: RunningNode) -> dict[str, Any]:
    """Submit a job, and deliver it."""
    job = await node.submit()
    offer = await driver.receive("offer")
    reply = await driver.ask("accept", offer=offer["offer"])
    for step in ("at_mall", "picked_up", "delivered"):
        answer = await driver.progress(reply["jobs"][0], step)
        assert answer["type"] == "reply", answer
    return job


async def test_stream_begins_now_and_shows_own_jobs(node: RunningNode) -> None:
    await node.submit()
    async with stream(node, EVENTS, market=PHOENIX) as own:
        headers = own.response.headers
        assert headers["content-type"].partition(";")[0] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert "content-length" not in headers
        await Caller(node, "other").submit()
        job = await node.submit()
        event = await own.event()
        assert event is not None
        assert (event["type"], event["job"]) == ("job.created", job["id"])
        assert event["data"]["id"] == job["id"]
        assert "timeline" not in event["data"]


async def test_stream_that_cannot_be_served_ends_and_resumes(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error nobody expected no stream stays open and silent."""

    async def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    async with stream(node, EVENTS, market=PHOENIX) as own:
        first = await node.submit()
        heard = await own.event()
        assert heard is not None
        assert heard["job"] == first["id"]
        with monkeypatch.context() as patch:
            patch.setattr(EventViews, "load", fail)
            second = await node.submit()
            assert await own.rest() == []
    async with stream(node, EVENTS, market=PHOENIX, last=heard["id"]) as again:
        event = await again.event()
        assert event is not None
        assert event["job"] == second["id"]


async def test_operator_sees_all_services_drivers_and_ids(node: RunningNode) -> None:
    async with stream(node, EVENTS, **OPS, market=PHOENIX) as every:
        first, second = await node.submit(), await Caller(node, "other").submit()
        assert [it["job"] for it in await every.events(2)] == [first["id"], second.json()["id"]]
        async with open_app(node.ws, node.token("ann")) as driver:
            await driver.go_online(position=NEAR)
            online = await every.event()
            assert online is not None
            assert (online["type"], online["driver"]) == ("driver.online", "ann")


async def test_job_stream_ends_after_its_terminal_event(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        async with stream(node, f"/v1/jobs/{job['id']}/events") as live:
            offer = await driver.receive("offer")
            await node.submit()  # another one
            reply = await driver.ask("accept", offer=offer["offer"])
            mine = [it for it in reply["jobs"] if it["job"] == job["id"]]
            for step in ("at_mall", "picked_up", "delivered"):
                await driver.progress(mine[0], step)
            heard = await live.rest()
    assert {it["job"] for it in heard} == {job["id"]}
    kinds = [it["type"] for it in heard if it["type"] != "job.eta_changed"]
    assert kinds[0] == "job.created"
    assert kinds[-1] == "job.delivered"
    assert sorted(kinds) == sorted(
        f"job.{it}"
        for it in ("created", "offered", "assigned", "arrived", "picked_up", "collected",
                   "delivered")
    )  # fmt: skip
    assert [it["sequence"] for it in heard] == sorted({it["sequence"] for it in heard})
    # Afterwards the stream sends all events and ends at once.
    async with stream(node, f"/v1/jobs/{job['id']}/events") as later:
        received = await later.rest()
    ids = [it["id"] for it in received if it["type"] != "job.driver_moved"]
    assert ids == [it["id"] for it in heard if it["type"] != "job.driver_moved"]
    async with stream(node, f"/v1/jobs/{job['id']}/events", last=received[-1]["id"]) as over:
        assert await over.rest() == []


@pytest.mark.parametrize("how", ["header", "query", "both"])
async def test_stream_resumes_after_the_last_event(node: RunningNode, how: str) -> None:
    async with stream(node, EVENTS, market=PHOENIX) as first:
        jobs = [(await node.submit())["id"] for _ in range(4)]
        heard = await first.events(4)
    path = f"{EVENTS}?market={PHOENIX}"
    last = heard[1]["id"] if how != "query" else None
    if how != "header":
        after = heard[1]["id"] if how == "query" else heard[3]["id"]  # the header wins
        path += f"&after={after}"
    async with stream(node, path, last=last) as resumed:
        assert [it["job"] for it in await resumed.events(2)] == jobs[2:]
        job = await node.submit()
        event = await resumed.event()
        assert event is not None
        assert event["job"] == job["id"]


async def test_resumed_stream_has_no_gap_and_no_repeat(node: RunningNode) -> None:
    ids: list[str] = []
    done = asyncio.Event()

    async def submit() -> None:
        for _ in range(60):
            job = await node.submit()
            ids.append(job["id"])
        done.set()

    first = (await node.submit())["id"]
    (entry,) = await node.node.store.event_log.read(PHOENIX, START, 10)
    last, heard = event_id(PHOENIX, entry.place), [first]
    working = asyncio.create_task(submit())
    while len(heard) < 61:
        async with stream(node, EVENTS, last=last, market=PHOENIX) as part:
            for event in await part.events(min(5, 61 - len(heard))):
                heard.append(event["job"])
                last = event["id"]
    await working
    assert heard == [first, *ids]


async def test_types_filter_the_stream(node: RunningNode) -> None:
    async with (
        stream(node, EVENTS, market=PHOENIX, types="job.cancelled") as cancelled,
        stream(node, EVENTS, market=PHOENIX, types="job.created,job.cancelled") as both,
    ):
        job = await node.submit()
        await Caller(node).post(f"/v1/jobs/{job['id']}/cancel", {"reason": "customer"})
        assert await both.types(2) == ["job.created", "job.cancelled"]
        event = await cancelled.event()
        assert event is not None
        assert (event["type"], event["data"]["state"]) == ("job.cancelled", "cancelled")
        assert event["data"]["terminal"] is True


async def test_comment_comes_while_nothing_happens(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    async with stream(node, EVENTS, market=PHOENIX) as quiet:
        await quiet.comments_only(3)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"market": "atlantis"},
        {"market": ""},
        {"market": PHOENIX, "types": ""},
        {"market": PHOENIX, "types": "job.eaten"},
        {"market": PHOENIX, "types": "job.created,"},
        {"market": PHOENIX, "types": "driver.online"},
        {"market": PHOENIX, "after": ""},
        {"market": PHOENIX, "after": "1-0"},
        {"market": PHOENIX, "after": "evt_las-vegas.1-0"},
        {"market": PHOENIX, "after": "evt_phoenix.999999999999999-0"},
        {"market": PHOENIX, "since": "1"},
        {"market": PHOENIX, "after": "evt_phoenix.1-0\n"},
    ],
)
async def test_bad_query_of_the_market_stream_is_refused(
    node: RunningNode, query: dict[str, str]
) -> None:
    problem(await Caller(node).get(EVENTS, **query), 400, "bad_request")


@pytest.mark.parametrize("last", ["nonsense", "evt_las-vegas.1-0", "job_phoenix.1", "\x7f"])
async def test_foreign_id_is_refused(node: RunningNode, last: str) -> None:
    job = await node.submit()
    caller = Caller(node, headers={"Last-Event-ID": last})
    problem(await caller.get(EVENTS, market=PHOENIX), 400, "bad_request")
    problem(await caller.get(f"/v1/jobs/{job['id']}/events"), 400, "bad_request")
    caller = Caller(node)
    problem(await caller.get(f"/v1/jobs/{job['id']}/events", after=last), 400, "bad_request")
    problem(await caller.get(f"/v1/jobs/{job['id']}/events", market=PHOENIX), 400, "bad_request")


async def test_start_that_is_given_twice_is_refused(node: RunningNode) -> None:
    await node.submit()
    (entry,) = await node.node.store.event_log.read(PHOENIX, START, 10)
    last = ("Last-Event-ID", event_id(PHOENIX, entry.place))
    headers = [*node.bearer("shop", Role.ORDERS).items(), last, last]
    problem(
        await node.http.get(EVENTS, params={"market": PHOENIX}, headers=headers),
        400,
        "bad_request",
    )


async def test_job_of_another_service_is_missing(node: RunningNode) -> None:
    job = await node.submit()
    other = Caller(node, "other")
    problem(await other.get(f"/v1/jobs/{job['id']}/events"), 404, "not_found")
    problem(await other.get("/v1/jobs/job_phoenix.none/events"), 404, "not_found")
    driver = Caller(node, "ann", Role.DRIVER)
    problem(await driver.get(EVENTS, market=PHOENIX), 403, "forbidden")
    problem(await Caller(node, "s", Role.STORE).get(EVENTS, market=PHOENIX), 404, "not_found")
    response = await node.http.get(EVENTS, params={"market": PHOENIX})
    problem(response, 401, "unauthorized")


async def test_trimmed_events_answer_410_with_the_oldest(node: RunningNode) -> None:
    jobs = [(await node.submit())["id"] for _ in range(3)]
    log, call = node.node.store.event_log, node.node.store.runner.link.call
    entries = await log.read(PHOENIX, START, 10)
    key = node.node.store.runner.keys[PHOENIX].key("events")
    await call("XTRIM", key, "MINID", str(entries[2].place))
    gone = event_id(PHOENIX, entries[0].place)
    caller = Caller(node, headers={"Last-Event-ID": gone})
    body = problem(await caller.get(EVENTS, market=PHOENIX), 410, "events_trimmed")
    assert body["oldest"] == event_id(PHOENIX, entries[2].place)
    problem(await caller.get(f"/v1/jobs/{jobs[0]}/events"), 410, "events_trimmed")
    # Without a start a job's stream begins at its first kept event.
    async with stream(node, f"/v1/jobs/{jobs[2]}/events") as kept:
        event = await kept.event()
        assert event is not None
        assert event["id"] == body["oldest"]
    async with stream(node, EVENTS, market=PHOENIX, last=body["oldest"]):
        pass


async def test_streams_of_a_token_are_bounded(node: RunningNode) -> None:
    token = node.token("shop", Role.ORDERS)
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(MAX_STREAMS):
            await opened.enter_async_context(stream(node, EVENTS, token=token, market=PHOENIX))
        auth = {"Authorization": f"Bearer {token}"}
        response = await node.http.get(EVENTS, params={"market": PHOENIX}, headers=auth)
        problem(response, 429, "rate_limited")
        other = node.token("shop", Role.ORDERS, ttl_s=1800)
        async with stream(node, EVENTS, token=other, market=PHOENIX):
            pass
        assert await node.metric("mallard_event_streams") >= MAX_STREAMS
    await eventually(lambda: len(node.node.streams) == 0)
    async with stream(node, EVENTS, token=token, market=PHOENIX):
        pass


async def test_stream_ends_with_its_token(node: RunningNode) -> None:
    token = node.token("shop", Role.ORDERS, ttl_s=3)
    async with stream(node, EVENTS, token=token, market=PHOENIX) as short:
        assert await short.rest() == []


async def test_stream_ends_when_the_node_leaves(engine_node: NodeFactory) -> None:
    node = await engine_node()
    job = await node.submit()
    async with (
        stream(node, EVENTS, market=PHOENIX) as market,
        stream(node, f"/v1/jobs/{job['id']}/events") as one,
    ):
        await one.event()
        node.node.leave()
        assert await market.rest() == []
        assert await one.rest() == []
    response = await Caller(node).get(EVENTS, market=PHOENIX)
    problem(response, 503, "draining")


async def test_streams_of_a_revoked_subject_end(node: RunningNode) -> None:
    async with (
        stream(node, EVENTS, market=PHOENIX) as own,
        stream(node, EVENTS, **OPS, market=PHOENIX) as ops,
    ):
        await eventually(lambda: len(node.node.streams) == 2)
        node.node.streams.end_revoked(lambda who: who.sub == "shop")
        assert await own.rest() == []
        await node.submit()
        assert await ops.types(1) == ["job.created"]


async def test_token_that_is_revoked_while_its_stream_opens_gets_none(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is open, nothing would look at its token again."""
    streams_of_node = node.node.streams
    newest = streams_of_node.newest

    async def then_revoked(market: str) -> Place:
        place = await newest(market)
        await node.node.revoked.revoke("shop", Role.ORDERS, "")
        return place

    monkeypatch.setattr(streams_of_node, "newest", then_revoked)
    auth = node.bearer("shop", Role.ORDERS)
    response = await node.http.get(EVENTS, params={"market": PHOENIX}, headers=auth)
    problem(response, 401, "unauthorized")
    assert len(streams_of_node) == 0


async def test_head_and_options_do_not_open_a_stream(node: RunningNode) -> None:
    auth = node.bearer("shop", Role.ORDERS)
    response = await node.http.head(EVENTS, params={"market": PHOENIX}, headers=auth)
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert (await node.http.options(EVENTS)).status_code == 204
    assert len(node.node.streams) == 0
    posted = await Caller(node).post(EVENTS)
    problem(posted, 405, "method_not_allowed")


async def test_slow_reader_is_cut_and_delays_no_other(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "_MOST_BYTES", 60_000)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.connect(("127.0.0.1", node.server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1)
    token = node.token("shop", Role.ORDERS)
    writer.write(
        f"GET {EVENTS}?market={PHOENIX} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    await eventually(lambda: len(node.node.streams) == 1)
    # By itself the system keeps some hundred kilobytes for the reader, which take a while to fill.
    (connection,) = node.server.server_state.connections
    sending = connection.transport.get_extra_info("socket")
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    async with stream(node, EVENTS, market=PHOENIX) as fast:
        home = {"lat": 33.3197, "lon": -111.8412, "note": "x" * 900}

        async def is_cut() -> bool:
            await asyncio.gather(*(node.submit(dropoff=home) for _ in range(5)))
            assert len(await fast.events(5)) == 5
            return await node.metric("mallard_event_streams_cut_total") >= 1

        await eventually(is_cut, timeout_s=60)
        await eventually(lambda: len(node.node.streams) == 1)
    writer.close()
    del reader


async def test_outage_of_the_store_loses_no_event(node: RunningNode) -> None:
    async with stream(node, EVENTS, market=PHOENIX) as live:
        first = await node.submit()
        assert (await live.events(1))[0]["job"] == first["id"]
        for link in (node.node.store.event_tail, node.node.store.runner.link):
            wire = link.primaries()[0]._wire
            assert wire is not None
            wire._transport.abort()  # type: ignore[union-attr]
        await eventually(lambda: node.node.store.runner.link.connected)
        second = await node.submit()
        assert (await live.events(1))[0]["job"] == second["id"]


async def test_no_event_shows_a_pin_or_another_drivers_id(node: RunningNode) -> None:
    heard: list[dict[str, Any]] = []
    async with stream(node, EVENTS, market=PHOENIX) as own:
        async with open_app(node.ws, node.token("driver-ann")) as driver:
            await driver.go_online(position=NEAR)
            job = await delivered(driver, node)
            assert job
        while not heard or heard[-1]["type"] != "job.delivered":
            heard += await own.events(1)
    assert "driver-ann" not in json.dumps(heard)
    assert all(set(EventType) >= {it["type"]} for it in heard)
