"""Capture the Redis of this checkout's engine, with jobs in every state, as a JSON file.

Run it at a release, so that later versions can test that they read what this one wrote:
``python -m tests.upgrade.capture tests/upgrade/stores/COMMIT.json``.
"""

import asyncio
import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import redis

from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.e2e.app import CAR, App
from tests.e2e.conftest import Node, make_token, start_node
from tests.e2e.shop import Shop, considered, soon
from tests.support import eventually

MARKET = "phoenix"
MALL = "chandler-fashion-center"
STORE = "lego"
AT_MALL = (33.3017, -111.8990)
DOOR = {"lat": 33.3197, "lon": -111.8412}
# In the far future, so that the jobs are still open when Redis is opened again.
LATER = "2095-06-01T12:00:00Z"


def body(name: str, **fields: Any) -> dict[str, Any]:
    order = {
        "external_id": name,
        "pickup": {"mall": MALL, "stores": [{"store": STORE}], "window_end": LATER},
        "dropoff": {**DOOR, "name": "A. Customer", "deadline": LATER},
        "metadata": {"basket": "77"},
    }
    return order | fields


async def fill(node: Node) -> None:
    """Bring jobs and drivers into every state through the public contract."""
    shop = Shop(node.url, make_token("shop", "orders"), MARKET)
    operator = Shop(node.url, make_token("operator", "operator"), MARKET)
    apps: list[App] = []

    async def driver(name: str) -> App:
        app = App(node.socket_url, make_token(name, "driver", market=MARKET), name, "json")
        apps.append(app)
        await app.online(*AT_MALL, vehicle=CAR)
        return app

    async def accepted(name: str, *steps: str) -> tuple[App, dict[str, Any]]:
        """A job that a new driver accepted and reported these steps of."""
        app = await driver(f"driver-{name}")
        await shop.submit(body(name))
        (job,) = await app.accept(await app.expect("offer", timeout_s=10))
        for step in steps:
            await app.step(job, step)
        return app, job

    await accepted("assigned")
    await accepted("at_mall", "at_mall")
    await accepted("picked_up", "at_mall", "picked_up")
    await accepted("returning", "at_mall", "picked_up", "returning")
    await accepted("delivered", "at_mall", "picked_up", "delivered")
    await apps[-1].must("status", state="offline")
    _, lost = await accepted("lost", "picked_up")
    answer = await operator.http.post(
        f"/v1/jobs/{lost['job']}/close", json={"state": "lost", "reason": "van stolen"}
    )
    assert answer.status_code == 200, answer.text
    await apps[-1].must("status", state="offline")

    decliner = await driver("driver-cooling-down")
    cancelled = await shop.submit(body("cancelled"))
    offer = await decliner.expect("offer", timeout_s=10)
    await decliner.must("decline", offer=offer["offer"], reason="too far")
    await shop.cancel(cancelled["id"])

    suspended = await driver("driver-suspended")
    answer = await operator.http.post(
        f"/v1/markets/{MARKET}/drivers/driver-suspended/suspend", json={"reason": "papers"}
    )
    assert answer.status_code == 200, answer.text
    await suspended.expect("state", why="suspended")

    await driver("driver-offered")
    await shop.submit(body("offered"))
    await apps[-1].expect("offer", timeout_s=10)

    queued = await shop.submit(body("queued", requires=["forklift"]))
    await considered(shop, queued["id"])
    later = {"store": STORE, "ready_at": "2095-05-01T12:00:00Z", "pickup_code": "7731"}
    await shop.submit(
        body("scheduled", pickup={"mall": MALL, "stores": [later], "window_end": LATER})
    )
    short = soon(seconds=2)
    expired = await shop.submit(
        body("expired", requires=["forklift"], dropoff={**DOOR, "deadline": short})
        | {"pickup": {"mall": MALL, "stores": [{"store": STORE}], "window_end": short}}
    )

    async def has_expired() -> bool:
        return await shop.state(expired["id"]) == "expired"

    await eventually(has_expired)


def dump(client: Any) -> dict[str, Any]:
    """Every key with its type, its values in base64 and its TTL."""
    seconds, microseconds = client.time()
    keys: dict[str, Any] = {}
    for key in sorted(client.scan_iter(count=1_000)):
        kind = client.type(key).decode()
        keys[key.decode()] = {
            "type": kind,
            "ttl_ms": client.pttl(key),
            "values": _READ[kind](client, key),
        }
    return {"captured_ms": seconds * 1_000 + microseconds // 1_000, "keys": keys}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


_READ: dict[str, Any] = {
    "string": lambda client, key: _text(client.get(key)),
    "hash": lambda client, key: {k.decode(): _text(v) for k, v in client.hgetall(key).items()},
    "set": lambda client, key: sorted(_text(member) for member in client.smembers(key)),
    "list": lambda client, key: [_text(item) for item in client.lrange(key, 0, -1)],
    "zset": lambda client, key: [
        [_text(member), score] for member, score in client.zrange(key, 0, -1, withscores=True)
    ],
    "stream": lambda client, key: [
        [entry.decode(), {k.decode(): _text(v) for k, v in fields.items()}]
        for entry, fields in client.xrange(key)
    ],
}


def main(out: Path) -> None:
    """Run a node on its own server, fill it, kill it, and write its Redis to `out`."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(persistent=False) as server:
        node = start_node(
            Path(folder),
            server.url,
            MALLARD_OFFER_TIMEOUT_MS="600000",
            MALLARD_OFFER_ACK_TIMEOUT_MS="600000",
            MALLARD_RESUME_TTL_S="600",
            MALLARD_COOLDOWN_S="600",
        )
        try:
            asyncio.run(fill(node))
        finally:
            node.stop()
        with redis.Redis.from_url(server.url) as client:
            captured = dump(client)
    out.write_text(json.dumps(captured, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
