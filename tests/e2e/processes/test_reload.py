"""SIGHUP on a `mallard serve` whose files have been edited."""

import re
import signal
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from tests.e2e.conftest import NewApp, NewShop, Node, make_token
from tests.e2e.places import read_place
from tests.e2e.shop import considered
from tests.support import eventually

pytestmark = pytest.mark.finding("D15", "D9")

NARROW = "[policy]\nmax_radius_m = 1000\ninitial_radius_m = 500\nretry_s = 600\n"
WIDE = "[policy]\nmax_radius_m = 25000\noffer_timeout_ms = 9000\n"
SHOP = '  { id = "kiosk", name = "Kiosk", gate = "north", floor = 1, walk_s = 60 },\n'


async def test_valid_files_are_reloaded_and_broken_ones_refused(
    start: Callable[..., Node], new_app: NewApp, new_shop: NewShop, tmp_path: Path
) -> None:
    config, folder = tmp_path / "mallard.toml", tmp_path / "places"
    folder.mkdir()
    phoenix = folder / "phoenix.toml"
    shipped = (resources.files("mallard_engine") / "places" / "phoenix.toml").read_text(
        encoding="utf-8"
    )
    phoenix.write_text(shipped, encoding="utf-8")
    head = f'places = "{folder}"\n'
    config.write_text(head + NARROW)
    node = start(embedded=True, MALLARD_CONFIG=str(config), MALLARD_OFFER_TIMEOUT_MS="")
    (log,) = (tmp_path / "node0").glob("node-*.log")

    async def hang_up(says: str) -> None:
        logged = log.read_text().count(says)
        node.process.send_signal(signal.SIGHUP)
        await eventually(lambda: log.read_text().count(says) == logged + 1)

    app, shop = new_app(on=node), new_shop(on=node)
    place = read_place(node.url, make_token("places", "orders"), "phoenix")
    await app.online(*place.north(6_000))
    job = await shop.submit(place.order())
    await considered(shop, job["id"])
    assert (await shop.explain(job["id"]))["radius_m"] <= 1_000

    for broken in ("[policy]\nmax_radius_m = -1\n", "[policy]\nmax_radius = 9\n", "[policy\n"):
        config.write_text(head + broken)
        await hang_up("configuration refused")
    config.write_text(head + WIDE)
    phoenix.write_text(shipped.replace('gate = "north"', 'gate = "yard"', 1), encoding="utf-8")
    await hang_up("configuration refused")
    assert app.waiting("offer") == []
    assert (await shop.explain(job["id"]))["radius_m"] <= 1_000
    assert (await shop.http.get("/v1/markets/phoenix")).status_code == 200

    # A store more at the mall of this test, and a policy that finds the driver.
    mall = shipped.index(f'id = "{place.mall}"')
    stores = shipped.index("stores = [", mall) + len("stores = [\n")
    phoenix.write_text(shipped[:stores] + SHOP + shipped[stores:], encoding="utf-8")
    await hang_up("configuration reloaded")
    offer = await app.expect("offer")
    assert offer["expires_ms"] - offer["server_time_ms"] < 12_000
    assert (await shop.explain(job["id"]))["radius_m"] > 1_000
    order = place.order()
    order["pickup"]["stores"][0]["store"] = "kiosk"
    assert (await shop.submit(order))["state"] in {"queued", "scheduled"}
    said = log.read_text()
    assert "Traceback" not in said
    assert len(re.findall("configuration refused", said)) == 4
