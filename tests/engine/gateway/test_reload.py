"""SIGHUP on a running node: what it applies, and what it refuses."""

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis

from mallard_engine.config.settings import ConfigError, Settings, load_settings
from mallard_engine.core.places.markets import Mall, Places
from mallard_engine.gateway import node as node_module
from mallard_engine.gateway.reloading import ConfigReloader
from mallard_engine.storage.policy_agreement import KEY, fingerprint
from mallard_engine.travel.sources import TravelSources, travel_sources
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order
from tests.support import GUARD_S, eventually

pytestmark = pytest.mark.finding("D15", "D9")

# About 6 km north of the mall.
FAR = {"lat": 33.355, "lon": -111.90}


def settings(node: RunningNode, **figures: Any) -> Settings:
    """The node's settings with these changes."""
    own = {name: str(value) for name, value in figures.items()}
    base = {"secret": "s" * 32, "opening_hours": "off", "drain_linger_s": 0}
    return load_settings(base | own, {})


async def reload(node: RunningNode, places: Places | None = None, **figures: Any) -> None:
    new = settings(node, **figures)
    await node.node.reload(lambda: (new, places or node.node.places))


async def looked_for_drivers(node: RunningNode, job: str) -> None:
    """Wait until a round has looked for a driver for the job."""

    async def looked() -> bool:
        explained = await Caller(node).get(f"/v1/jobs/{job}/explain")
        return bool(explained.json()["radius_m"])

    await eventually(looked)


def with_mall(places: Places, mall: Mall) -> Places:
    """The places with this mall, in place of the one of its id if there is one."""
    own = places.market(mall.market)
    changed: Mapping[str, Mall] = {**own.malls, mall.id: mall}
    others = [it for it in places.markets.values() if it.id != own.id]
    return Places([*others, replace(own, malls=changed)])


async def test_waiting_job_is_matched_under_the_new_policy(engine_node: NodeFactory) -> None:
    node = await engine_node(initial_radius_m=500, max_radius_m=1_000, retry_s=3_000)
    async with open_app(node.ws, node.token("far")) as app:
        await app.go_online(position=FAR)
        job = await node.submit()
        await looked_for_drivers(node, job["id"])
        assert await app.received("offer") == []
        await reload(node, max_radius_m=25_000, offer_timeout_ms=7_000)
        offer = await app.receive("offer")
        assert offer["jobs"][0]["job"] == job["id"]
        # The default is 30 s.
        assert offer["expires_ms"] - offer["server_time_ms"] < 10_000


async def test_freed_driver_is_searched_in_the_new_radius(
    engine_node: NodeFactory,
) -> None:
    node = await engine_node(initial_radius_m=500, max_radius_m=1_000, retry_s=3_000)
    async with open_app(node.ws, node.token("far")) as app:
        await app.go_online(position=FAR)
        await app.ask("status", state="paused")
        await reload(node, max_radius_m=25_000, retry_s=3_000)
        job = await node.submit()
        await looked_for_drivers(node, job["id"])
        await app.ask("status", state="available")
        assert (await app.receive("offer"))["jobs"][0]["job"] == job["id"]


async def test_market_changes_between_instant_rounds_and_batches(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("ann")) as app:
        await app.go_online(position=FAR)
        for round_, window_ms in (("batch", 50), ("instant", 50), ("batch", 60)):
            await reload(node, round=round_, window_ms=window_ms, max_run_jobs=1, cooldown_s=0)
            job = await node.submit()
            offer = await app.receive("offer")
            assert [it["job"] for it in offer["jobs"]] == [job["id"]]
            await node.order(f"/v1/jobs/{job['id']}/cancel", reason="enough")
            await app.receive("offer_closed")


async def test_policy_of_operators_outlasts_a_reload_until_put_empty(node: RunningNode) -> None:
    path, ops = f"/v1/markets/{PHOENIX}/policy", Caller(node, "ops", Role.OPERATOR)
    ops.headers = {"If-Match": "*"}
    assert (await ops.put(path, {"set": {"cooldown_s": 5}})).status_code == 200
    await reload(node, cooldown_s=7, stale_after_s=50)
    effective = (await ops.get(path)).json()["effective"]
    assert (effective["cooldown_s"], effective["stale_after_s"]) == (5, 50)
    assert node.node.dispatcher._context.policy(PHOENIX).cooldown_s == 5
    assert (await ops.put(path, {})).json()["effective"]["cooldown_s"] == 7
    assert node.node.dispatcher._context.policy(PHOENIX).cooldown_s == 7


async def test_policy_of_operators_that_comes_during_a_reload_is_used(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a road network takes seconds."""
    building, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> TravelSources:
        building.set()
        go_on.wait(GUARD_S)
        return travel_sources(*args)

    monkeypatch.setattr(node_module, "travel_sources", slow)
    reloading = asyncio.create_task(reload(node, stale_after_s=50))
    await asyncio.to_thread(building.wait, GUARD_S)
    path, ops = f"/v1/markets/{PHOENIX}/policy", Caller(node, "ops", Role.OPERATOR)
    ops.headers = {"If-Match": "*"}
    assert (await ops.put(path, {"set": {"cooldown_s": 5}})).status_code == 200
    go_on.set()
    await reloading
    policy = node.node.dispatcher._context.policy(PHOENIX)
    assert (policy.cooldown_s, policy.stale_after_s) == (5, 50)


async def test_new_policy_fingerprints_are_announced_at_once(
    node: RunningNode, redis_url: str
) -> None:
    await reload(node, cooldown_s=7)
    expected = fingerprint(settings(node, cooldown_s=7).market_policy(PHOENIX))

    def is_announced() -> bool:
        with redis.Redis.from_url(redis_url) as client:
            entry = json.loads(client.hget(KEY, node.node.id))
        return bool(entry["policies"][PHOENIX] == expected)

    await eventually(is_announced)


async def test_new_mall_takes_orders_and_offers(node: RunningNode) -> None:
    old = node.node.places.mall(MALL)
    new = with_mall(node.node.places, replace(old, id="new-mall", name="New"))
    body = order(pickup={"mall": "new-mall", "stores": [{"store": "lego"}]})
    shop = Caller(node)
    assert (await shop.submit(body)).status_code == 422
    async with open_app(node.ws, node.token("ann")) as app:
        await app.go_online(position=FAR)
        await reload(node, new)
        job = (await shop.submit(body)).json()["id"]
        offer = await app.receive("offer")
        assert (offer["jobs"][0]["job"], offer["mall"]["id"]) == (job, "new-mall")
        await app.ask("accept", offer=offer["offer"])
    for path in ("/v1/markets", f"/v1/markets/{PHOENIX}"):
        assert '"new-mall"' in (await shop.get(path)).text


async def test_next_driver_goes_to_the_moved_gate(node: RunningNode) -> None:
    old = node.node.places.mall(MALL)
    gates = {name: replace(gate, lat=gate.lat + 0.0001) for name, gate in old.gates.items()}
    async with open_app(node.ws, node.token("ann")) as app:
        await app.go_online(position=FAR)
        await reload(node, with_mall(node.node.places, replace(old, gates=gates)))
        await node.submit()
        mall = (await app.receive("offer"))["mall"]
        assert mall["gate_lat"] == gates[mall["gate"]].lat


async def test_reload_cannot_remove_malls_stores_or_gates(node: RunningNode) -> None:
    places = node.node.places
    mall, markets = places.mall(MALL), list(places.markets.values())
    fewer_stores = {name: store for name, store in mall.stores.items() if name != "lego"}
    last = next(iter(mall.gates))
    moved = {
        name: replace(store, gate=next(gate for gate in mall.gates if gate != last))
        for name, store in mall.stores.items()
    }
    fewer_gates = {name: gate for name, gate in mall.gates.items() if name != last}
    own = places.market(PHOENIX)
    fewer_malls = {name: it for name, it in own.malls.items() if name != MALL}
    others = [it for it in markets if it.id != PHOENIX]
    for lacking, named in (
        (with_mall(places, replace(mall, stores=fewer_stores)), "store lego"),
        (with_mall(places, replace(mall, stores=moved, gates=fewer_gates)), f"gate {last}"),
        (Places([*others, replace(own, malls=fewer_malls)]), f"mall {MALL}"),
        (Places(others), f"market {PHOENIX}"),
        (Places([*markets, replace(own, id="tucson", malls={})]), "market tucson"),
    ):
        with pytest.raises(ConfigError, match=named):
            await reload(node, lacking, cooldown_s=1)
    assert places.mall(MALL) is mall
    assert node.node.dispatcher._context.policy(PHOENIX).cooldown_s == 30


async def test_invalid_travel_source_changes_nothing(node: RunningNode) -> None:
    bearer = node.bearer("shop", Role.ORDERS)
    with pytest.raises(ConfigError, match="roads"):
        await reload(
            node, secret="x" * 32, cooldown_s=1, travel_source="roads", travel_roads="nowhere.roads"
        )
    assert (await node.http.get("/v1/jobs", headers=bearer)).status_code == 200
    assert node.node.dispatcher._context.policy(PHOENIX).cooldown_s == 30


async def test_travel_source_is_swapped(node: RunningNode) -> None:
    before = node.node.travel
    await reload(node, travel_source="osrm", travel_osrm_url="http://127.0.0.1:9")
    assert PHOENIX in node.node.travel.ahead
    async with open_app(node.ws, node.token("ann")) as app:
        await app.go_online(position=FAR)
        await node.submit()
        await app.receive("offer")  # nothing listens there: the straight line is used
        await reload(node)
        assert PHOENIX not in node.node.travel.ahead
    assert before is not node.node.travel


async def test_same_policies_keep_their_travel_sources(node: RunningNode) -> None:
    before = node.node.travel
    await reload(node)
    assert node.node.travel is before


async def test_signals_during_a_reload_cause_one_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    readings, go_on = 0, asyncio.Event()

    async def take_over(_read: object) -> None:
        nonlocal readings
        readings += 1
        if readings == 1:
            await go_on.wait()
            raise ConfigError("a figure is wrong")
        raise RuntimeError("a bug")

    reloading = ConfigReloader(lambda: (Settings(), Places([])), take_over)
    reloading.request()
    await asyncio.sleep(0)
    for _ in range(5):
        reloading.request()
    go_on.set()
    await eventually(lambda: reloading._task is None)
    assert readings == 2
    reloading.request()
    await eventually(lambda: readings == 3)
    assert capsys.readouterr().out.count("configuration refused") == 3
