"""Revoked tokens: refused on every node, and their sockets closed."""

import asyncio
import time
from collections.abc import Collection
from typing import Any

import httpx2
import msgspec
import pytest

from mallard_engine.ports import Revocation, StoreUnavailable
from mallard_protocol.codes import Close, Role
from tests.engine.gateway.conftest import NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, pointers, problem
from tests.support import GUARD_S, Standstill, eventually

REVOKE = "/v1/tokens/revoke"
# The contract: in force everywhere within 5 s.
WITHIN_S = 5.0


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def read(node: RunningNode, token: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return await node.http.get("/v1/markets", headers=headers)


async def revoke(node: RunningNode, **body: Any) -> None:
    await node.order(REVOKE, **body)
    await asyncio.sleep(0.005)  # a later token is later by a millisecond


async def test_revoked_token_is_refused_and_a_later_one_works(node: RunningNode) -> None:
    old, other = node.token("shop", Role.ORDERS), node.token("bakery", Role.ORDERS)
    assert (await read(node, old)).status_code == 200
    await revoke(node, sub="shop", role="orders")
    problem(await read(node, old), 401, "unauthorized")
    assert (await read(node, other)).status_code == 200
    assert (await read(node, node.token("shop", Role.OPERATOR))).status_code == 200
    later = node.token("shop", Role.ORDERS)
    assert (await read(node, later)).status_code == 200


async def test_answer_names_what_is_refused(operator: Caller) -> None:
    answer = await operator.post(REVOKE, {"sub": "d-1", "role": "driver", "market": PHOENIX})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["sub"], body["role"], body["market"]) == ("d-1", "driver", PHOENIX)
    assert body["revoked_before"].endswith("Z")
    again = await operator.post(REVOKE, {"sub": "d-1", "role": "driver"})
    assert "market" not in again.json()
    assert again.json()["revoked_before"] >= body["revoked_before"]


async def test_token_without_iat_is_old(node: RunningNode) -> None:
    tokens = node.node.tokens
    claims = {"sub": "shop", "role": "orders", "aud": "mallard", "exp": int(time.time()) + 60}

    token = tokens._jws.encode(msgspec.json.encode(claims), tokens._keys.secrets[0], "HS256")
    assert (await read(node, token)).status_code == 200
    await revoke(node, sub="shop", role="orders")
    problem(await read(node, token), 401, "unauthorized")


async def test_revocation_reaches_every_node_and_closes_its_sockets(
    engine_node: NodeFactory, standstill: Standstill
) -> None:
    nodes = [await engine_node() for _ in range(4)]
    one, *others = nodes
    tokens = [it.token("shop", Role.ORDERS) for it in nodes]
    for it, token in zip(nodes, tokens, strict=True):
        assert (await read(it, token)).status_code == 200
    async with (
        open_app(others[-1].ws, one.token("d-1")) as driver,
        open_app(others[0].ws, one.token("d-2")) as kept,
    ):
        await driver.hello(position=NEAR)
        await kept.hello(position=NEAR)
        started = time.monotonic()
        await revoke(one, sub="shop", role="orders")
        await revoke(one, sub="d-1", role="driver", market=PHOENIX)
        assert await driver.closed() == Close.BAD_TOKEN
        assert time.monotonic() - started < WITHIN_S + standstill.ms / 1000

        async def is_refused_everywhere() -> bool:
            answers = [await read(it, tokens[0]) for it in nodes]
            return all(answer.status_code == 401 for answer in answers)

        await eventually(is_refused_everywhere)
        assert time.monotonic() - started < WITHIN_S + standstill.ms / 1000
        assert (await kept.ask("status", state="paused"))["type"] == "reply"
        async with open_app(others[-1].ws, one.token("d-1")) as again:
            assert (await again.hello(position=NEAR))["type"] == "welcome"


async def test_revoked_token_opens_no_socket(node: RunningNode) -> None:
    old = node.token("d-1")
    async with open_app(node.ws, old) as early:
        await revoke(node, sub="d-1", role="driver")
        await early.send("hello", position=NEAR)
        assert await early.closed() == Close.BAD_TOKEN
    async with open_app(node.ws, None) as late:
        await late.send("hello", token=old, position=NEAR)
        assert await late.closed() == Close.BAD_TOKEN


async def test_revocation_survives_a_restart(engine_node: NodeFactory) -> None:
    one = await engine_node()
    old = one.token("shop", Role.ORDERS)
    await revoke(one, sub="shop", role="orders")
    other = await engine_node()
    problem(await read(other, old), 401, "unauthorized")


async def test_revocation_for_one_market_spares_the_others(node: RunningNode) -> None:
    here, there = node.token("d-1"), node.token("d-1", market="las-vegas")
    everywhere = node.token("ops2", Role.OPERATOR)
    bounded = node.token("ops2", Role.OPERATOR, markets=["las-vegas"])
    await revoke(node, sub="d-1", role="driver", market=PHOENIX)
    await revoke(node, sub="ops2", role="operator", market=PHOENIX)
    state = "/v1/driver/state"
    headers = {"Authorization": f"Bearer {here}"}
    problem(await node.http.get(state, headers=headers), 401, "unauthorized")
    headers = {"Authorization": f"Bearer {there}"}
    problem(await node.http.get(state, headers=headers), 404, "not_found")
    problem(await read(node, everywhere), 401, "unauthorized")
    assert (await read(node, bounded)).status_code == 200


class Hook:
    """The calls of a node's hook; the first `fails` calls fail."""

    def __init__(self, node: RunningNode, fails: int = 0) -> None:
        self.received: list[tuple[str, str]] = []
        self._fails = fails
        node.node.revoked.on_subjects.append(self)

    async def __call__(self, revocations: Collection[Revocation]) -> None:
        if self._fails:
            self._fails -= 1
            raise StoreUnavailable("away")
        self.received += [(it.sub, it.market) for it in revocations]


async def test_every_nodes_hook_runs_once_for_a_revoked_subject(
    engine_node: NodeFactory,
) -> None:
    one, other = await engine_node(), await engine_node()
    hooks = Hook(one), Hook(other)
    await revoke(one, sub="shop", role="orders", market=PHOENIX)
    await revoke(one, sub="bakery", role="orders")
    await revoke(one, sub="anna", role="operator")
    expected = [("shop", PHOENIX), ("bakery", ""), ("anna", "")]
    assert hooks[0].received == expected
    await eventually(lambda: sorted(hooks[1].received) == sorted(expected))


async def test_hook_that_failed_is_called_again(node: RunningNode) -> None:
    hook = Hook(node, fails=2)
    # As if the node that was asked to had died after that.
    await node.node.store.revocations.revoke("shop", "orders", "")
    await eventually(lambda: hook.received == [("shop", "")])


async def test_wrong_field_of_a_revocation_is_refused(operator: Caller) -> None:
    good = {"sub": "shop", "role": "orders"}
    for body, pointer in (
        ({"role": "orders"}, "/sub"),
        ({"sub": "shop"}, "/role"),
        (good | {"sub": ""}, "/sub"),
        (good | {"sub": "a b"}, "/sub"),
        (good | {"sub": 5}, "/sub"),
        (good | {"role": "admin"}, "/role"),
        (good | {"role": None}, "/role"),
        (good | {"market": "atlantis"}, "/market"),
        (good | {"market": 7}, "/market"),
        (good | {"until": 7}, "/until"),
    ):
        assert pointers(await operator.post(REVOKE, body)) == [pointer], body
    problem(await operator.post(REVOKE, None), 400, "malformed_json")
    problem(await Caller(operator.node).post(REVOKE, good), 403, "forbidden")


async def test_streams_of_revoked_tokens_end_on_every_node(
    engine_node: NodeFactory, standstill: Standstill
) -> None:
    one, other = await engine_node(), await engine_node()
    headers = [{"Authorization": f"Bearer {one.token(sub, Role.ORDERS)}"} for sub in ("a", "b")]
    path = f"/v1/events?market={PHOENIX}"

    async def ends(response: httpx2.Response) -> None:
        async for _ in response.aiter_bytes():
            pass

    async with (
        other.http.stream("GET", path, headers=headers[0]) as revoked,
        other.http.stream("GET", path, headers=headers[1]) as kept,
    ):
        assert (revoked.status_code, kept.status_code) == (200, 200)
        started = time.monotonic()
        await revoke(one, sub="a", role="orders")
        await ends(revoked)
        assert time.monotonic() - started < WITHIN_S + standstill.ms / 1000
        assert len(other.node.streams) == 1
        other.node.streams.end_all()
        await asyncio.wait_for(ends(kept), GUARD_S)
