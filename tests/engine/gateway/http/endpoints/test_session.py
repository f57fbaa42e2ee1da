"""One-time codes: exchanged once, for five minutes, and of no use to who reads the store."""

import asyncio
import base64
from typing import Any

import httpx2
import pytest
import redis

from mallard_engine.gateway.auth.sign_in import keep_token, take_token
from mallard_protocol.codes import Role
from mallard_protocol.session import SIGN_IN_CODE_MS
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.http_support import pointers, problem

EXCHANGE = "/v1/session/exchange"
UNKNOWN = "A" * 24


async def exchange(node: RunningNode, body: Any) -> httpx2.Response:
    return await node.http.post(EXCHANGE, json=body)


async def code_for(node: RunningNode, token: str) -> str:
    return await keep_token(node.node.store.sign_in_codes, token)


async def test_code_gives_its_token_once(node: RunningNode) -> None:
    token = node.token("ops", Role.OPERATOR)
    code = await code_for(node, token)
    answer = await exchange(node, {"code": code})
    assert answer.status_code == 200
    assert answer.json()["token"] == token
    assert answer.json()["expires_at"].endswith("Z")
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert (await node.http.get("/v1/markets", headers=headers)).status_code == 200
    problem(await exchange(node, {"code": code}), 404, "not_found")


async def test_of_many_with_one_code_one_gets_the_token(node: RunningNode) -> None:
    code = await code_for(node, node.token("ops", Role.OPERATOR))
    answers = await asyncio.gather(*(exchange(node, {"code": code}) for _ in range(8)))
    assert sorted(it.status_code for it in answers) == [200] + [404] * 7


async def test_code_of_one_node_is_valid_on_another(engine_node: NodeFactory) -> None:
    one, other = await engine_node(), await engine_node()
    code = await code_for(one, one.token("ops", Role.OPERATOR))
    assert (await exchange(other, {"code": code})).status_code == 200


async def test_code_ends_after_five_minutes(node: RunningNode, redis_url: str) -> None:
    code = await code_for(node, node.token("ops", Role.OPERATOR))
    with redis.Redis.from_url(redis_url) as store:
        (key,) = store.keys("mallard:code:*")
        assert SIGN_IN_CODE_MS - 60_000 < store.pttl(key) <= SIGN_IN_CODE_MS == 300_000
        store.pexpire(key, 1)
        await asyncio.sleep(0.01)
    problem(await exchange(node, {"code": code}), 404, "not_found")


async def test_store_tells_neither_code_nor_token(node: RunningNode, redis_url: str) -> None:
    token = node.token("ops", Role.OPERATOR)
    code = await code_for(node, token)
    with redis.Redis.from_url(redis_url) as store:
        (key,) = store.keys("mallard:code:*")
        value = store.get(key)
        assert isinstance(value, bytes)
        for secret in (code.encode(), base64.urlsafe_b64decode(code), *token.encode().split(b".")):
            assert secret not in key + value
        # Another's seal under a known name opens nothing.
        store.set(key, bytes(len(value)))
    assert await take_token(node.node.store.sign_in_codes, code) is None


async def test_code_of_an_expired_or_revoked_token_is_unknown(node: RunningNode) -> None:
    old = await code_for(node, node.token("ops", Role.OPERATOR, ttl_s=-5))
    problem(await exchange(node, {"code": old}), 404, "not_found")
    code = await code_for(node, node.token("ann", Role.OPERATOR))
    await node.order("/v1/tokens/revoke", sub="ann", role="operator")
    problem(await exchange(node, {"code": code}), 404, "not_found")


async def test_unknown_code_is_not_found(node: RunningNode) -> None:
    problem(await exchange(node, {"code": UNKNOWN}), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/code"),
        ({"code": None}, "/code"),
        ({"code": 7}, "/code"),
        ({"code": ""}, "/code"),
        ({"code": "A" * 23}, "/code"),
        ({"code": "A" * 25}, "/code"),
        ({"code": "A" * 23 + "/"}, "/code"),
        ({"code": "A" * 24 + "\n"}, "/code"),
        ({"code": UNKNOWN, "role": "operator"}, "/role"),
        ([], ""),
        ("code", ""),
    ],
)
async def test_invalid_body_is_refused(node: RunningNode, body: Any, pointer: str) -> None:
    assert pointers(await exchange(node, body)) == [pointer]


async def test_code_is_taken_from_a_json_body_only(node: RunningNode) -> None:
    code = await code_for(node, node.token("ops", Role.OPERATOR))
    # What a form of another site can send without asking first.
    form = await node.http.post(EXCHANGE, data={"code": code})
    problem(form, 415, "unsupported_media_type")
    text = {"Content-Type": "text/plain"}
    problem(
        await node.http.post(EXCHANGE, content=f'{{"code": "{code}"}}', headers=text),
        *(415, "unsupported_media_type"),
    )
    problem(await node.http.get(f"{EXCHANGE}?code={code}"), 405, "method_not_allowed")
    problem(await node.http.post(EXCHANGE, content=b"{"), 400, "malformed_json")
    assert (await exchange(node, {"code": code})).status_code == 200


async def test_guesses_are_limited_by_address(engine_node: NodeFactory) -> None:
    node = await engine_node(address_rate_per_s=0.001, address_burst=3)
    statuses = [(await exchange(node, {"code": UNKNOWN})).status_code for _ in range(5)]
    assert statuses == [404, 404, 404, 429, 429]
