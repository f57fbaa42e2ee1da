"""A hello with invalid fields: which end the socket, and which are ignored and reported."""

from typing import Any

import msgpack
import pytest

from load_tests.attacks.payloads import hostile_frames
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, open_app

WRONG: dict[str, Any] = {
    "position": {"lat": 91, "lon": 0},
    "vehicle": {"max_jobs": 0},
    "holds": [{"job": "a job", "attempt": 1, "state": "assigned"}],
    "app": "the app",
    "device": {"kind": "pigeon"},
    "now_ms": "now",
}


@pytest.mark.finding("C18")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
@pytest.mark.parametrize("field", WRONG)
async def test_invalid_optional_field_is_ignored_and_reported(
    node: RunningNode, field: str, spoken: str
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=spoken) as app:
        welcome = await app.hello(**({"position": NEAR} | {field: WRONG[field]}))
        received = await app.receive("state")
        assert received["why"] == ("fixes_rejected" if field == "position" else "bad_field")
        assert received["seq"] == welcome["seq"] + 1
        assert await app.received("state") == []
        if field == "position":
            assert (await app.ask("status", state="available"))["code"] == "no_position"
        else:
            assert (await app.ask("status", state="available"))["state"] == "available"


@pytest.mark.finding("C18")
async def test_valid_entries_of_holds_are_kept(node: RunningNode) -> None:
    job = await node.submit()
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR)
        offer = await app.receive("offer")
        assert (await app.ask("accept", offer=offer["offer"]))["type"] == "reply"
    held = {"job": job["id"], "attempt": offer["attempt"], "state": "picked_up"}
    async with open_app(node.ws, node.token("d1")) as app:
        welcome = await app.hello(holds=[{"job": 7}, held])
        assert [(each["job"], each["state"]) for each in welcome["jobs"]] == [
            (job["id"], "picked_up")
        ]
        assert (await app.receive("state"))["why"] == "bad_field"


@pytest.mark.finding("A6")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"token": 1}, 4501),
        ({"token": ""}, 4501),
        ({"token": "nonsense"}, 4501),
        ({}, 4501),
        ({"token": 1, "x": [{}] * 2_000}, 4500),
    ],
)
async def test_one_wrong_hello_ends_the_socket(
    node: RunningNode, spoken: str, fields: dict[str, Any], code: int
) -> None:
    async with open_app(node.ws, subprotocol=spoken) as app:
        await app.send("hello", **fields)
        assert await app.closed() == code


@pytest.mark.finding("A6")
@pytest.mark.parametrize("first", [{"type": "pong"}, {"type": "nonsense"}, {"type": 1}, {}])
async def test_first_frame_other_than_hello_ends_the_socket(
    node: RunningNode, first: dict[str, Any]
) -> None:
    async with open_app(node.ws) as app:
        await app.socket.send(msgpack.packb(first))
        assert await app.closed() == 4500


@pytest.mark.finding("A6")
async def test_no_frame_is_read_after_a_hostile_one(node: RunningNode) -> None:
    for attack in hostile_frames():
        spoken = MSGPACK if isinstance(attack.frame, bytes) else JSON
        async with open_app(node.ws, subprotocol=spoken) as app:
            await app.socket.send(attack.frame)
            assert await app.closed() in {4500, 4501, 1009}, attack.name


@pytest.mark.finding("C8")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
async def test_device_is_stored_until_another_replaces_it(node: RunningNode, spoken: str) -> None:
    async def device_after(**hello: Any) -> tuple[str, str]:
        async with open_app(node.ws, node.token("d1"), subprotocol=spoken) as app:
            await app.hello(**hello)
            snapshot = await node.node.store.drivers.snapshot(PHOENIX, "d1")
            assert snapshot.driver.device is not None
            return snapshot.driver.device.kind, snapshot.driver.device.token

    longest = "t" * 4_096
    assert await device_after(device={"kind": "fcm", "token": "first"}) == ("fcm", "first")
    assert await device_after() == ("fcm", "first")
    assert await device_after(device={"kind": "fcm", "token": longest + "t"}) == ("fcm", "first")
    assert await device_after(device={"kind": "apns", "token": longest}) == ("apns", longest)


@pytest.mark.finding("C8")
async def test_device_is_not_shown_or_logged(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR, device={"kind": "webpush", "token": "wake-me"})
        job = await node.submit()
        offer = await app.receive("offer")
        assert (await app.ask("accept", offer=offer["offer"]))["type"] == "reply"
        shop = node.bearer("shop", Role.ORDERS)
        seen = await node.http.get(f"/v1/jobs/{job['id']}", headers=shop)
        assert seen.json()["driver"] is not None
        assert "wake-me" not in seen.text
        assert "wake-me" not in repr(await node.node.store.drivers.snapshot(PHOENIX, "d1"))
