"""Endpoints that the engine has disabled are dead letters, which operators retry."""

import asyncio
from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.webhooks.receiver import Receiver, always, answer
from tests.engine.gateway.webhooks.support import create, disabled, read
from tests.support import eventually

LETTERS = "/v1/dead-letters"


async def letters(node: RunningNode, **params: str) -> list[dict[str, Any]]:
    response = await node.http.get(
        LETTERS, params=params, headers=node.bearer("ops", Role.OPERATOR)
    )
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_disabled_endpoint_is_a_dead_letter_and_retried(
    node: RunningNode, receiver: Receiver
) -> None:
    receiver.reply = always(answer(410))
    made = await create(node, receiver.url, markets=["phoenix"])
    job = await node.submit()
    await disabled(node, made["id"])
    (letter,) = await letters(node)
    assert letter["kind"] == "webhook"
    assert (letter["webhook"], letter["service"]) == (made["id"], "shop")
    assert (letter["error"], letter["market"]) == ("gone", "phoenix")
    assert await letters(node, market="las-vegas") == []
    receiver.reply = always(answer(204))
    assert await node.order(f"{LETTERS}/{letter['id']}/retry") == letter
    assert await letters(node) == []
    first, again = (await receiver.hears(2))[:2]
    assert first.id == again.id
    assert again.event["job"] == job["id"]

    async def settled() -> bool:
        return not (await read(node, made["id"]))["waiting"]

    await eventually(settled)


async def test_endpoint_that_an_operator_enabled_outlives_an_earlier_revocation(
    engine_node: NodeFactory, node: RunningNode, receiver: Receiver
) -> None:
    receiver.reply = always(answer(410))
    made = await create(node, receiver.url, types=("job.created",))
    await node.submit()
    await disabled(node, made["id"])
    await node.order("/v1/tokens/revoke", sub="shop", role="orders")
    await asyncio.sleep(0.005)  # a later token is later by a millisecond
    (letter,) = await letters(node)
    receiver.reply = always(answer(204))
    await node.order(f"{LETTERS}/{letter['id']}/retry")
    await engine_node()  # reads the revocation at its start
    assert (await read(node, made["id"]))["state"] == "enabled"


@pytest.mark.parametrize("state", ["enabled", "disabled"])
async def test_endpoint_that_its_owner_disabled_is_none(node: RunningNode, state: str) -> None:
    made = await create(node, "https://8.8.8.8/")
    await node.http.patch(
        f"/v1/webhooks/{made['id']}",
        json={"state": state},
        headers=node.bearer("shop", Role.ORDERS),
    )
    assert await letters(node) == []
    response = await node.http.post(
        f"{LETTERS}/dead_phoenix.{made['id']}/retry", headers=node.bearer("ops", Role.OPERATOR)
    )
    assert response.status_code == 404
