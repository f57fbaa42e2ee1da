"""The handshake, the first frame, and invalid frames."""

import asyncio
from typing import Any

import jwt
import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from mallard_engine.gateway.socket.timers import SocketTimeouts
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, DriverApp, open_app
from tests.support import eventually


async def status_of(node: RunningNode, path: str = "", **headers: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with open_app(node.ws + path, headers=headers):
            pass
    return refused.value.response.status_code


async def test_bad_handshakes_are_refused_before_the_upgrade(engine_node: NodeFactory) -> None:
    node = await engine_node(allowed_origins="https://app.example")
    for origin in ("https://evil.example", "null", "https://app.example.evil.example", ""):
        assert await status_of(node, Origin=origin) == 403
    async with open_app(node.ws, node.token("d1"), headers={"Origin": "https://app.example"}) as ok:
        await ok.hello()


async def test_two_origins_and_query_strings_are_refused(node: RunningNode) -> None:
    async def answer(path: str, *extra: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
        head = [
            f"GET {path} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
            *extra,
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        line = (await reader.readline()).decode()
        writer.close()
        return line.split()[1]

    assert await answer("/v1/driver") == "101"
    assert await answer("/v1/driver?token=x") == "400"
    assert await answer("/v1/driver?") in {"101", "400"}
    assert await answer("/v1/driver", "Origin: https://a", "Origin: https://a") == "403"
    assert await answer("/v1/%64river") == "101"
    assert await answer("/v1/nowhere") == "404"


@pytest.mark.parametrize("subprotocol", [None, "mallard.v2.json"])
async def test_no_common_subprotocol_closes_with_4506(
    node: RunningNode, subprotocol: str | None
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        assert await driver.closed() == 4506


def forged(node: RunningNode, **claims: Any) -> str:
    fields = {
        "sub": "d1",
        "role": "driver",
        "market": "phoenix",
        "aud": "mallard",
        "exp": 4_000_000_000,
    }
    return jwt.encode(fields | claims, "s" * 32, "HS256")


async def close_code(node: RunningNode, token: str, *, in_hello: bool) -> int:
    async with open_app(node.ws, None if in_hello else token) as driver:
        if in_hello:  # otherwise closed at once, before any hello
            await driver.send("hello", token=token)
        return await driver.closed()


@pytest.mark.parametrize("in_hello", [False, True])
async def test_bad_tokens_close_with_their_code(node: RunningNode, in_hello: bool) -> None:
    good = forged(node)
    codes = {
        "nonsense": 4501,
        good[:-6] + "AAAAAA": 4501,
        forged(node, aud="other"): 4501,
        forged(node, exp=1): 4005,
        node.token("shop", Role.ORDERS): 4503,
        forged(node, market="atlantis"): 4503,
    }
    for token, code in codes.items():
        assert await close_code(node, token, in_hello=in_hello) == code
    async with open_app(node.ws, None if in_hello else good) as driver:
        await driver.hello(**({"token": good} if in_hello else {}))


async def test_hello_without_a_token_closes_with_4501(node: RunningNode) -> None:
    async with open_app(node.ws) as driver:
        await driver.send("hello")
        assert await driver.closed() == 4501
    async with open_app(node.ws, headers={"Authorization": "Basic eDp5"}) as driver:
        assert await driver.closed() == 4501


async def test_missing_hello_closes_with_4008(engine_node: NodeFactory) -> None:
    node = await engine_node(SocketTimeouts(hello_within_s=0.1))
    async with open_app(node.ws, node.token("d1")) as driver:
        assert await driver.closed() == 4008


@pytest.mark.parametrize(
    "first",
    [
        {"type": "pong"},
        {"type": "status", "id": 1, "state": "available"},
        {"type": "status"},
        {"type": "no-such-type"},
        {"hello": 1},
    ],
)
async def test_first_frame_must_be_hello(node: RunningNode, first: dict[str, Any]) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.socket.send(msgpack.packb(first))
        assert await driver.closed() == 4500


@pytest.mark.parametrize(
    "frame",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 500,
        b"\x81\xa4type\xc7\x01\x05a",
        msgpack.packb({"type": "pong"}) + b"\x00",
        msgpack.packb([1]),
        b"",
        '{"type": "pong"}',
    ],
)
async def test_undecodable_binary_frame_closes_with_4500(
    node: RunningNode, frame: bytes | str
) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        await driver.socket.send(frame)
        assert await driver.closed() == 4500


@pytest.mark.parametrize(
    "text", ['{"type":"pong","type":"pong"}', '{"type":NaN}', "[" * 2000, "{", "9" * 5000]
)
async def test_undecodable_text_frame_closes_with_4500(node: RunningNode, text: str) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=JSON) as driver:
        await driver.hello()
        await driver.socket.send(text)
        assert await driver.closed() == 4500


@pytest.mark.parametrize("subprotocol", [MSGPACK, JSON])
async def test_frame_over_16_kib_closes_with_1009(node: RunningNode, subprotocol: str) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        await driver.hello()
        await driver.send("pong", padding="x" * 16_384)
        assert await driver.closed() == 1009


async def test_invalid_frames_get_an_error_and_the_socket_stays(
    node: RunningNode,
) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        assert (await driver.ask("fly"))["code"] == "unknown_type"
        refused = await driver.ask("status", state="asleep")
        assert (refused["code"], refused["retry"]) == ("bad_field", False)
        assert (await driver.ask("accept"))["code"] == "bad_field"
        assert (await driver.ask("accept", offer="a b"))["code"] == "bad_field"
        assert (await driver.ask("accept", offer="none"))["code"] == "not_yours"
        await driver.send("hello")
        assert (await driver.receive("error"))["code"] == "wrong_state"
        # Unknown fields are ignored.
        assert (await driver.ask("status", state="paused", mood="good"))["state"] == "paused"


async def test_auth_renews_the_token(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        fresh = await driver.ask("auth", token=node.token("d1", ttl_s=7200))
        assert (fresh["type"], fresh["state"]) == ("reply", "available")
        assert (await driver.ask("auth", token="nonsense"))["code"] == "bad_field"
        await driver.send("auth", id=9, token=node.token("somebody-else"))
        assert await driver.closed() == 4503


async def test_expired_token_closes_with_4005(engine_node: NodeFactory) -> None:
    node = await engine_node(SocketTimeouts(expiry_notice_s=3600))
    async with open_app(node.ws, node.token("d1", ttl_s=3)) as driver:
        welcome = await driver.hello()
        notice = await driver.receive("auth_expiring")
        assert notice["at_ms"] == welcome["token_expires_ms"]
        assert await driver.closed() == 4005


async def test_silent_app_is_pinged_and_then_closed(engine_node: NodeFactory) -> None:
    # It may be silent for twice as long: longer than a busy machine stops the test's process.
    node = await engine_node(SocketTimeouts(ping_ms=1_200))
    async with open_app(node.ws, node.token("d1")) as driver:
        assert (await driver.hello())["ping_ms"] == 1_200
        for _ in range(2):
            await driver.receive("ping")
            await driver.send("pong")
        assert await driver.closed() == 4003
        assert len(await driver.received("ping")) >= 1


async def test_too_many_frames_close_with_4004(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello()
        for _ in range(190):
            await driver.send("pong")
        assert (await driver.receive("error"))["code"] == "rate_limited"
        assert (await driver.ask("status", state="paused"))["type"] == "reply"
        for _ in range(20):
            await driver.send("pong")
        assert await driver.closed() == 4004


async def test_equipment_is_limited_by_the_token(node: RunningNode) -> None:
    async def offered(driver: DriverApp) -> bool:
        await driver.go_online(
            position=NEAR, vehicle={"kind": "van", "equipment": ["id_check", "cold_box"]}
        )
        job = await node.submit(requires=["cold_box"])

        async def was_considered() -> bool:
            round_ = await node.node.store.offers.last_round(job["id"])
            return round_ is not None or (await node.job(job["id"]))["state"] == "offered"

        await eventually(was_considered)
        is_offered: bool = (await node.job(job["id"]))["state"] == "offered"
        await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
        return is_offered

    async with open_app(node.ws, node.token("d1", equipment=["id_check"])) as driver:
        assert not await offered(driver)
