"""What clients are answered of an ended job does not change when it is packed."""

import time
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, Counter, at, order, uploaded
from tests.engine.storage.packing import pack_all

REF = "cust-7"
THREE = {
    "mall": MALL,
    "stores": [{"store": it, "parcels": 2} for it in ("lego", "apple", "sephora")],
}
CUSTOMER = {**HOME, "name": "Ada", "note": "ring twice ß 🦆", "customer_ref": REF}


async def taken(node: RunningNode, driver: DriverApp, **fields: Any) -> dict[str, Any]:
    """A job of Ada that the driver has accepted."""
    done = await Caller(node).submit(order(dropoff=CUSTOMER, **fields))
    assert done.is_success, done.text
    offer = await driver.receive("offer")
    job: dict[str, Any] = (await driver.ask("accept", offer=offer["offer"]))["jobs"][0]
    return job


async def lived(node: RunningNode, driver: DriverApp) -> list[str]:
    """Jobs that were delivered with a proof, returned, and cancelled with a reason."""
    delivered = await taken(
        node,
        driver,
        pickup=THREE,
        proof_required=["photo"],
        metadata={"basket": "77", "gift": None},
    )
    for store in ("lego", "apple", "sephora"):
        await driver.progress(delivered, "collected", store=store, parcels=2)
    await driver.progress(delivered, "picked_up")
    photo = {"kind": "photo", "value": await uploaded(node)}
    assert (await driver.progress(delivered, "delivered", proof=photo))["type"] == "reply"
    returned = await taken(node, driver)
    for step in ("picked_up", "returning"):
        await driver.progress(returned, step, at_ms=int(time.time() * 1000))
    counter = Counter(node)
    back = await counter.post(f"{counter.path}/returns/{returned['job']}")
    assert back.json()["state"] == "returned", back.text
    cancelled = (await Caller(node).submit(order(dropoff=CUSTOMER))).json()["id"]
    why = {"reason": "other", "note": "changed their mind"}
    assert (await Caller(node).post(f"/v1/jobs/{cancelled}/cancel", why)).is_success
    return [delivered["job"], returned["job"], cancelled]


async def answers(node: RunningNode, jobs: list[str], since: str) -> dict[str, tuple[Any, ...]]:
    """What every caller is answered, by call: status, tag, content."""
    shop, counter = Caller(node), Counter(node)
    operator = Caller(node, "ops", Role.OPERATOR)
    found: dict[str, tuple[Any, ...]] = {}

    async def ask(caller: Caller, path: str, **query: Any) -> bytes:
        done = await caller.get(path, **query)
        name = f"{caller.sub} {path} {sorted(query.items())}"
        found[name] = done.status_code, done.headers.get("etag"), done.content
        return done.content

    for job in jobs:
        track = (await shop.get(f"/v1/jobs/{job}")).json()["tracking_url"]
        await ask(shop, f"/v1/track/{track.rpartition('/')[2]}")
        for caller in (shop, operator):
            for path in ("", "/explain"):
                await ask(caller, f"/v1/jobs/{job}{path}")
        links = (await shop.get(f"/v1/jobs/{job}/proofs")).json()
        for proof in links["items"]:
            proof.pop("url_expires_at", None)
            link = urlsplit(proof.pop("url", "") or "")
            if link.path:
                seen = await node.http.get(f"{link.path}?{link.query}")
                found[f"image of {job}"] = seen.status_code, seen.content
        found[f"proofs of {job}"] = 200, str(links)
    for query in ({}, {"state": "delivered"}, {"state": "returned"}, {"limit": 1}):
        await ask(shop, "/v1/jobs", **query)
        await ask(operator, "/v1/jobs", market=PHOENIX, **query)
    await ask(shop, "/v1/jobs", updated_since=since)
    await ask(shop, "/v1/jobs", external_id="ORD-packed")
    for path in ("pickups", "returns"):
        await ask(counter, f"{counter.path}/{path}")
    return found


async def test_packed_jobs_are_answered_byte_for_byte(node: RunningNode, redis_url: str) -> None:
    keys = node.node.store.runner.keys[PHOENIX]
    since = at(time.time() * 1000 - 60_000)
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        jobs = await lived(node, driver)
    before = await answers(node, jobs, since)
    wrong = {path: it for path, it in before.items() if it[0] >= 400}
    assert wrong == {}
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await pack_all(client, keys) == len(jobs)
        assert await answers(node, jobs, since) == before
        # Nothing of this has unpacked one.
        assert await pack_all(client, keys) == 0
    later = {"deadline": at(time.time() * 1000 + 4 * 3_600_000)}
    again = await Caller(node).post(f"/v1/jobs/{jobs[1]}/redeliver", later)
    assert again.status_code == 201, again.text
    assert again.json()["redelivery_of"] == jobs[1]
    erased = await Caller(node).send("delete", f"/v1/customers/{REF}")
    assert erased.is_success, erased.text
    assert "Ada" not in (await Caller(node).get(f"/v1/jobs/{jobs[0]}")).text
