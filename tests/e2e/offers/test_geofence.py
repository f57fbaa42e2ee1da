"""Arrival is detected by the geofence."""

from tests.e2e.app import now_ms
from tests.e2e.conftest import NewApp
from tests.e2e.places import Place
from tests.e2e.shop import Shop


async def test_position_at_the_mall_reports_the_arrival(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.hello()
    # Half a minute ago it was 1.5 km away: 50 m/s since is fast, but possible.
    await app.move(*place.north(1_500), at_ms=now_ms() - 30_000)
    await app.must("status", state="available")
    job = await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    assert held["state"] == "assigned"
    await app.move(*place.gate)
    update = await app.expect("job", job=job["id"])
    assert (update["state"], update["attempt"]) == ("at_mall", held["attempt"])
    assert await shop.state(job["id"]) == "at_mall"
    assert (await app.step(held, "picked_up"))["job_state"] == "picked_up"
