"""Operators: see drivers, move jobs, suspend; and positions over HTTP as a fallback."""

from typing import Any

import httpx2

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp, Node
from tests.e2e.contract import DRIVER_STATES, assert_resource, epoch_ms, number
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop, assert_problem, considered, http_client


async def act(operator: Shop, job: str, verb: str, **body: Any) -> Json:
    response = await operator.http.post(f"/v1/jobs/{job}/{verb}", json=body)
    assert response.status_code == 200, response.text
    resource: Json = response.json()
    assert_resource(resource, "Job")
    return resource


async def on_driver(operator: Shop, driver: str, verb: str, **body: Any) -> httpx2.Response:
    return await operator.http.post(f"/v1/markets/phoenix/drivers/{driver}/{verb}", json=body)


async def near(operator: Shop, lat: float, lon: float, radius_m: int) -> dict[str, Json]:
    response = await operator.http.get(
        "/v1/markets/phoenix/drivers", params={"near": f"{lat},{lon}", "radius_m": radius_m}
    )
    assert response.status_code == 200, response.text
    items = response.json()["items"]
    for item in items:
        assert item.keys() >= {"driver", "state", "lat", "lon", "at_ms", "jobs"}
        assert item["state"] in DRIVER_STATES
        assert number(item["lat"])
        assert epoch_ms(item["at_ms"])
    return {item["driver"]: item for item in items}


async def test_drivers_are_listed_near_a_point(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    busy, idle, paused = new_app(), new_app(), new_app()
    await busy.online(*place.gate)
    job = await shop.submit(place.order())
    await busy.accept(await busy.expect("offer"))
    await idle.online(*place.north(1_000))
    await paused.online(*place.north(200))
    await paused.must("status", state="paused")
    shown = await near(operator, *place.gate, 500)
    assert idle.driver not in shown
    assert shown[paused.driver]["state"] == "paused"
    assert shown[busy.driver]["state"] == "on_run"
    assert job["id"] in str(shown[busy.driver]["jobs"])
    wider = await near(operator, *place.gate, 1_500)
    assert wider[idle.driver]["state"] == "available"
    assert abs(wider[idle.driver]["lat"] - place.north(1_000)[0]) < 1e-4


async def test_invalid_point_is_refused(operator: Shop) -> None:
    for params in (
        {"near": "91,0"},
        {"near": "nan,0"},
        {"near": "here"},
        {"near": "33.3,-111.9", "radius_m": "-1"},
        {"near": "33.3,-111.9", "radius_m": "inf"},
    ):
        response = await operator.http.get("/v1/markets/phoenix/drivers", params=params)
        assert response.status_code in {400, 422}, params
        assert_problem(response, response.status_code)


async def test_operator_assigns_a_job(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    await app.must("status", state="paused")
    job = await shop.submit(place.order())
    assigned = await act(operator, job["id"], "assign", driver=app.driver)
    assert assigned["state"] == "assigned"
    assert assigned["attempt"] > job["attempt"]
    update = await app.expect("job", job=job["id"])
    assert (update["state"], update["attempt"]) == ("assigned", assigned["attempt"])
    await app.step({"job": job["id"], "attempt": update["attempt"]}, "picked_up")
    await app.step({"job": job["id"], "attempt": update["attempt"]}, "delivered")


async def test_assign_takes_the_job_from_its_holder(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    holder, asked, chosen = new_app(), new_app(), new_app()
    await holder.online(*place.gate)
    job = await shop.submit(place.order())
    (held,) = await holder.accept(await holder.expect("offer"))
    await chosen.online(*place.north(500))
    assigned = await act(operator, job["id"], "assign", driver=chosen.driver)
    assert assigned["attempt"] > held["attempt"]
    await holder.expect("job", job=job["id"])
    refusal = await holder.refused(
        "progress", job=job["id"], attempt=held["attempt"], step="at_mall"
    )
    assert refusal in {"not_yours", "stale_attempt"}
    update = await chosen.expect("job", job=job["id"])
    await chosen.step({"job": job["id"], "attempt": update["attempt"]}, "at_mall")

    # Also from an offer, which is closed.
    await chosen.step({"job": job["id"], "attempt": update["attempt"]}, "picked_up")
    await chosen.step({"job": job["id"], "attempt": update["attempt"]}, "delivered")
    await holder.close()
    await chosen.must("status", state="paused")
    await asked.online(*place.north(100))
    job = await shop.submit(place.order())
    offer = await asked.expect("offer")
    await act(operator, job["id"], "assign", driver=chosen.driver)
    closed = await asked.expect("offer_closed", offer=offer["offer"])
    assert closed["why"] in {"taken", "withdrawn"}
    assert await asked.refused("accept", offer=offer["offer"]) == "offer_closed"


async def test_assign_to_an_unknown_driver_is_refused(
    shop: Shop, operator: Shop, place: Place
) -> None:
    job = await shop.submit(place.order())
    response = await operator.http.post(
        f"/v1/jobs/{job['id']}/assign", json={"driver": "driver-who-never-was"}
    )
    assert response.status_code in {404, 409, 422}
    assert_problem(response, response.status_code)
    assert await shop.state(job["id"]) == "queued"


async def test_unassigned_driver_gets_no_further_offer(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    back = await act(operator, job["id"], "unassign", reason="rebalancing")
    assert back["state"] == "queued"
    update = await app.expect("job", job=job["id"])
    assert update["state"] == "queued"
    assert update["attempt"] >= held["attempt"]
    assert (await shop.outcomes(job["id"]))[-1] == "unassigned"
    other = await shop.submit(place.order())
    offer = await app.expect("offer")
    assert offer["jobs"][0]["job"] == other["id"]
    response = await operator.http.post(f"/v1/jobs/{job['id']}/unassign", json={"reason": "x"})
    assert_problem(response, 409, "wrong_state")


async def test_operator_closes_a_job_on_board(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    for state in ("lost", "returned", "delivered"):
        job = await shop.submit(place.order())
        path = f"/v1/jobs/{job['id']}/close"
        too_early = await operator.http.post(path, json={"state": state, "reason": "x"})
        assert_problem(too_early, 409, "wrong_state")
        (held,) = await app.accept(await app.expect("offer"))
        await app.step(held, "picked_up")
        closed = await act(operator, job["id"], "close", state=state, reason="found by a dog")
        assert (closed["state"], closed["terminal"]) == (state, True)
        update = await app.expect("job", job=job["id"])
        assert update["state"] == state
    response = await operator.http.post(path, json={"state": "queued", "reason": "x"})
    assert_problem(response, 422)


async def test_suspended_driver_gets_offers_once_resumed(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    assert (await on_driver(operator, app.driver, "suspend", reason="audit")).is_success
    update = await app.expect("state")
    assert update["why"] == "suspended"
    job = await shop.submit(place.order())
    await considered(shop, job["id"])
    await app.settled()
    assert app.waiting("offer") == []
    assert (await on_driver(operator, app.driver, "resume")).is_success
    assert (await app.expect("state"))["why"] == "resumed"
    assert (await app.expect("offer"))["jobs"][0]["job"] == job["id"]


async def test_suspension_withdraws_an_offer_and_keeps_jobs(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    await on_driver(operator, app.driver, "suspend", reason="audit")
    await app.expect("state", why="suspended")
    # It may finish its jobs.
    await app.step(held, "picked_up")
    await app.step(held, "delivered")
    await app.vanish()
    await app.hello()
    await app.move(*place.gate)
    job = await shop.submit(place.order())
    await app.ask("status", state="available")
    await app.settled()
    assert app.waiting("offer") == []
    assert await shop.state(job["id"]) == "queued"


async def test_suspend_of_an_unknown_driver_is_404(operator: Shop) -> None:
    assert_problem(await on_driver(operator, "never-was", "suspend", reason="x"), 404)
    response = await operator.http.post(
        "/v1/markets/atlantis/drivers/x/suspend", json={"reason": "x"}
    )
    assert_problem(response, 404)


async def post_fixes(node: Node, app: App, fixes: list[Any]) -> httpx2.Response:
    async with http_client(node.url, app.token) as http:
        return await http.post("/v1/driver/locations", json={"fixes": fixes})


async def test_positions_over_http_are_stored(
    node: Node, new_app: NewApp, operator: Shop, place: Place
) -> None:
    app = new_app()
    await app.hello()
    lat, lon = place.north(60)
    response = await post_fixes(node, app, [[now_ms(), lat, lon, 5.0, None, None]])
    assert response.is_success, response.text
    assert (await app.must("status", state="available"))["state"] == "available"
    assert app.driver in await near(operator, *place.gate, 100)
    for fixes in ([], [[now_ms(), 33.3, lon, 5.0, None, None]] * 101):
        assert_problem(await post_fixes(node, app, fixes), 422)
    # Invalid ones are dropped and counted, as on the socket.
    response = await post_fixes(node, app, [[1, 2], [now_ms(), 91, lon, 5.0, None, None]])
    assert response.is_success, response.text
