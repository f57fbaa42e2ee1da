"""A driver's status: available, paused or offline, and until when."""

import pytest

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp
from tests.e2e.places import Place
from tests.e2e.shop import Shop, considered


async def not_asked(app: App, shop: Shop, place: Place) -> None:
    job = await shop.submit(place.order())
    await considered(shop, job["id"])
    await app.settled()
    assert app.waiting("offer") == []
    await shop.cancel(job["id"])


async def test_driver_is_offline_until_status(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    welcome = await app.hello()
    assert welcome["state"] == "offline"
    await app.move(*place.gate)
    await not_asked(app, shop, place)


async def test_available_needs_a_position(new_app: NewApp, encoding: str, place: Place) -> None:
    app = new_app(encoding)
    await app.hello()
    answer = await app.ask("status", state="available")
    assert (answer["type"], answer["code"]) == ("error", "no_position")
    # A fix sent before the status counts, however they are batched.
    await app.move(*place.gate)
    assert (await app.must("status", state="available"))["state"] == "available"


async def test_position_in_hello_is_enough(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    lat, lon = place.gate
    await app.hello(position={"lat": lat, "lon": lon, "acc_m": 8.0, "at_ms": now_ms()})
    assert (await app.must("status", state="available"))["state"] == "available"
    await shop.submit(place.order())
    await app.accept(await app.expect("offer"))


async def test_position_outside_every_market_is_not_enough(new_app: NewApp) -> None:
    app = new_app()
    await app.hello()
    await app.move(48.2, 16.37)
    assert await app.refused("status", state="available") == "no_position"


async def test_paused_driver_gets_no_offers(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    assert (await app.must("status", state="paused"))["state"] == "paused"
    await not_asked(app, shop, place)
    job = await shop.submit(place.order())
    await app.must("status", state="available")
    offer = await app.expect("offer")
    assert offer["jobs"][0]["job"] == job["id"]


async def test_offline_with_jobs_is_refused(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    assert await app.refused("status", state="offline") == "holds_jobs"
    # Nothing changed: it is available again after its last job.
    await app.step(held, "picked_up")
    assert (await app.step(held, "delivered"))["state"] == "available"
    assert (await app.must("status", state="offline"))["state"] == "offline"


async def test_paused_with_jobs_keeps_them(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    await app.must("status", state="paused")
    await not_asked(app, shop, place)
    await app.step(held, "picked_up")
    assert (await app.step(held, "delivered"))["state"] == "paused"


async def test_offline_declines_a_live_offer(new_app: NewApp, shop: Shop, place: Place) -> None:
    near, far = new_app(), new_app()
    await near.online(*place.gate)
    await far.online(*place.north(1_000))
    job = await shop.submit(place.order())
    offer = await near.expect("offer")
    assert (await near.must("status", state="offline"))["state"] == "offline"
    await far.accept(await far.expect("offer"))
    assert await shop.outcomes(job["id"]) == ["declined", "accepted"]
    assert await near.refused("accept", offer=offer["offer"]) == "offer_closed"


async def test_job_beyond_the_block_is_not_offered(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.hello()
    await app.move(*place.gate)
    await app.must("status", state="available", until_ms=now_ms() + 20_000)
    await not_asked(app, shop, place)
    job = await shop.submit(place.order())
    await app.must("status", state="available", until_ms=now_ms() + 3_600_000)
    assert (await app.expect("offer"))["jobs"][0]["job"] == job["id"]


async def test_driver_goes_offline_when_the_block_ends(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    until_ms = now_ms() + 1_000
    await app.must("status", state="available", until_ms=until_ms)
    update = await app.expect("state")
    assert update["state"] == "offline"
    assert now_ms() >= until_ms - 20
    await not_asked(app, shop, place)
    assert await app.refused("status", state="available", until_ms=until_ms) == "bad_field"


@pytest.mark.parametrize(
    "fields",
    [{"state": "sleepy"}, {"state": 3}, {}, {"state": "available", "until_ms": "tomorrow"}],
)
async def test_invalid_status_is_refused(
    new_app: NewApp, place: Place, fields: dict[str, object]
) -> None:
    app = new_app()
    await app.online(*place.gate)
    answer = await app.ask("status", **fields)
    assert (answer["type"], answer["code"]) == ("error", "bad_field")
    assert (await app.must("status", state="paused"))["state"] == "paused"


async def test_impossible_fixes_are_dropped_and_reported(new_app: NewApp, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    # Kilometres apart within milliseconds, so never accepted.
    for turn in range(1, 12):
        await app.move(*place.north(2_000.0 * turn * (-1) ** turn), at_ms=now_ms() + turn)
        await app.must("status", state="available")
    update = await app.expect("state", why="fixes_rejected")
    assert update["state"] == "available"


async def test_bad_old_and_future_fixes_are_dropped(
    new_app: NewApp, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    lat, lon = place.north(50)
    await app.send("location", fixes=[[now_ms() + 60_000, lat, lon, 5.0, None, None]])
    await app.send("location", fixes=[[now_ms() - 60_000, lat, lon, 5.0, None, None]])
    await app.send("location", fixes=[[now_ms(), 91.0, lon, 5.0, None, None]])
    await app.must("status", state="available")
    gate = ",".join(map(str, place.gate))
    response = await operator.http.get(
        "/v1/markets/phoenix/drivers", params={"near": gate, "radius_m": 500}
    )
    (shown,) = [item for item in response.json()["items"] if item["driver"] == app.driver]
    assert abs(shown["lat"] - place.gate[0]) < 1e-5


async def test_at_most_a_hundred_fixes_are_accepted(new_app: NewApp, place: Place) -> None:
    app = new_app()
    await app.hello()
    lat, lon = place.gate
    start = now_ms() - 100_000
    fixes = [[start + index * 1000, lat, lon, 5, 90, 3.5] for index in range(101)]
    await app.send("location", fixes=fixes)
    assert (await app.expect("error"))["code"] == "bad_field"
    await app.send("location", fixes=[])
    assert (await app.expect("error"))["code"] == "bad_field"
    await app.send("location", fixes=fixes[1:], now_ms=now_ms())
    assert (await app.must("status", state="available"))["state"] == "available"
