"""`mallard serve` and `mallard token` as the contract describes them."""

import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import jwt
import pytest

from tests import commands
from tests.e2e.conftest import POLICY, SECRET, NewApp, NewShop, Node, start_node
from tests.e2e.places import Place
from tests.e2e.shop import assert_problem

Start = Callable[..., Node]


def mallard(*args: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    return commands.run(*args, env=inherited | settings)


def test_tokens_are_printed_one_per_line(tmp_path: Path) -> None:
    done = mallard(
        "token",
        "driver",
        "ann",
        "bob",
        "--market",
        "phoenix",
        "--data",
        str(tmp_path),
        MALLARD_SECRET=SECRET,
    )
    assert done.returncode == 0, done.stderr
    tokens = [
        jwt.decode(line, SECRET, ["HS256"], audience="mallard") for line in done.stdout.split()
    ]
    assert [token["sub"] for token in tokens] == ["ann", "bob"]
    assert {(token["role"], token["market"]) for token in tokens} == {("driver", "phoenix")}
    done = mallard("token", "orders", "lego", "--data", str(tmp_path), MALLARD_SECRET=SECRET)
    (line,) = done.stdout.split()
    claims = jwt.decode(line, SECRET, ["HS256"], audience="mallard")
    assert (claims["sub"], claims["role"]) == ("lego", "orders")


def test_usage_and_configuration_errors_exit_2(tmp_path: Path) -> None:
    for args, settings in (
        (["serve", "--no-such-flag"], {}),
        (["serve", "--data", str(tmp_path)], {"MALLARD_NO_SUCH_KEY": "1"}),
        (["serve", "--data", str(tmp_path)], {"MALLARD_OFFER_TIMEOUT_MS": "-1"}),
    ):
        done = mallard(*args, **settings)
        assert done.returncode == 2, (args, settings, done)
        assert done.stderr
        assert "Traceback" not in done.stderr


def test_generated_secret_is_allowed_on_loopback_only(tmp_path: Path) -> None:
    done = mallard("serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path))
    assert done.returncode == 2, done
    node = start_node(tmp_path, None, MALLARD_SECRET="")
    made = mallard("token", "operator", "me", "--data", str(tmp_path))
    node.stop()
    assert made.returncode == 0, made.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and "secret" in path.name]
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o600]


@pytest.mark.slow
async def test_restart_keeps_all_data(
    tmp_path: Path, new_app: NewApp, new_shop: NewShop, place: Place
) -> None:
    node = start_node(tmp_path, None)
    try:
        shop = new_shop(on=node)
        job = await shop.submit(place.order())
        second = mallard("serve", "--port", "0", "--data", str(tmp_path), **POLICY)
        assert second.returncode == 2
        assert str(tmp_path) in second.stderr
    finally:
        node.stop()
    node = start_node(tmp_path, None)
    try:
        app = new_app(on=node)
        await app.online(*place.gate)
        (held,) = await app.accept(await app.expect("offer"))
        assert held["job"] == job["id"]
    finally:
        node.stop()


async def test_closed_mall_refuses_orders(start: Start, new_shop: NewShop, place: Place) -> None:
    shop = new_shop(on=start(embedded=True, MALLARD_OPENING_HOURS="on"))
    night = datetime.now(ZoneInfo("America/Phoenix")).replace(hour=4) + timedelta(days=2)
    body = place.order()
    body["pickup"]["stores"][0]["ready_at"] = night.isoformat()
    body["pickup"]["window_end"] = (night + timedelta(hours=1)).isoformat()
    body["dropoff"]["deadline"] = (night + timedelta(hours=2)).isoformat()
    assert_problem(await shop.post(body), 422, "mall_closed")
    # In the afternoon it is open; without a window it may be collected until its deadline.
    noon = night.replace(hour=13)
    body["pickup"]["stores"][0]["ready_at"] = noon.isoformat()
    del body["pickup"]["window_end"]
    body["dropoff"]["deadline"] = (noon + timedelta(hours=20)).isoformat()
    job = await shop.submit(body)
    assert job["state"] == "scheduled"
    expires = datetime.fromisoformat(job["expires_at"])
    assert abs(expires - (noon + timedelta(hours=20))) < timedelta(seconds=1)


async def test_stale_position_excludes_from_matching(
    start: Start, new_app: NewApp, new_shop: NewShop, place: Place
) -> None:
    node = start(embedded=True, MALLARD_STALE_AFTER_S="3")
    app, shop = new_app(on=node), new_shop(on=node)
    await app.online(*place.gate)
    update = await app.expect("state", why="stale")
    assert update["state"] == "available"
    job = await shop.submit(place.order())
    await app.settled()
    assert await shop.state(job["id"]) == "queued"
    assert await app.refused("status", state="available") == "no_position"
    # The next position brings it back, and the job with it.
    await app.move(*place.gate)
    assert (await app.expect("offer"))["jobs"][0]["job"] == job["id"]
