"""Endpoints of webhooks whose owners' tokens are revoked."""

import asyncio
from typing import Any

import pytest

from mallard_engine.gateway.http.endpoints.webhooks.api import WebhooksApi
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.webhooks.support import call, create, read
from tests.support import eventually

URL = "https://8.8.8.8/hook"


async def test_revoked_tokens_disable_the_services_endpoints(node: RunningNode) -> None:
    made, other = await create(node, URL), await create(node, URL, sub="other")
    await node.order("/v1/tokens/revoke", sub="shop", role="orders")

    async def reason() -> str | None:
        response = await call(node, "GET", f"/{made['id']}", sub="ops", role=Role.OPERATOR)
        found: str | None = response.json().get("disabled_reason")
        return found

    assert await eventually(reason) == "revoked"
    assert (await read(node, other["id"], sub="other"))["state"] == "enabled"


async def test_revoked_tokens_of_an_operator_disable_its_endpoints(node: RunningNode) -> None:
    ops: dict[str, Any] = {"sub": "anna", "role": Role.OPERATOR}
    types = ("job.created",)  # which does not come: nothing is sent
    made = await create(node, URL, types=types, **ops)
    other = await create(node, URL, types=types, sub="anna")
    await node.order("/v1/tokens/revoke", sub="anna", role="operator")
    await asyncio.sleep(0.005)  # a later token is later by a millisecond
    found = (await call(node, "GET", f"/{made['id']}", **ops)).json()
    assert found["disabled_reason"] == "revoked"
    assert (await read(node, other["id"], sub="anna"))["state"] == "enabled"


async def test_revoked_token_changes_nothing_through_a_node_that_learns_of_it_late(
    engine_node: NodeFactory, node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = await engine_node()
    types = ("job.created",)  # as above
    changed, rotated = [await create(node, URL, types=types) for _ in range(2)]
    stolen = node.bearer("shop", Role.ORDERS)
    await asyncio.sleep(0.005)  # a later token is later by a millisecond
    with monkeypatch.context() as patch:
        patch.setattr(late.node.revoked, "refresh", _nothing)
        await node.order("/v1/tokens/revoke", sub="shop", role="orders")

        async def ask(method: str, path: str = "", **body: Any) -> dict[str, Any]:
            response = await late.http.request(
                method, f"/v1/webhooks{path}", headers=stolen, json=body
            )
            assert response.is_success, response.text
            found: dict[str, Any] = response.json()
            return found

        made = await ask("POST", url=URL, types=types)
        elsewhere = {"url": "https://9.9.9.9/hook", "state": "enabled"}
        assert (await ask("PATCH", f"/{changed['id']}", **elsewhere))["state"] == "enabled"
        await ask("PATCH", f"/{rotated['id']}", state="enabled")
        await ask("POST", f"/{rotated['id']}/rotate")
    await late.node.revoked.refresh()
    for each in (made, changed, rotated):
        found = await read(node, each["id"])
        assert (found["state"], found["disabled_reason"]) == ("disabled", "revoked"), each


async def _nothing() -> None: ...


async def test_token_that_is_revoked_during_its_request_enables_nothing(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = WebhooksApi._check

    async def revoked_meanwhile(self: WebhooksApi, *args: Any) -> None:
        await check(self, *args)
        await asyncio.sleep(0.005)  # a later token is later by a millisecond
        await node.node.revoked.revoke("shop", Role.ORDERS, "")

    monkeypatch.setattr(WebhooksApi, "_check", revoked_meanwhile)
    made = await create(node, URL, types=("job.created",))
    assert made["disabled_reason"] == "revoked"
    changed = await call(node, "PATCH", f"/{made['id']}", json={"state": "enabled"})
    assert changed.json()["disabled_reason"] == "revoked"


async def test_revoked_endpoint_is_enabled_with_a_later_token(
    engine_node: NodeFactory, node: RunningNode
) -> None:
    made = await create(node, URL)
    await node.order("/v1/tokens/revoke", sub="shop", role="orders")
    await asyncio.sleep(0.005)  # a later token is later by a millisecond
    assert (await read(node, made["id"]))["disabled_reason"] == "revoked"
    enabled = await call(node, "PATCH", f"/{made['id']}", json={"state": "enabled"})
    assert enabled.json()["state"] == "enabled"
    # A node that reads the revocation at its start does not disable it again.
    await engine_node()
    assert (await read(node, made["id"]))["state"] == "enabled"


async def test_endpoints_are_disabled_though_the_revoking_node_died(
    engine_node: NodeFactory, node: RunningNode
) -> None:
    """The revocation was stored, and no more; what is enabled later is left alone."""
    made = await create(node, URL)
    await node.node.store.revocations.revoke("shop", "orders", "")

    async def state(name: str) -> str:
        response = await call(node, "GET", f"/{name}", sub="ops", role=Role.OPERATOR)
        found: str = response.json()["state"]
        return found

    async def is_disabled() -> bool:
        return await state(made["id"]) == "disabled"

    await eventually(is_disabled)
    await asyncio.sleep(0.005)  # a later token is later by a millisecond
    later = await create(node, URL)
    await engine_node()  # reads the revocation at its start
    assert await state(later["id"]) == "enabled"
