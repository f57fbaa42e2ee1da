"""The driver socket: admission, decoding and close codes."""

import time
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp, Node, make_token
from tests.e2e.places import Place
from tests.e2e.shop import http_client


async def close_code_of(app: App, *data: str | bytes) -> int | None:
    """Send frames as they are and return the code that the socket is closed with."""
    await app.open()
    for frame in data:
        await app.socket.send(frame)
    return await app.close_code()


def packed(**frame: Any) -> bytes:
    return bytes(msgpack.packb(frame))


async def test_token_is_accepted_in_hello_or_header(new_app: NewApp, encoding: str) -> None:
    app = new_app(encoding)
    await app.hello()
    await app.close()
    await app.open(headers={"Authorization": f"Bearer {app.token}"})
    await app.send("hello", now_ms=now_ms(), app={"name": "plain", "version": "1"})
    welcome = await app.expect("welcome")
    assert welcome["driver"] == app.driver
    assert abs(welcome["token_expires_ms"] - (time.time() + 3600) * 1000) < 60_000


async def test_missing_token_closes_the_socket(new_app: NewApp) -> None:
    app = new_app()
    assert await close_code_of(app, packed(type="hello")) == 4501


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "someone-else"},
        {"aud": None},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"market": None},
    ],
    ids=str,
)
async def test_invalid_token_closes_the_socket(new_app: NewApp, claims: dict[str, Any]) -> None:
    app = new_app(**claims)
    assert await close_code_of(app, packed(type="hello", token=app.token)) == 4501


async def test_expired_token_closes_the_socket(new_app: NewApp) -> None:
    app = new_app(exp=1_600_000_000)
    assert await close_code_of(app, packed(type="hello", token=app.token)) == 4005


async def test_token_without_a_subject_closes_the_socket(new_app: NewApp) -> None:
    app = new_app()
    forged = str(app.token)[:-4] + "AAAA"
    for token in (forged, "x.y.z", "nonsense"):
        code = await close_code_of(app, packed(type="hello", token=token))
        assert (token, code) == (token, 4501), app.frames


@pytest.mark.parametrize(
    "claims",
    [{"role": "orders"}, {"role": "operator"}, {"market": "atlantis"}],
    ids=str,
)
async def test_wrong_role_or_market_closes_the_socket(
    new_app: NewApp, claims: dict[str, Any]
) -> None:
    app = new_app()
    app.token = make_token(app.driver, **({"role": "driver", "market": "phoenix"} | claims))
    assert await close_code_of(app, packed(type="hello", token=app.token)) == 4503


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1",
        b"",
        b"\xdd\xff\xff\xff\xff",
        b"\x93\x01\x02\x03",
        packed(type="hello") + b"\x00",
        b"\x81" * 60 + b"\xa1a",
        "a text frame on the subprotocol of binary ones",
        packed(type="pong"),
        packed(type="status", id=1, state="available"),
        packed(no="type"),
    ],
    ids=repr,
)
async def test_first_frame_must_be_hello(new_app: NewApp, frame: str | bytes) -> None:
    assert await close_code_of(new_app(), frame) == 4500


async def test_undecodable_frame_closes_the_socket(new_app: NewApp, encoding: str) -> None:
    app = new_app(encoding)
    await app.hello()
    await app.socket.send('{"type": "pong"' if encoding == "json" else b"\xc1")
    assert await app.close_code() == 4500


@pytest.mark.parametrize(
    "frame",
    ['{"type":"pong","a":NaN}', "[" * 2000, '{"type":"pong","type":"pong"}', "null", b"\x80"],
    ids=lambda frame: repr(frame)[:30],
)
async def test_hostile_json_closes_the_socket(new_app: NewApp, frame: str | bytes) -> None:
    app = new_app("json")
    await app.hello()
    await app.socket.send(frame)
    assert await app.close_code() == 4500


async def test_too_big_frame_closes_the_socket(new_app: NewApp, encoding: str) -> None:
    app = new_app(encoding)
    await app.hello()
    await app.send("problem", id=1, kind="unsafe", text="x" * 20_000)
    assert await app.close_code() == 1009


async def test_no_common_subprotocol_closes_the_socket(node: Node, new_app: NewApp) -> None:
    for offered in (None, [Subprotocol("mallard.v9.xml")]):
        async with connect(
            f"{node.socket_url}/v1/driver", subprotocols=offered, proxy=None
        ) as socket:
            await socket.wait_closed()
            assert socket.close_code == 4506


@pytest.mark.parametrize("query", ["?token=abc", "?x=1"])
async def test_query_string_is_refused(new_app: NewApp, query: str) -> None:
    app = new_app()
    with pytest.raises(InvalidStatus) as refusal:
        await app.open(path=f"/v1/driver{query}")
    assert refusal.value.response.status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil"])
async def test_foreign_origin_is_refused(new_app: NewApp, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await new_app().open(headers={"Origin": origin})
    assert refusal.value.response.status_code == 403


async def test_newer_hello_replaces_the_older_socket(new_app: NewApp, place: Place) -> None:
    older = new_app()
    newer = new_app("json", driver=older.driver)
    await older.online(*place.gate)
    welcome = await newer.hello()
    assert welcome["state"] == "available"
    assert await older.close_code() == 4507
    assert (await newer.must("status", state="paused"))["state"] == "paused"


async def test_same_id_in_another_market_is_another_driver(new_app: NewApp) -> None:
    here = new_app()
    there = new_app(driver=here.driver, market="las-vegas")
    await here.hello()
    assert (await there.hello())["market"] == "las-vegas"
    assert (await here.ask("status", state="offline"))["type"] == "reply"


async def test_unknown_fields_are_ignored(new_app: NewApp, place: Place, encoding: str) -> None:
    app = new_app(encoding)
    await app.hello(shoe_size=44, app={"name": "x", "version": "1", "dark_mode": True})
    await app.send("pong", mood="good")
    await app.move(*place.gate)
    reply = await app.must("status", state="available", because={"of": ["reasons"]})
    assert reply["state"] == "available"


async def test_invalid_frame_gets_an_error_and_the_socket_stays(
    new_app: NewApp, encoding: str
) -> None:
    app = new_app(encoding)
    await app.hello()
    answer = await app.ask("dance")
    assert (answer["type"], answer["code"]) == ("error", "unknown_type")
    assert answer["retry"] is False
    for kind, fields in (
        ("accept", {}),
        ("accept", {"offer": 7}),
        ("accept", {"offer": "an id with spaces"}),
        ("accept", {"offer": "x" * 65}),
        ("decline", {"offer": None}),
        ("progress", {"job": "job_phoenix.1", "attempt": "one", "step": "at_mall"}),
        ("progress", {"job": "job_phoenix.1", "attempt": 1, "step": "flying"}),
        ("progress", {"job": "job_phoenix.1", "attempt": 1}),
        ("progress", {"job": "job_phoenix.1", "attempt": -1, "step": "at_mall"}),
        ("problem", {"kind": None}),
        ("auth", {}),
    ):
        answer = await app.ask(kind, **fields)
        assert (answer["type"], answer["code"]) == ("error", "bad_field"), (kind, fields, answer)
    assert (await app.must("status", state="offline"))["state"] == "offline"


async def test_request_without_an_id_is_refused(new_app: NewApp) -> None:
    app = new_app()
    await app.hello()
    await app.send("status", state="offline")
    error = await app.expect("error")
    assert (error["id"], error["code"]) == (None, "bad_field")
    await app.send("status", id="one", state="offline")
    error = await app.expect("error")
    assert (error["id"], error["code"]) == (None, "bad_field")


async def test_second_hello_leaves_the_socket_usable(new_app: NewApp) -> None:
    app = new_app()
    await app.hello()
    await app.send("hello", token=app.token)
    assert (await app.must("status", state="offline"))["state"] == "offline"


async def test_invalid_optional_fields_of_hello_are_ignored(new_app: NewApp) -> None:
    app = new_app()
    await app.hello(vehicle={"kind": "car", "max_jobs": "many"})
    assert (await app.expect("state"))["why"] == "bad_field"


async def test_auth_accepts_a_new_token(new_app: NewApp) -> None:
    app = new_app(exp=time.time() + 600)
    await app.hello()
    fresh = make_token(app.driver, "driver", market="phoenix")
    assert (await app.must("auth", token=fresh))["type"] == "reply"
    other_token = make_token("somebody-else", "driver", market="phoenix")
    await app.send("auth", id=99, token=other_token)
    assert await app.close_code() == 4503


async def test_plain_http_on_the_socket_path_is_refused(node: Node) -> None:
    async with http_client(node.url) as http:
        assert (await http.get("/v1/driver")).status_code in {400, 404, 405, 426}
