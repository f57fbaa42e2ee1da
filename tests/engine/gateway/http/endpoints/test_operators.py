"""Operators' requests and positions over HTTP."""

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http.endpoints.jobs.test_actions import collected, online
from tests.engine.gateway.http_support import Caller, pointers, problem

DRIVERS = f"/v1/markets/{PHOENIX}/drivers"
NO_JOB = "job_phoenix.01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def test_drivers_are_listed_near_a_point(operator: Caller) -> None:
    assert (await operator.get(DRIVERS)).json() == {"items": []}
    async with open_app(operator.node.ws, operator.node.token("d-1")) as driver:
        await online(driver)
        (seen,) = (await operator.get(DRIVERS)).json()["items"]
        assert (seen["driver"], seen["state"], seen["jobs"]) == ("d-1", "available", [])
        assert seen["lat"] == pytest.approx(NEAR["lat"], abs=1e-5)
        assert seen["lon"] == pytest.approx(NEAR["lon"], abs=1e-5)
        assert seen["at_ms"] > 0
        near = await operator.get(DRIVERS, near="33.31,-111.90", radius_m="50")
        assert len(near.json()["items"]) == 1
        far = await operator.get(DRIVERS, near="33.40,-111.90", radius_m="1000.5")
        assert far.json()["items"] == []


async def test_point_and_radius_out_of_bounds_are_refused(operator: Caller) -> None:
    for query in (
        {"near": "here"},
        {"near": "33.3"},
        {"near": "91,0"},
        {"near": "0,181"},
        {"near": "nan,0"},
        {"near": "1,2,3"},
        {"near": ""},
        {"radius_m": "0"},
        {"radius_m": "-5"},
        {"radius_m": "inf"},
        {"radius_m": "1e3"},
        {"radius_m": "9000000"},
    ):
        problem(await operator.get(DRIVERS, **query), 400, "bad_request")
    problem(await operator.get("/v1/markets/atlantis/drivers"), 404, "not_found")


async def test_assign_unassign_and_close(shop: Caller, operator: Caller) -> None:
    job = (await shop.submit()).json()["id"]
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await driver.hello(position=NEAR, vehicle={"kind": "car", "max_jobs": 1})
        assigned = await operator.post(f"/v1/jobs/{job}/assign", {"driver": "d-1"})
        assert assigned.status_code == 200
        assert (assigned.json()["state"], assigned.json()["driver"]) == ("assigned", "d-1")
        assert (await driver.receive("job"))["reason"] == "assigned"

        other = (await shop.submit()).json()["id"]
        busy = await operator.post(f"/v1/jobs/{other}/assign", {"driver": "d-1"})
        problem(busy, 409, "driver_unavailable")

        back = await operator.post(f"/v1/jobs/{job}/unassign", {"reason": "too slow"})
        assert (back.json()["state"], back.json()["driver"]) == ("queued", None)
        assert (await driver.receive("job"))["reason"] == "unassigned"
        again = await operator.post(f"/v1/jobs/{job}/unassign", {"reason": "too slow"})
        problem(again, 409, "wrong_state")
        closing = {"state": "lost", "reason": "x"}
        early = await operator.post(f"/v1/jobs/{job}/close", closing)
        problem(early, 409, "wrong_state")


async def test_operator_closes_a_job_on_board(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        job = await collected(shop, driver)
        path = f"/v1/jobs/{job}/close"
        assert pointers(await operator.post(path, {"state": "queued", "reason": "x"})) == ["/state"]
        closed = await operator.post(path, {"state": "lost", "reason": "van stolen"})
        assert (closed.json()["state"], closed.json()["terminal"]) == ("lost", True)
        problem(
            await operator.post(f"/v1/jobs/{job}/assign", {"driver": "d-1"}), 409, "wrong_state"
        )
        repeated = await operator.post(path, {"state": "returned", "reason": "found"})
        problem(repeated, 409, "wrong_state")


async def test_unknown_driver_or_job_is_refused_to_operators(
    shop: Caller, operator: Caller
) -> None:
    job = (await shop.submit()).json()["id"]
    unknown = await operator.post(f"/v1/jobs/{job}/assign", {"driver": "nobody"})
    assert pointers(unknown) == ["/driver"]
    assert pointers(await operator.post(f"/v1/jobs/{job}/assign", {"driver": "a}b"})) == ["/driver"]
    for action, body in (
        ("assign", {"driver": "d-1"}),
        ("unassign", {"reason": "x"}),
        ("close", {"state": "lost", "reason": "x"}),
    ):
        problem(await operator.post(f"/v1/jobs/{NO_JOB}/{action}", body), 404, "not_found")
    for path in (f"{DRIVERS}/nobody", f"{DRIVERS}/%7Bd%7D", "/v1/markets/atlantis/drivers/d-1"):
        problem(await operator.post(f"{path}/suspend", {"reason": "x"}), 404, "not_found")
        problem(await operator.post(f"{path}/resume"), 404, "not_found")


@pytest.mark.finding("D17")
async def test_suspended_driver_gets_offers_once_resumed(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        suspended = await operator.post(f"{DRIVERS}/d-1/suspend", {"reason": "complaint"})
        assert (suspended.status_code, suspended.json()["driver"]) == (200, "d-1")
        assert (await driver.receive("state"))["why"] == "suspended"
        (seen,) = (await operator.get(DRIVERS)).json()["items"]
        assert (seen["suspended"], seen["suspended_for"]) == (True, "complaint")
        assert seen["barred"] == {"why": "suspended", "until_ms": None}
        job = (await shop.submit(query="?wait_s=1")).json()
        assert job["state"] == "queued"
        resumed = await operator.post(f"{DRIVERS}/d-1/resume")
        assert resumed.status_code == 200
        assert (await driver.receive("offer"))["jobs"][0]["job"] == job["id"]
        assert pointers(await operator.post(f"{DRIVERS}/d-1/suspend", {})) == ["/reason"]


async def test_each_role_may_call_its_operations_only(shop: Caller, operator: Caller) -> None:
    driver = Caller(shop.node, "d-1", Role.DRIVER)
    job = (await shop.submit()).json()["id"]
    for path, body in (
        (f"/v1/jobs/{job}/assign", {"driver": "d-1"}),
        (f"/v1/jobs/{job}/unassign", {"reason": "x"}),
        (f"/v1/jobs/{job}/close", {"state": "lost", "reason": "x"}),
        (f"{DRIVERS}/d-1/suspend", {"reason": "x"}),
        (f"{DRIVERS}/d-1/resume", None),
        ("/v1/driver/locations", {"fixes": []}),
    ):
        problem(await shop.post(path, body), 403, "forbidden")
    problem(await shop.get(DRIVERS), 403, "forbidden")
    problem(await driver.submit(), 403, "forbidden")
    for path in ("/v1/jobs", f"/v1/jobs/{job}", "/v1/markets", DRIVERS, "/v1/events"):
        problem(await driver.get(path), 403, "forbidden")
    assert (await operator.submit()).status_code == 201


async def test_positions_are_accepted_over_http(operator: Caller) -> None:
    driver = Caller(operator.node, "d-1", Role.DRIVER)
    now_ms = operator.node.node.store.now_ms()
    path = "/v1/driver/locations"
    async with open_app(operator.node.ws, operator.node.token("d-1")) as app:
        await app.hello()
        good = [now_ms, NEAR["lat"], NEAR["lon"], 5.0, None, 3.5]
        future = [now_ms + 60_000, NEAR["lat"], NEAR["lon"], 5.0, None, None]
        bad = [now_ms, 91.0, 0.0, 5.0, None, None]
        answer = await driver.post(path, {"fixes": [good, bad, future]})
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "accepted": 1,
                "dropped": 2,
                "reasons": [{"fix": 1, "why": "malformed"}, {"fix": 2, "why": "future"}],
            },
        )
        assert len((await operator.get(DRIVERS)).json()["items"]) == 1
        only_bad = await driver.post(path, {"fixes": [bad]})
        assert (only_bad.json()["accepted"], only_bad.json()["dropped"]) == (0, 1)
    assert pointers(await driver.post(path, {"fixes": []})) == ["/fixes"]
    assert pointers(await driver.post(path, {"fixes": [good] * 101})) == ["/fixes"]
    elsewhere = driver.node.token("d-1", market="atlantis")
    headers = {"Authorization": f"Bearer {elsewhere}"}
    problem(await driver.post(path, {"fixes": [good]}, headers=headers), 403, "forbidden")
