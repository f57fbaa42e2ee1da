"""Offers have no private data, are answered once, and go to the next driver."""

import json

from tests.e2e.app import now_ms
from tests.e2e.conftest import ACK_MS, OFFER_MS, NewApp
from tests.e2e.places import Place
from tests.e2e.shop import Shop, considered
from tests.support import Standstill

DECLINED_WITHIN_MS = 100
LIMIT_WITHIN_MS = 250


async def test_offer_has_no_private_data(
    new_app: NewApp, shop: Shop, place: Place, encoding: str
) -> None:
    app = new_app(encoding)
    await app.online(*place.gate)
    body = place.order()
    body["dropoff"] |= {"lat": 33.32071, "lon": -111.88642}
    await shop.submit(body)
    offer = await app.expect("offer")
    (short,) = offer["jobs"]
    assert (short["dropoff"]["lat"], short["dropoff"]["lon"]) == (33.32, -111.885)
    shown = json.dumps(offer)
    for secret in (
        body["external_id"],
        "Secret Street",
        "Ada Private",
        "602 555",
        "hidden dog",
        "7731",
        "33.32071",
    ):
        assert secret not in shown
    assert "external_id" not in short
    assert not short["dropoff"].keys() & {"address", "name", "contact", "note"}
    assert "pickup_code" not in short["stores"][0]


async def test_declined_job_goes_to_the_next_driver(
    new_app: NewApp, shop: Shop, place: Place, encoding: str, standstill: Standstill
) -> None:
    near, far = new_app(encoding), new_app(encoding)
    await near.online(*place.gate)
    await far.online(*place.north(1_000))
    job = await shop.submit(place.order())
    offer = await near.expect("offer")
    declined_ms = now_ms()
    reply = await near.must("decline", offer=offer["offer"], reason="too far")
    assert reply["state"] == "available"
    second = await far.expect("offer")
    assert second["server_time_ms"] - declined_ms < DECLINED_WITHIN_MS + standstill.ms
    assert second["offer"] != offer["offer"]
    assert second["attempt"] > offer["attempt"]
    assert second["jobs"][0]["job"] == job["id"]
    await far.accept(second)
    assert await shop.outcomes(job["id"]) == ["declined", "accepted"]
    assert near.waiting("offer") == []


async def test_unanswered_job_goes_to_the_next_driver(
    new_app: NewApp,
    shop: Shop,
    place: Place,
    operator: Shop,
    encoding: str,
    short_offers: None,
    standstill: Standstill,
) -> None:
    near, far = new_app(encoding), new_app(encoding)
    await near.online(*place.gate)
    await far.online(*place.north(1_000))
    job = await shop.submit(place.order())
    offer = await near.expect("offer")
    await operator.put_policy({})  # the next offer may take its time
    assert offer["expires_ms"] - offer["server_time_ms"] > OFFER_MS - 100
    second = await far.expect("offer")
    late_ms = second["server_time_ms"] - offer["expires_ms"]
    assert -20 <= late_ms < LIMIT_WITHIN_MS + standstill.ms
    closed = await near.expect("offer_closed", offer=offer["offer"])
    assert closed["why"] == "expired"
    assert await near.refused("accept", offer=offer["offer"]) == "offer_closed"
    await far.accept(second)
    assert await shop.outcomes(job["id"]) == ["expired", "accepted"]


async def test_unacknowledged_offer_goes_to_the_next_driver(
    new_app: NewApp,
    shop: Shop,
    place: Place,
    operator: Shop,
    encoding: str,
    short_acks: None,
    standstill: Standstill,
) -> None:
    deaf, far = new_app(encoding), new_app(encoding)
    deaf.acknowledging = False
    await deaf.online(*place.gate)
    await far.online(*place.north(1_000))
    job = await shop.submit(place.order())
    offer = await deaf.expect("offer")
    await operator.put_policy({})  # the next offer may take its time
    second = await far.expect("offer")
    late_ms = second["server_time_ms"] - offer["server_time_ms"] - ACK_MS
    assert -20 <= late_ms < LIMIT_WITHIN_MS + standstill.ms
    closed = await deaf.expect("offer_closed", offer=offer["offer"])
    assert closed["why"] == "withdrawn"
    await far.accept(second)
    assert await shop.outcomes(job["id"]) == ["unacknowledged", "accepted"]


async def test_unacknowledged_offer_excludes_until_the_next_frame(
    new_app: NewApp, shop: Shop, place: Place, operator: Shop, short_acks: None
) -> None:
    deaf = new_app()
    deaf.acknowledging = False
    await deaf.online(*place.gate)
    first = await shop.submit(place.order())
    await deaf.expect("offer")
    await deaf.expect("offer_closed")
    await deaf.expect("state", why="unreachable")
    await operator.put_policy({})  # of the next offer nothing is due
    second = await shop.submit(place.order())
    await considered(shop, second["id"])
    assert deaf.waiting("offer") == []
    # Any frame is enough; the unacknowledged job is not offered to it for a minute.
    deaf.acknowledging = True
    await deaf.send("pong")
    offer = await deaf.expect("offer")
    assert offer["jobs"][0]["job"] == second["id"]
    await deaf.accept(offer)
    assert await shop.state(first["id"]) == "queued"


async def test_job_declined_by_all_waits_for_a_new_driver(
    new_app: NewApp, shop: Shop, place: Place, standstill: Standstill
) -> None:
    first, late = new_app(), new_app()
    await first.online(*place.gate)
    job = await shop.submit(place.order())
    await first.must("decline", offer=(await first.expect("offer"))["offer"])
    assert await shop.state(job["id"]) == "queued"
    await late.online(*place.north(3_000))
    online_ms = now_ms()
    offer = await late.expect("offer")
    assert offer["server_time_ms"] - online_ms < LIMIT_WITHIN_MS + standstill.ms
    await late.accept(offer)
    assert first.waiting("offer") == []


async def test_waiting_job_is_offered_to_a_new_driver(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    job = await shop.submit(place.order())
    assert job["state"] == "queued"
    app = new_app()
    await app.online(*place.gate)
    (held,) = await app.accept(await app.expect("offer"))
    assert held["job"] == job["id"]


async def test_driver_cools_down_after_a_decline(
    new_app: NewApp, shop: Shop, place: Place, standstill: Standstill
) -> None:
    app = new_app()
    await app.online(*place.gate)
    await shop.submit(place.order())
    await app.must("decline", offer=(await app.expect("offer"))["offer"])
    declined_ms = now_ms()
    second = await shop.submit(place.order())
    offer = await app.expect("offer")
    assert offer["jobs"][0]["job"] == second["id"]
    cooled_ms = offer["server_time_ms"] - declined_ms
    assert 950 <= cooled_ms < 1_000 + LIMIT_WITHIN_MS + standstill.ms


async def test_repeated_answers_get_the_first_answer(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app, other = new_app(), new_app()
    await app.online(*place.gate)
    await shop.submit(place.order())
    offer = await app.expect("offer")
    first = await app.must("decline", offer=offer["offer"])
    again = await app.must("decline", offer=offer["offer"])
    assert first["state"] == again["state"]

    await other.online(*place.north(50))
    offer = await other.expect("offer")
    first = await other.must("accept", offer=offer["offer"])
    again = await other.must("accept", offer=offer["offer"])
    assert {**first, "id": 0} == {**again, "id": 0}
    assert await other.refused("decline", offer=offer["offer"]) in {"offer_closed", "wrong_state"}


async def test_first_answer_survives_the_socket(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    await shop.submit(place.order())
    offer = await app.expect("offer")
    await app.send("accept", id=1_000, offer=offer["offer"])
    await app.vanish()
    await app.hello()
    (held,) = (await app.must("accept", offer=offer["offer"]))["jobs"]
    await app.step(held, "at_mall")


async def test_first_answer_survives_the_end_of_the_job(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    (held,) = await app.accept(offer)
    await app.step(held, "picked_up")
    await app.step(held, "delivered")
    again = await app.must("accept", offer=offer["offer"])
    assert [listed["job"] for listed in again["jobs"]] in ([], [job["id"]])
    assert await shop.state(job["id"]) == "delivered"


async def test_offer_of_another_driver_is_not_yours(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app, thief = new_app(), new_app()
    await app.online(*place.gate)
    await thief.online(*place.north(500))
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    for request in ("accept", "decline"):
        assert await thief.refused(request, offer=offer["offer"]) == "not_yours"
        assert await thief.refused(request, offer="no-such-offer") == "not_yours"
    # Its acknowledgement is ignored as well.
    await thief.send("offer_ack", offer=offer["offer"])
    assert await shop.state(job["id"]) == "offered"
    await app.accept(offer)


async def test_accept_implies_the_acknowledgement(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    app.acknowledging = False
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    await app.accept(await app.expect("offer"))
    assert await shop.state(job["id"]) == "assigned"


async def test_cancel_closes_a_live_offer(
    new_app: NewApp, shop: Shop, place: Place, standstill: Standstill
) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    assert (await shop.cancel(job["id"])).json()["state"] == "cancelled"
    closed = await app.expect("offer_closed", offer=offer["offer"])
    assert closed["why"] == "cancelled"
    assert await app.refused("accept", offer=offer["offer"]) == "offer_closed"
    # Not its fault, so there is no cool-down.
    job = await shop.submit(place.order())
    submitted_ms = now_ms()
    again = await app.expect("offer")
    assert again["server_time_ms"] - submitted_ms < 500 + standstill.ms
    (held,) = await app.accept(again)
    assert held["job"] == job["id"]


async def test_nearest_driver_is_offered_first(new_app: NewApp, shop: Shop, place: Place) -> None:
    far, near = new_app(), new_app()
    await far.online(*place.north(4_000))
    await near.online(*place.north(100))
    await shop.submit(place.order())
    await near.accept(await near.expect("offer"))
    assert far.waiting("offer") == []


async def test_unreachable_or_unequipped_driver_gets_no_offer(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    away, small, plain = new_app(), new_app(), new_app()
    car = {"kind": "car", "max_jobs": 1, "max_weight_g": 60_000, "max_volume_l": 300}
    await away.online(*place.north(26_000))
    await small.online(*place.gate, vehicle={**car, "max_weight_g": 1_000, "equipment": []})
    # The token's claim limits the equipment of the app's vehicle.
    claiming = new_app(equipment=[])
    await plain.online(*place.gate, vehicle={**car, "equipment": []})
    await claiming.online(*place.gate, vehicle={**car, "equipment": ["cold_bag"]})
    job = await shop.submit(place.order(requires=["cold_bag"]))
    await considered(shop, job["id"])
    assert await shop.state(job["id"]) == "queued"
    for app in (away, small, plain, claiming):
        await app.settled()
        assert app.waiting("offer") == []
    explained = await shop.explain(job["id"])
    assert not any(candidate["eligible"] for candidate in explained["candidates"])
