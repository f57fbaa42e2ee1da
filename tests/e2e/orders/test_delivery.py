"""A job from the order service to its customer, step by step, in both encodings."""

import re

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop, considered


async def taken(app: App, shop: Shop, place: Place, **changes: object) -> tuple[Json, Frame]:
    """Let the app accept a job; return it as the shop and as the driver sees it."""
    await app.online(*place.gate)
    job = await shop.submit(place.order(**changes))
    (held,) = await app.accept(await app.expect("offer"))
    assert held["job"] == job["id"]
    return job, held


async def test_job_is_offered_accepted_and_delivered(
    new_app: NewApp, shop: Shop, place: Place, encoding: str
) -> None:
    app = new_app(encoding)
    before_ms = now_ms()
    welcome = await app.online(*place.gate)
    assert welcome["market"] == "phoenix"
    assert welcome["offer"] is None
    assert welcome["jobs"] == []
    assert before_ms - 2_000 < welcome["server_time_ms"] < now_ms() + 2_000

    job = await shop.submit(place.order())
    assert job["state"] in {"queued", "offered"}
    assert re.fullmatch(r"job_phoenix\.\w+", job["id"])
    offer = await app.expect("offer")
    assert offer["mall"]["id"] == place.mall
    assert offer["pay"] == {"amount_minor": 1150, "currency": "USD"}
    assert offer["distance_m"] < 200
    assert abs(offer["mall"]["lat"] - place.gate[0]) < 0.01
    assert 0 < offer["expires_ms"] - offer["server_time_ms"] <= 30_050
    assert await shop.state(job["id"]) == "offered"

    reply = await app.must("accept", offer=offer["offer"])
    assert reply["state"] == "on_run"
    (held,) = reply["jobs"]
    assert held["job"] == job["id"]
    assert held["external_id"] == job["external_id"]
    assert held["stores"][0]["store"] == place.stores[0]
    assert held["stores"][0]["pickup_code"] == "7731"
    assert held["dropoff"]["name"] == "Ada Private"
    assert held["dropoff"]["note"] == "mind the hidden dog"
    assert held["parcels"]["weight_g"] == 1500
    assert held["state"] == "assigned"
    assert (await shop.job(job["id"]))["driver"] is not None

    for step in ("at_mall", "picked_up"):
        reply = await app.step(held, step)
        assert reply["job_state"] == step
        assert reply["attempt"] == held["attempt"]
        assert reply["state"] == "on_run"
        assert await shop.state(job["id"]) == step
    reply = await app.step(held, "delivered", proof=await app.photo())
    assert (reply["job_state"], reply["state"]) == ("delivered", "available")

    done = await shop.job(job["id"])
    assert done["terminal"]
    assert [entry["state"] for entry in done["timeline"]] == [
        "queued",
        "offered",
        "assigned",
        "at_mall",
        "picked_up",
        "delivered",
    ]
    assert await shop.outcomes(job["id"]) == ["accepted"]


async def test_pickup_from_assigned_also_records_at_mall(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    assert (await app.step(held, "picked_up"))["job_state"] == "picked_up"
    states = [entry["state"] for entry in (await shop.job(job["id"]))["timeline"]]
    assert states[-3:] == ["assigned", "at_mall", "picked_up"]


async def test_parcel_is_returned_to_the_store(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    await app.step(held, "picked_up")
    await app.must("problem", job=held["job"], kind="customer_unreachable", text="no answer")
    reply = await app.step(held, "returning", reason="customer_unreachable")
    assert reply["job_state"] == "returning"
    to = reply["detail"]["return_to"]
    assert (to["kind"], to["store"]) == ("store", place.stores[0])
    named = {"job": held["job"], "attempt": held["attempt"], "step": "returned"}
    await app.move(*place.north(60))
    assert await app.refused("progress", **named) == "no_position"
    await app.move(to["lat"], to["lon"], now_ms() + 4_000)
    refusal = await app.ask("progress", **named)
    assert (refusal["code"], refusal["missing"]) == ("proof_needed", ["photo"])
    reply = await app.step(held, "returned", proof=await app.photo())
    assert (reply["job_state"], reply["state"]) == ("returned", "available")
    job = await shop.job(job["id"])
    assert (job["state"], job["terminal"]) == ("returned", True)


async def test_step_repeated_has_no_further_effect(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    for step in ("at_mall", "picked_up", "delivered"):
        first = await app.step(held, step)
        again = await app.step(held, step)
        assert again["job_state"] == first["job_state"] == step
    assert len((await shop.job(job["id"]))["timeline"]) == 6


async def test_given_up_job_is_offered_to_the_next_driver(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    first, second = new_app(), new_app()
    job, held = await taken(first, shop, place)
    await second.online(*place.north(500))
    reply = await first.step(held, "give_up", reason="flat tyre")
    assert reply["state"] == "available"
    assert reply["job_state"] in {"queued", "offered"}
    offer = await second.expect("offer")
    assert offer["attempt"] > held["attempt"]
    # It reported that it holds nothing, so its old attempt is refused.
    stale = {"job": held["job"], "attempt": held["attempt"]}
    assert await first.refused("progress", **stale, step="picked_up") == "stale_attempt"
    await second.accept(offer)
    assert (await shop.outcomes(job["id"]))[-2:] == ["gave_up", "accepted"]


async def test_give_up_is_refused_with_the_parcel_on_board(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    await app.step(held, "picked_up")
    named = {"job": held["job"], "attempt": held["attempt"]}
    assert await app.refused("progress", **named, step="give_up") == "wrong_state"
    assert await shop.state(job["id"]) == "picked_up"


async def test_steps_out_of_order_are_refused(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    named = {"job": held["job"], "attempt": held["attempt"]}
    for step in ("delivered", "returned", "returning", "resume", "at_door"):
        refused = await app.refused("progress", **named, step=step, at_ms=now_ms())
        assert refused == "wrong_state"
    assert await shop.state(job["id"]) == "assigned"


async def test_required_age_check_is_enforced(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app(equipment=["id_check"])
    vehicle = {"kind": "car", "max_jobs": 1, "max_weight_g": 9_000, "max_volume_l": 50}
    await app.online(*place.gate, vehicle={**vehicle, "equipment": ["id_check"]})
    job = await shop.submit(place.order(requires=["id_check"]))
    (held,) = await app.accept(await app.expect("offer"))
    assert held["requires"] == ["id_check"]
    await app.step(held, "picked_up")
    named = {"job": held["job"], "attempt": held["attempt"], "step": "delivered"}
    assert await app.refused("progress", **named) == "proof_needed"
    photo = await app.photo()
    assert await app.refused("progress", **named, proof=photo) == "proof_needed"
    await app.step(held, "delivered", proof={"kind": "age_checked", "value": "1980"})
    assert await shop.state(job["id"]) == "delivered"


async def test_job_of_another_driver_is_not_yours(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app, thief = new_app(), new_app()
    job, held = await taken(app, shop, place)
    await thief.online(*place.north(100))
    named = {"attempt": held["attempt"], "step": "picked_up"}
    assert await thief.refused("progress", job=held["job"], **named) == "not_yours"
    assert await thief.refused("progress", job="job_phoenix.nothing", **named) == "not_yours"
    assert await shop.state(job["id"]) == "assigned"


async def test_attempt_never_given_is_stale(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    for attempt in (held["attempt"] - 1, held["attempt"] + 1):
        named = {"job": held["job"], "attempt": attempt}
        assert await app.refused("progress", **named, step="at_mall") == "stale_attempt"
    assert await shop.state(job["id"]) == "assigned"


async def test_problem_holds_the_stores_other_jobs(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app, other = new_app(), new_app()
    _, held = await taken(app, shop, place)
    until = now_ms() + 1_500
    await app.must(
        "problem", job=held["job"], store=place.stores[0], kind="store_closed", until_ms=until
    )
    await other.online(*place.gate)
    job = await shop.submit(place.order())
    first = await other.expect("offer")
    assert first["jobs"][0]["job"] in {held["job"], job["id"]}
    assert first["server_time_ms"] >= until


async def test_problem_does_not_change_the_job_state(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    for kind in ("partial", "does_not_fit", "unsafe", "accident"):
        reply = await app.must("problem", job=held["job"], kind=kind)
        assert reply["state"] == "on_run"
    assert await app.refused("problem", job="job_phoenix.nothing", kind="missing") == "not_yours"
    assert await app.refused("problem", job=held["job"], kind="bored") == "bad_field"
    assert await shop.state(job["id"]) == "assigned"


async def test_cancelled_by_the_service_before_pickup(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    job, held = await taken(app, shop, place)
    assert (await shop.cancel(job["id"])).status_code == 200
    update = await app.expect("job", job=held["job"])
    assert update["state"] == "cancelled"
    refusal = await app.refused(
        "progress", job=held["job"], attempt=held["attempt"], step="at_mall"
    )
    assert refusal in {"not_yours", "stale_attempt", "wrong_state"}
    reply = await app.must("status", state="available")
    assert reply["state"] == "available"


async def test_full_vehicle_gets_no_offer(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    _, held = await taken(app, shop, place)
    second = await shop.submit(place.order())
    await considered(shop, second["id"])
    await app.settled()
    assert app.waiting("offer") == []
    # It is free again at the moment of the delivery.
    await app.step(held, "picked_up")
    await app.step(held, "delivered")
    assert (await app.expect("offer"))["jobs"][0]["job"] == second["id"]
