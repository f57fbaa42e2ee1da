"""Calls of endpoints of webhooks, and looks at what waits for them."""

from typing import Any

import httpx2
import redis.asyncio

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.support import eventually

TAG = "mallard:{/webhooks}:"


async def call(
    node: RunningNode,
    method: str,
    path: str = "",
    *,
    sub: str = "shop",
    role: Role = Role.ORDERS,
    **more: Any,
) -> httpx2.Response:
    headers = node.bearer(sub, role)
    return await node.http.request(method, f"/v1/webhooks{path}", headers=headers, **more)


async def create(
    node: RunningNode,
    url: str,
    *,
    sub: str = "shop",
    role: Role = Role.ORDERS,
    types: tuple[str, ...] = (),
    **fields: Any,
) -> dict[str, Any]:
    """Store an endpoint, and wait until a node works on it."""
    body = {"url": url, "types": types, **fields}
    response = await node.http.post("/v1/webhooks", json=body, headers=node.bearer(sub, role))
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def read(node: RunningNode, name: str, sub: str = "shop") -> dict[str, Any]:
    response = await node.http.get(f"/v1/webhooks/{name}", headers=node.bearer(sub, Role.ORDERS))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def disabled(node: RunningNode, name: str, timeout_s: float = 20.0) -> dict[str, Any]:
    """Wait until the endpoint is disabled, and return it."""

    async def found() -> dict[str, Any] | None:
        seen = await read(node, name)
        return seen if seen["state"] == "disabled" else None

    seen: dict[str, Any] | None = await eventually(found, timeout_s)
    assert seen is not None
    return seen


async def deliveries(node: RunningNode, name: str, **params: Any) -> list[dict[str, Any]]:
    response = await node.http.get(
        f"/v1/webhooks/{name}/deliveries", params=params, headers=node.bearer("shop", Role.ORDERS)
    )
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def make_due(url: str, name: str) -> None:
    """Let all deliveries that wait fall due now."""
    async with redis.asyncio.Redis.from_url(url) as client:
        key = f"{TAG}queue:{name}"
        members: Any = await client.zrange(key, 0, -1)
        if members:
            await client.zadd(key, dict.fromkeys(members, 1.0), xx=True)
