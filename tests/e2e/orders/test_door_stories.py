"""What happens at the door, through the shipped clients."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mallard_client import DriverClient, OrderClient
from mallard_client.driver.state import HeldJob
from mallard_client.errors import ApiProblem, RequestRefused
from mallard_client.store_client import StoreClient
from mallard_protocol.messages import JobChanged, Proof
from tests.e2e.app import PNG
from tests.e2e.clients.test_clients import Hire, _offer_of, _taken, hire, orders
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.support import eventually

__all__ = ["hire", "orders"]


async def _on_board(app: DriverClient, orders: OrderClient, place: Place) -> HeldJob:
    held = await _taken(app, orders, place)
    await app.progress(held.job, "picked_up")
    return held


def _goes_back(app: DriverClient, job: str) -> bool:
    held = app.jobs.get(job)
    return held is not None and held.state == "returning"


def _arrives_at_the_place(app: DriverClient, job: str) -> None:
    """Report a fix inside of the place that the job goes back to; it is sent before any step."""
    to = app.jobs[job].detail.return_to
    assert to
    app.location(to.lat, to.lon, acc_m=5, at_ms=time.time() * 1000 + 4_000)


async def _open_problem(orders: OrderClient, job: str) -> str:
    return next(it.id for it in (await orders.get(job)).problems if it.state == "open")


def _place_of(app: DriverClient, job: str) -> str | None:
    to = app.jobs[job].detail.return_to
    return to.kind if to else None


def _counter(node: Node, mall: str, store: str) -> StoreClient:
    token = make_token(f"counter-{store}", "store", mall=mall, store=store)
    return StoreClient(node.url, token, mall, store)


async def test_customer_is_out_twice_then_at_home(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    held = await _on_board(app, orders, place)
    answers = app.events(JobChanged)
    for _ in range(2):
        await app.at_door(held.job)
        await app.problem("customer_unreachable", job=held.job, text="no answer")
        problem = await _open_problem(orders, held.job)
        await orders.answer(held.job, problem, "retry", "she is back at six")
        event = await anext(answers)
        assert isinstance(event, JobChanged)
        assert event.answer
        assert (event.answer.problem, event.answer.text) == (problem, "she is back at six")
    await app.at_door(held.job)
    await app.progress(held.job, "delivered")
    done = await orders.get(held.job)
    assert (done.state, done.delivery_attempts) == ("delivered", 2)


async def test_customer_calls_back_during_the_return(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    held = await _on_board(app, orders, place)
    await app.problem("refused", job=held.job)
    await eventually(lambda: _goes_back(app, held.job))
    assert app.jobs[held.job].detail.return_to
    assert (await orders.answer(held.job, "p1", "retry")).state == "picked_up"
    await eventually(lambda: not _goes_back(app, held.job))
    await app.returning(held.job, "nobody there after all")
    await app.resume(held.job)
    await app.progress(held.job, "delivered")
    assert (await orders.get(held.job)).state == "delivered"


async def test_refused_parcel_is_brought_back_and_redelivered(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    held = await _on_board(app, orders, place)
    await app.problem("refused", job=held.job)
    await eventually(lambda: _goes_back(app, held.job))
    with pytest.raises(RequestRefused) as refused:
        await app.returned(held.job, photo=await app.upload_proof(PNG))
    assert refused.value.code == "no_position"
    _arrives_at_the_place(app, held.job)
    await app.returned(held.job, photo=await app.upload_proof(PNG))
    assert app.jobs == {}
    seen = await orders.get(held.job)
    assert (seen.state, seen.reason) == ("returned", "refused")

    deadline = datetime.now(UTC) + timedelta(hours=4)
    again = await orders.redeliver(held.job, deadline)
    assert (again.redelivery_of, again.external_id) == (held.job, seen.external_id)
    assert (await orders.redeliver(held.job, deadline)).id == again.id
    assert again.pickup.stores[0].store == place.stores[0]
    (held,) = await app.accept(await _offer_of(app, again))
    assert held.job == again.id
    await app.progress(again.id, "picked_up")
    await app.progress(again.id, "delivered")
    assert (await orders.get(again.id)).state == "delivered"


async def test_return_goes_to_the_station_once_its_shop_closes(
    node: Node, hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    place = replace(place, stores=place.stores[::-1])  # closing it disturbs no other story
    held = await _on_board(app, orders, place)
    await app.problem("refused", job=held.job)
    await eventually(lambda: _goes_back(app, held.job))
    at_first = app.jobs[held.job].detail.return_to
    assert at_first
    assert (at_first.kind, at_first.store) == ("store", place.stores[0])
    async with _counter(node, place.mall, place.stores[0]) as shop:
        await shop.close_until(datetime.now(UTC) + timedelta(hours=3))
        try:
            await eventually(lambda: _place_of(app, held.job) == "station")
        finally:
            await shop.open()
        assert [it async for it in shop.returns()] == []
    to = app.jobs[held.job].detail.return_to
    assert to
    async with _counter(node, to.mall, to.store) as station:
        (listed,) = [it async for it in station.returns() if it.id == held.job]
        assert listed.code
        await station.receive(held.job)
    await eventually(lambda: held.job not in app.jobs)
    again = await orders.redeliver(held.job, datetime.now(UTC) + timedelta(hours=4))
    assert (again.pickup.mall, again.pickup.stores[0].store) == (to.mall, to.store)


async def test_parcel_is_left_with_a_photo(hire: Hire, orders: OrderClient, place: Place) -> None:
    app = hire()
    held = await _on_board(app, orders, place)
    await app.at_door(held.job)
    await app.problem("customer_unreachable", job=held.job)
    await orders.answer(held.job, "p1", "leave", "behind the shed")
    await eventually(lambda: app.jobs[held.job].detail.answer)
    with pytest.raises(RequestRefused) as refused:
        await app.progress(held.job, "delivered")
    assert refused.value.code == "proof_needed"
    await app.progress(held.job, "delivered", proof=Proof("photo", await app.upload_proof(PNG)))
    assert (await orders.get(held.job)).state == "delivered"


async def test_order_cancelled_after_pickup_comes_back(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    held = await _on_board(app, orders, place)
    cancelled = await orders.cancel(held.job, "customer", "changed her mind")
    assert (cancelled.state, cancelled.cancel_requested) == ("returning", True)
    await eventually(lambda: _goes_back(app, held.job))
    with pytest.raises(RequestRefused) as refused:
        await app.resume(held.job)
    assert refused.value.code == "wrong_state"
    _arrives_at_the_place(app, held.job)
    await app.returned(held.job, photo=await app.upload_proof(PNG))
    done = await orders.get(held.job)
    assert (done.state, done.cancel_reason, done.cancel_note) == (
        "returned",
        "customer",
        "changed her mind",
    )
    assert (await orders.cancel(held.job)).state == "returned"


async def test_delivered_order_is_not_redelivered(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    held = await _on_board(app, orders, place)
    await app.progress(held.job, "delivered")
    with pytest.raises(ApiProblem) as refused:
        await orders.redeliver(held.job, datetime.now(UTC) + timedelta(hours=4))
    assert refused.value.code == "wrong_state"
