"""Positions as real apps send them: over the socket, in hello and over HTTP."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, DriverApp, open_app
from tests.support import eventually

LAT, LON = NEAR["lat"], NEAR["lon"]
# The fields after the position: accuracy, heading, speed.
ODDITIES: dict[str, list[Any]] = {
    "all unknown": [65, -1, -1],
    "accuracy negative": [-1.0, None, None],
    "accuracy nil": [None, None, None],
    "accuracy far too large": [1e308, 0.0, 0.0],
    "heading unknown": [5.0, -1.0, 3.0],
    "heading of a full circle": [5.0, 360.0, 3.0],
    "heading beyond": [5.0, 360.1, 3.0],
    "minus zero": [-0.0, -0.0, -0.0],
    "speed unknown": [5.0, 90.0, -1],
    "speed too high": [5.0, 90.0, 1e308],
    "texts": ["5", "90", "3"],
    "truth values": [True, False, True],
    "nothing behind the place": [],
    "no speed": [5.0, 90.0],
    "one too many": [5.0, 90.0, 3.0, "gps"],
}
# JSON cannot express these.
NOT_FINITE: dict[str, list[Any]] = {
    "nan": [math.nan, math.nan, math.nan],
    "infinite": [math.inf, math.inf, -math.inf],
}
MALFORMED: dict[str, Any] = {
    "latitude 91": [None, 91.0, LON, 5.0, None, None],
    "latitude a text": [None, str(LAT), LON, 5.0, None, None],
    "latitude nil": [None, None, LON, 5.0, None, None],
    "longitude true": [None, LAT, True, 5.0, None, None],
    "time a text": ["now", LAT, LON, 5.0, None, None],
    "time negative": [-1, LAT, LON, 5.0, None, None],
    "time beyond": [1e300, LAT, LON, 5.0, None, None],
    "no longitude": [None, LAT],
    "a map": {"lat": LAT, "lon": LON},
    "nothing": None,
}


def now_ms(node: RunningNode) -> int:
    return node.node.store.now_ms()


async def may_work(app: DriverApp) -> bool:
    """Whether the driver's position is good enough to be available."""
    answer = await app.ask("status", state="available")
    assert answer["type"] == "reply" or answer["code"] == "no_position"
    return bool(answer["type"] == "reply")


async def post(node: RunningNode, driver: str, fixes: Sequence[Any]) -> dict[str, Any]:
    response = await node.http.post(
        "/v1/driver/locations",
        json={"fixes": fixes},
        headers=node.bearer(driver, Role.DRIVER),
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.finding("C2")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
async def test_valid_position_is_never_lost_over_the_socket(node: RunningNode, spoken: str) -> None:
    oddities = ODDITIES | (NOT_FINITE if spoken == MSGPACK else {})
    for number, (name, rest) in enumerate(oddities.items()):
        driver = f"{spoken}-{number}"
        async with open_app(node.ws, node.token(driver), subprotocol=spoken) as app:
            await app.hello()
            assert not await may_work(app)
            await app.send("location", fixes=[[now_ms(node) + 0.906, LAT, LON, *rest]])
            assert await may_work(app), name


@pytest.mark.finding("C2")
async def test_valid_position_is_never_lost_over_http(node: RunningNode) -> None:
    for number, (name, rest) in enumerate(ODDITIES.items()):
        async with open_app(node.ws, node.token(f"d{number}")) as app:
            await app.hello()
            answer = await post(node, f"d{number}", [[now_ms(node) + 0.906, LAT, LON, *rest]])
            assert answer == {"accepted": 1, "dropped": 0, "reasons": []}, name
            assert await may_work(app)


@pytest.mark.finding("C2")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
async def test_malformed_fixes_over_the_socket_are_reported(node: RunningNode, spoken: str) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=spoken) as app:
        await app.hello()
        for fix in MALFORMED.values():
            if isinstance(fix, list) and fix[0] is None:
                fix[0] = now_ms(node)
            await app.send("location", fixes=[fix])
            assert not await may_work(app), fix  # and hands the fix on
        received = await app.receive("state")
        assert received["why"] == "fixes_rejected"
        assert await app.received("state") == []
    malformed = 'mallard_location_fixes_total{result="malformed"}'
    assert await node.metric(malformed) == len(MALFORMED)


@pytest.mark.finding("C2")
async def test_http_reports_why_each_fix_was_dropped(node: RunningNode) -> None:
    now = now_ms(node)
    rest = (5.0, None, None)
    far = LAT + 0.2  # some 22 km: inside the market, but not within a second
    fixes = [
        [now - 2_000, far, LON, *rest],
        [now + 60_000, LAT, LON, *rest],
        [now - 3_000, LAT, LON, *rest],
        {"lat": LAT, "lon": LON},
        [now - 86_400_000, LAT, LON, *rest],
        [now - 1_000, 0.0, 0.0, *rest],
        [now - 500, LAT, LON, *rest],
    ]
    unknown = await post(node, "d1", fixes)
    assert {each["why"] for each in unknown["reasons"]} == {"unknown", "malformed", "outside"}
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello()
        answer = await post(node, "d1", fixes)
        assert (answer["accepted"], answer["dropped"]) == (2, 5)
        assert [(each["fix"], each["why"]) for each in answer["reasons"]] == [
            (0, "impossible"),
            (1, "future"),
            (3, "malformed"),
            (4, "old"),
            (5, "outside"),
        ]
        assert await may_work(app)


@pytest.mark.finding("C4")
async def test_day_old_position_does_not_make_a_driver_available(node: RunningNode) -> None:
    old = now_ms(node) - 86_400_000
    fix = [old, LAT, LON, 5.0, None, None]
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello(position={**NEAR, "at_ms": old})
        assert not await may_work(app)
        await app.send("location", fixes=[fix])
        assert not await may_work(app)
        answer = await post(node, "d1", [fix, [old + 5_000, *fix[1:]]])
        assert {each["why"] for each in answer["reasons"]} == {"old"}
        assert not await may_work(app)
        await app.send("location", fixes=[[now_ms(node), *fix[1:]]])
        assert await may_work(app)


@pytest.mark.finding("C5")
@pytest.mark.parametrize("way", ["one frame", "several frames", "http"])
async def test_newest_of_unordered_fixes_is_the_position(node: RunningNode, way: str) -> None:
    now = now_ms(node)
    # More than are stored per driver, newest first: the older ones are dropped.
    agos = (0, 5_000, 3_000, 1_000, 4_000, 2_000)
    fixes = [[now - ago, LAT + (ago - 3_000) * 1e-7, LON, 5.0] for ago in agos]
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello()
        if way == "http":
            assert (await post(node, "d1", fixes))["accepted"] == len(fixes)
        elif way == "one frame":
            await app.send("location", fixes=fixes)
        else:
            for fix in fixes:
                await app.send("location", fixes=[fix])

        async def placed() -> bool:
            driver = (await node.node.store.drivers.snapshot("phoenix", "d1")).driver
            return driver.position is not None and driver.position.at_ms == now

        await eventually(placed)
