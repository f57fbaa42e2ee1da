"""What order services and operators see of the events of a market."""

import json
from typing import Any

from msgspec import UNSET

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.events.tail import START
from mallard_engine.gateway.events.views import OPERATOR, EventViews, Reader
from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller

SHOP = Reader("shop")


async def seen(node: RunningNode, reader: Reader) -> list[dict[str, Any]]:
    """All events of the market, as they are delivered to the reader."""
    store = node.node.store
    entries = await store.event_log.read(PHOENIX, START, 1_000)
    events = await EventViews(store).public(entries, reader)
    return [json.loads(encode_json(event)) for event in events]


async def test_data_is_the_job_as_get_shows_it(node: RunningNode) -> None:
    job = await node.submit(dropoff={"lat": 33.32, "lon": -111.84, "pin": "4711"})
    (event,) = await seen(node, SHOP)
    shown = await node.job(job["id"])
    timeline = shown.pop("timeline")
    assert event["data"] == shown | {"cause": "submitted", "actor": "shop"}
    assert event["type"] == "job.created"
    assert (event["job"], event["market"], event["version"]) == (job["id"], PHOENIX, 1)
    assert event["recorded_at"] == timeline[0]["at"]
    assert event["occurred_at"] == timeline[0]["at"]
    assert "driver" not in event
    assert "4711" not in json.dumps(await seen(node, OPERATOR))


async def test_state_driver_and_times_are_the_events_own(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        reply = await driver.ask("accept", offer=offer["offer"])
        attempt = reply["jobs"][0]["attempt"]
        await driver.ask("progress", job=job["id"], attempt=attempt, step="give_up")
        await node.job_in(job["id"], "queued")
        await node.order(f"/v1/markets/{PHOENIX}/drivers/ann/suspend", reason="test")
    own = [it for it in await seen(node, SHOP) if it["job"] == job["id"]]
    kinds = [it["type"] for it in own]
    assert kinds == ["job.created", "job.offered", "job.assigned", "job.queued"]
    created, offered, assigned, queued = (it["data"] for it in own)
    assert [it["state"] for it in (created, offered, assigned, queued)] == [
        "queued", "offered", "assigned", "queued",
    ]  # fmt: skip
    assert assigned["driver"] not in {None, "ann"}
    assert own[2]["driver"] == assigned["driver"] == assigned["actor"]
    assert assigned["eta"]["dropoff"] is not None
    assert offered["eta"] == queued["eta"] == {"pickup": None, "dropoff": None}
    assert (queued["driver"], queued["cause"]) == (None, "gave_up")
    assert queued["actor"] == assigned["driver"]
    assert '"ann"' not in json.dumps(own)
    assert [it["sequence"] for it in own] == sorted({it["sequence"] for it in own})

    everything = await seen(node, OPERATOR)
    ours = [it for it in everything if it.get("job") == job["id"]]
    assert [it["id"] for it in ours] == [it["id"] for it in own]
    assert ours[2]["driver"] == "ann"
    kinds = [it["type"] for it in everything]
    assert "driver.online" in kinds
    assert "driver.suspended" in kinds


async def test_another_service_sees_nothing(node: RunningNode) -> None:
    await node.submit()
    other = Caller(node, "other")
    response = await other.submit()
    (event,) = await seen(node, Reader("other"))
    assert event["job"] == response.json()["id"]
    assert len(await seen(node, OPERATOR)) == 2
    assert await seen(node, Reader("engine")) == []


async def test_alert_and_wake_tell_operators_what_they_need(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as driver:
        await driver.hello(position=NEAR, device={"kind": "fcm", "token": "tok"})
        await driver.ask("problem", kind="accident", text="on the ring road")
    await node.order(f"/v1/markets/{PHOENIX}/drivers/ann/suspend", reason="rest")
    events = {it["type"]: it for it in await seen(node, OPERATOR)}
    assert events["alert.raised"]["data"]["kind"] == "accident"
    assert events["alert.raised"]["driver"] == "ann"
    wake = events["driver.wake"]
    assert (wake["driver"], wake["data"]["device"]) == ("ann", {"kind": "fcm", "token": "tok"})
    assert await seen(node, SHOP) == []


async def test_operators_hear_what_operators_do(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as driver:
        await driver.go_online(position=NEAR)
        await driver.ask("problem", kind="accident")
    ops = Caller(node, "ops", Role.OPERATOR)
    (alert,) = (await ops.get("/v1/alerts")).json()["items"]
    await node.order(f"/v1/alerts/{alert['id']}/acknowledge")
    place = f"/v1/markets/{PHOENIX}/malls/{MALL}/stores/lego"
    await node.order(f"{place}/pause", reason="flood")
    await node.order(f"{place}/resume")
    await node.order(f"/v1/markets/{PHOENIX}/drivers/ann/suspend", reason="rest")
    await node.order(f"/v1/markets/{PHOENIX}/drivers/ann/resume")
    policy = f"/v1/markets/{PHOENIX}/policy"
    headers = ops._headers() | {"If-Match": "*"}
    assert (await node.http.put(policy, json={}, headers=headers)).status_code == 200
    shown = {it["type"]: it for it in await seen(node, OPERATOR)}
    about = {"alert": alert["id"], "about": "accident", "driver": "ann"}
    shop = {"mall": MALL, "store": "lego"}
    expected: dict[str, dict[str, Any]] = {
        "alert.acknowledged": {**about, "actor": "ops"},
        "market.paused": {**shop, "reason": "flood", "actor": "ops"},
        "market.resumed": {**shop, "actor": "ops"},
        "driver.suspended": {"driver": "ann", "reason": "rest"},
        "driver.resumed": {"driver": "ann"},
        "policy.changed": {"version": 1, "actor": "ops"},
    }
    assert {kind: shown[kind]["data"] for kind in expected} == expected
    assert await seen(node, SHOP) == []


async def test_every_reader_is_informed_of_lost_writes(node: RunningNode) -> None:
    fields = {"kind": "market", "what": "rewound", "since_ms": 1_000, "at": 9_000}
    lost = MarketEvent(PHOENIX, Place(9_000, 0), 9_000, "market", "rewound", fields=fields)
    views = EventViews(node.node.store)
    for reader in (SHOP, Reader("other"), OPERATOR):
        (event,) = await views.public([lost], reader)
        assert event.type == "market.rewound"
        assert json.loads(encode_json(event.data)) == {"since": "1970-01-01T00:00:01.000Z"}
        assert (event.job, event.driver) == (UNSET, UNSET)


async def test_job_that_is_gone_leaves_what_the_event_says(node: RunningNode) -> None:
    job = await node.submit()
    keys = node.node.store.runner.keys_of(job["id"])
    await node.node.store.runner.link.call("RENAME", keys.job(job["id"]), keys.key("aside"))
    (event,) = await seen(node, SHOP)
    assert event["data"]["id"] == job["id"]
    assert (event["data"]["state"], event["data"]["cause"]) == ("queued", "submitted")
    await node.node.store.runner.link.call("RENAME", keys.key("aside"), keys.job(job["id"]))


async def test_transfer_is_shown_to_operators_alone(node: RunningNode) -> None:
    assert Role.OPERATOR  # the engine's own job has the service `engine`
    job = await node.submit()
    keys = node.node.store.runner.keys_of(job["id"])
    call = node.node.store.runner.link.call
    await call("HSET", keys.job(job["id"]), "kind", "transfer", "first", "ann", "code", "1")
    assert await seen(node, SHOP) == []
    assert len(await seen(node, OPERATOR)) == 1
    await call("HDEL", keys.job(job["id"]), "kind", "first", "code")
