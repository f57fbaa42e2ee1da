"""Concurrent requests have one outcome, and all parties see the same one."""

import asyncio

import pytest

from tests.e2e.conftest import NewApp
from tests.e2e.places import Place
from tests.e2e.shop import Shop


async def test_concurrent_accepts_of_one_offer_agree(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    for number in range(1_000, 1_100):
        await app.send("accept", id=number, offer=offer["offer"])
    replies = [await app.expect("reply", id=number) for number in range(1_000, 1_100)]
    assert all([held["job"] for held in reply["jobs"]] == [job["id"]] for reply in replies)
    states = [entry["state"] for entry in (await shop.job(job["id"]))["timeline"]]
    assert states.count("assigned") == 1


@pytest.mark.parametrize("turn", range(6))
async def test_cancel_races_accept(new_app: NewApp, shop: Shop, place: Place, turn: int) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    accepting = app.ask("accept", offer=offer["offer"])
    cancelling = shop.cancel(job["id"])
    if turn % 2:
        _, answer = await asyncio.gather(cancelling, accepting)
    else:
        answer, _ = await asyncio.gather(accepting, cancelling)
    assert await shop.state(job["id"]) == "cancelled"
    if answer["type"] == "reply":
        assert (await app.expect("job", job=job["id"]))["reason"] == "cancelled"
    else:
        assert answer["code"] == "offer_closed"
        assert (await app.expect("offer_closed"))["why"] == "cancelled"
    assert (await app.must("status", state="available"))["state"] == "available"


async def test_accept_races_decline(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    await app.send("decline", id=501, offer=offer["offer"])
    await app.send("accept", id=502, offer=offer["offer"])
    assert (await app.expect("reply", id=501))["state"] == "available"
    assert (await app.expect("error", id=502))["code"] == "offer_closed"
    assert await shop.state(job["id"]) == "queued"


@pytest.mark.parametrize("lead_ms", [-5, 0, 5])
async def test_accept_races_expiry(
    new_app: NewApp, shop: Shop, place: Place, lead_ms: int, short_offers: None
) -> None:
    app = new_app()
    await app.online(*place.gate)
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    wait_s = (offer["expires_ms"] - offer["server_time_ms"] + lead_ms) / 1000
    await asyncio.wait([asyncio.create_task(app.socket.wait_closed())], timeout=wait_s)
    answer = await app.ask("accept", offer=offer["offer"])
    again = await app.ask("accept", offer=offer["offer"])
    if answer["type"] == "reply":
        assert again["type"] == "reply"
        assert await shop.state(job["id"]) == "assigned"
        assert app.waiting("offer_closed") == []
    else:
        assert (answer["code"], again["code"]) == ("offer_closed", "offer_closed")
        assert (await app.expect("offer_closed", offer=offer["offer"]))["why"] == "expired"
        assert await shop.state(job["id"]) == "queued"


async def test_many_jobs_are_assigned_once_each(new_app: NewApp, shop: Shop, place: Place) -> None:
    apps = [new_app() for _ in range(10)]
    await asyncio.gather(*(app.online(*place.north(50.0 * n)) for n, app in enumerate(apps)))
    jobs = await asyncio.gather(*(shop.submit(place.order()) for _ in apps))

    async def take_one(index: int) -> str:
        (held,) = await apps[index].accept(await apps[index].expect("offer"))
        await apps[index].step(held, "picked_up")
        await apps[index].step(held, "delivered")
        return str(held["job"])

    done = await asyncio.gather(*(take_one(index) for index in range(len(apps))))
    assert sorted(done) == sorted(job["id"] for job in jobs)
