"""Drivers who fall silent or lose their job, and who holds the parcel in the end."""

import pytest

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import RESUME_S, NewApp
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop
from tests.support import Standstill, eventually

RESUME_MS = RESUME_S * 1000
LIMIT_WITHIN_MS = 250


async def accepted(app: App, shop: Shop, place: Place) -> tuple[Json, Frame]:
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    return job, held


async def unassign(operator: Shop, job: str) -> None:
    response = await operator.http.post(f"/v1/jobs/{job}/unassign", json={"reason": "rebalancing"})
    assert response.status_code == 200, response.text


async def late(app: App, held: Frame) -> Frame:
    """Send a `picked_up` from the time when the driver still held the job."""
    return await app.ask(
        "progress", job=held["job"], attempt=held["attempt"], step="picked_up", at_ms=now_ms()
    )


async def test_reconnect_restores_everything(
    new_app: NewApp, shop: Shop, place: Place, encoding: str
) -> None:
    app = new_app(encoding)
    job, held = await accepted(app, shop, place)
    await app.step(held, "at_mall")
    await app.vanish()
    welcome = await app.hello(
        holds=[{"job": job["id"], "attempt": held["attempt"], "state": "at_mall"}]
    )
    assert welcome["state"] == "on_run"
    (again,) = welcome["jobs"]
    assert again == {**held, "state": "at_mall"} | {"eta": again["eta"]}
    await app.step(held, "picked_up")
    assert (await app.step(held, "delivered"))["state"] == "available"


async def test_offer_survives_its_socket(
    new_app: NewApp, shop: Shop, place: Place, encoding: str
) -> None:
    app = new_app(encoding)
    await app.online(*place.gate)
    await shop.submit(place.order())
    offer = await app.expect("offer")
    await app.vanish()
    welcome = await app.hello()
    assert welcome["state"] == "offered"
    assert welcome["offer"]["offer"] == offer["offer"]
    assert welcome["offer"]["expires_ms"] == offer["expires_ms"]
    await app.accept(welcome["offer"])


async def test_lost_socket_leaves_matching_until_reconnect(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app, other = new_app(), new_app()
    await app.online(*place.gate)
    await other.online(*place.north(3_000))
    await app.vanish()
    await shop.submit(place.order())
    await other.accept(await other.expect("offer"))
    welcome = await app.hello()
    assert welcome["state"] == "available"
    job = await shop.submit(place.order())
    (held,) = await app.accept(await app.expect("offer"))
    assert held["job"] == job["id"]


async def test_status_is_not_restored_after_the_resume_time(
    new_app: NewApp, place: Place, short_silence: None
) -> None:
    app = new_app()
    await app.online(*place.gate)
    await app.vanish()
    gone_ms = now_ms()
    await eventually(lambda: now_ms() > gone_ms + RESUME_MS + LIMIT_WITHIN_MS)
    assert (await app.hello())["state"] == "offline"


async def test_silent_driver_loses_its_job_to_the_next(
    new_app: NewApp, shop: Shop, place: Place, short_silence: None, standstill: Standstill
) -> None:
    silent, other = new_app(), new_app()
    job, held = await accepted(silent, shop, place)
    await other.online(*place.north(800))
    await silent.vanish()
    gone_ms = now_ms()
    offer = await other.expect("offer")
    # Not before its time, since it may reconnect, and not long after it.
    assert -50 <= offer["server_time_ms"] - gone_ms - RESUME_MS < LIMIT_WITHIN_MS + standstill.ms
    assert offer["jobs"][0]["job"] == job["id"]
    assert offer["attempt"] > held["attempt"]
    welcome = await silent.hello(
        holds=[{"job": job["id"], "attempt": held["attempt"], "state": "assigned"}]
    )
    assert welcome["jobs"] == []
    await other.accept(offer)
    assert (await shop.outcomes(job["id"]))[-2:] == ["silent", "accepted"]


async def test_silent_driver_keeps_what_is_on_board(
    new_app: NewApp, shop: Shop, place: Place, short_silence: None
) -> None:
    silent, other = new_app(), new_app()
    job, held = await accepted(silent, shop, place)
    await silent.step(held, "picked_up")
    await silent.vanish()
    gone_ms = now_ms()
    await other.online(*place.gate)

    await eventually(lambda: now_ms() > gone_ms + RESUME_MS + LIMIT_WITHIN_MS)
    await other.settled()
    assert await shop.state(job["id"]) == "picked_up"
    assert other.waiting("offer") == []
    welcome = await silent.hello()
    assert [listed["job"] for listed in welcome["jobs"]] == [job["id"]]
    await silent.step(held, "delivered")


async def test_offline_pickup_wins_over_a_reassignment(
    new_app: NewApp, shop: Shop, place: Place, short_silence: None
) -> None:
    silent, other = new_app(), new_app()
    job, held = await accepted(silent, shop, place)
    await other.online(*place.north(800))
    await silent.vanish()
    offer = await other.expect("offer")
    (theirs,) = await other.accept(offer)
    await silent.hello()
    reply = await late(silent, held)
    assert reply["type"] == "reply", reply
    assert reply["job_state"] == "picked_up"
    assert reply["attempt"] > theirs["attempt"]
    assert reply["state"] == "on_run"
    update = await other.expect("job", job=job["id"])
    assert update["reason"] == "collected"
    # The first continues under the new attempt; the second no longer holds the job.
    assert await other.refused(
        "progress", job=job["id"], attempt=theirs["attempt"], step="at_mall"
    ) in {"not_yours", "stale_attempt"}
    now_held = {"job": job["id"], "attempt": reply["attempt"]}
    await silent.step(now_held, "delivered")
    assert await shop.state(job["id"]) == "delivered"
    second = await shop.submit(place.order())
    assert (await other.expect("offer"))["jobs"][0]["job"] == second["id"] or silent.waiting(
        "offer"
    )


async def test_offline_pickup_wins_over_an_offer(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    first, other = new_app(), new_app()
    job, held = await accepted(first, shop, place)
    await other.online(*place.north(800))
    await unassign(operator, job["id"])
    update = await first.expect("job", job=job["id"])
    assert update["state"] in {"queued", "offered"}
    offer = await other.expect("offer")
    reply = await late(first, held)
    assert (reply["type"], reply["job_state"]) == ("reply", "picked_up")
    assert reply["attempt"] > offer["attempt"]
    closed = await other.expect("offer_closed", offer=offer["offer"])
    assert closed["why"] == "collected"
    assert await other.refused("accept", offer=offer["offer"]) == "offer_closed"


async def test_offline_pickup_wins_over_a_search(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await accepted(app, shop, place)
    await unassign(operator, job["id"])
    await app.expect("job", job=job["id"])
    assert await shop.state(job["id"]) == "queued"
    reply = await late(app, held)
    assert (reply["type"], reply["job_state"]) == ("reply", "picked_up")
    assert await shop.state(job["id"]) == "picked_up"
    # A repeated report changes nothing.
    again = await late(app, held)
    assert (again["type"], again["attempt"]) == ("reply", reply["attempt"])
    await app.step({"job": job["id"], "attempt": reply["attempt"]}, "delivered")
    states = [entry["state"] for entry in (await shop.job(job["id"]))["timeline"]]
    assert states.count("picked_up") == 1


async def test_late_claim_after_anothers_pickup_is_refused(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    first, second = new_app(), new_app()
    job, held = await accepted(first, shop, place)
    await second.online(*place.north(800))
    await unassign(operator, job["id"])
    (theirs,) = await second.accept(await second.expect("offer"))
    await second.step(theirs, "picked_up")
    answer = await late(first, held)
    assert answer["type"] == "error"
    assert await shop.state(job["id"]) == "picked_up"
    assert (await second.step(theirs, "delivered"))["job_state"] == "delivered"


async def test_custody_claim_does_not_reopen_an_ended_job(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await accepted(app, shop, place)
    await shop.cancel(job["id"])
    await app.expect("job", job=job["id"])
    assert (await late(app, held))["type"] == "error"
    assert await shop.state(job["id"]) == "cancelled"


async def test_only_an_earlier_holder_may_claim_custody(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    first, second, never = new_app(), new_app(), new_app()
    await first.online(*place.gate)
    await second.online(*place.north(300))
    job = await shop.submit(place.order())
    offer = await first.expect("offer")
    await first.must("decline", offer=offer["offer"])
    (held,) = await second.accept(await second.expect("offer"))
    await never.hello()
    for thief in (first, never):
        for attempt in (offer["attempt"], held["attempt"]):
            refusal = await thief.refused(
                "progress", job=job["id"], attempt=attempt, step="picked_up"
            )
            assert refusal in {"not_yours", "stale_attempt"}
    assert await shop.state(job["id"]) == "assigned"


async def test_step_repeated_after_a_lost_reply_succeeds(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await accepted(app, shop, place)
    await app.send("progress", id=77, job=job["id"], attempt=held["attempt"], step="picked_up")
    await app.vanish()
    welcome = await app.hello()
    assert welcome["jobs"][0]["state"] in {"assigned", "picked_up"}
    assert (await app.step(held, "picked_up"))["job_state"] == "picked_up"


@pytest.mark.finding("C9")
@pytest.mark.parametrize("is_over_http", [False, True])
async def test_claimant_delivers_under_its_claimed_attempt(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place, encoding: str, *, is_over_http: bool
) -> None:
    """All steps were reported offline, so the app knows of no other attempt."""
    app = new_app(encoding)
    job, held = await accepted(app, shop, place)
    await unassign(operator, job["id"])
    await app.expect("job", job=job["id"])
    assert (await late(app, held))["job_state"] == "picked_up"
    assert (await app.step(held, "returning"))["job_state"] == "returning"
    problem = await app.ask(
        "problem", job=job["id"], attempt=held["attempt"], kind="customer_unreachable"
    )
    assert problem["type"] == "reply", problem
    if is_over_http:
        response = await shop.http.post(
            f"/v1/driver/jobs/{job['id']}/progress",
            json={"attempt": held["attempt"], "step": "delivered"},
            headers={"Authorization": f"Bearer {app.token}"},
        )
        assert response.status_code == 200, response.text
        assert response.json()["job_state"] == "delivered"
    else:
        assert (await app.step(held, "delivered"))["job_state"] == "delivered"
    assert await shop.state(job["id"]) == "delivered"
