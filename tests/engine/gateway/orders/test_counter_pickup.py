"""Pickup shop by shop through the shipped clients: a driver at the counter, an order service."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mallard_client import DriverClient, OrderClient
from mallard_client.driver.events import Event
from mallard_client.errors import ApiProblem, RequestRefused
from mallard_protocol.codes import Role
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import Offer
from mallard_protocol.resources import Job
from tests.engine.gateway.conftest import MALL, RunningNode
from tests.support import eventually

NEAR = (33.3026, -111.8986)
LEGO = [{"store": "lego", "parcels": 2}]
TWO = [*LEGO, {"store": "apple", "parcels": 1}]

Hire = Callable[[str], Awaitable[DriverClient]]


@pytest.fixture
async def hire(node: RunningNode) -> AsyncIterator[Hire]:
    """Make clients of drivers who are available beside the mall."""
    async with AsyncExitStack() as stack:

        async def hire(name: str) -> DriverClient:
            app = DriverClient(node.ws, node.token(name), location_every_ms=50)
            await stack.enter_async_context(app)
            await app.online()
            app.location(*NEAR)
            await app.status(Wish.AVAILABLE)
            return app

        yield hire


@pytest.fixture
async def orders(node: RunningNode) -> AsyncIterator[OrderClient]:
    async with OrderClient(node.url, node.token("shop", Role.ORDERS)) as client:
        yield client


def order(stores: list[dict[str, Any]] = LEGO, **fields: Any) -> dict[str, Any]:
    return {
        "pickup": {"mall": MALL, "stores": stores},
        "dropoff": {"lat": 33.3197, "lon": -111.8412},
    } | fields


async def taken(app: DriverClient, orders: OrderClient, **fields: Any) -> Job:
    job = await orders.submit(order(**fields))
    await app.accept(await anext(app.offers()))
    return job


def shown(job: Job) -> list[tuple[str, int]]:
    return [(shop.state, shop.collected_parcels) for shop in job.pickup.stores]


async def test_missing_parcel_sends_one_driver_until_answered(
    hire: Hire, orders: OrderClient
) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders)
    others = [await hire(name) for name in ("bob", "cy", "dee")]
    reply = await ann.collected(job.id, "lego", 0)
    assert reply.job_state == "scheduled"
    assert ann.jobs == {}
    held = await orders.get(job.id)
    assert (held.state, held.attempt, shown(held)) == ("scheduled", 2, [("missing", 0)])
    assert held.held is not None
    assert (held.held.why, held.held.place, held.held.store) == ("missing", "store", "lego")
    assert timedelta(hours=3) < held.held.until - held.updated_at <= timedelta(hours=4)

    # Rounds go on for others: of several drivers, somebody is offered another order at once.
    offered: list[Offer] = []

    def note(event: Event) -> None:
        if isinstance(event, Offer):
            offered.append(event)

    for app in (ann, *others):
        app.listen(note, Offer)
    other = await orders.submit(order([{"store": "apple"}]))
    await eventually(lambda: any(other.id in {it.job for it in each.jobs} for each in offered))
    assert not [each for each in offered if job.id in {it.job for it in each.jobs}]
    assert [turn.outcome for turn in (await orders.explain(job.id)).asked] == ["accepted", "held"]

    await orders.ready(job.id, "lego", datetime.now(UTC))
    await eventually(lambda: any(job.id in {it.job for it in each.jobs} for each in offered))
    assert shown(await orders.get(job.id)) == [("ready", 0)]


@pytest.mark.parametrize(("ahead_ms", "state"), [(0, "ready"), (500, "ready"), (60_000, "waiting")])
async def test_ready_now_by_a_clock_that_is_ahead_is_ready(
    orders: OrderClient, ahead_ms: int, state: str
) -> None:
    job = await orders.submit(order())
    await orders.ready(job.id, "lego", datetime.now(UTC) + timedelta(milliseconds=ahead_ms))
    assert shown(await orders.get(job.id)) == [(state, 0)]


async def test_order_is_collected_shop_by_shop(hire: Hire, orders: OrderClient) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders, stores=TWO)
    detail = ann.jobs[job.id].detail
    assert [(shop.state, shop.collected_parcels) for shop in detail.stores] == [("waiting", 0)] * 2
    assert (detail.on_short, detail.on_missing) == ("deliver", "hold")
    assert re.fullmatch(r"\d{6}", str(detail.handover_code))
    assert (await ann.collected(job.id, "apple")).job_state == "picked_up"
    assert shown(await orders.get(job.id)) == [("waiting", 0), ("collected", 1)]
    await ann.collected(job.id, "lego", 1)
    assert shown(await orders.get(job.id)) == [("short", 1), ("collected", 1)]
    await ann.progress(job.id, Step.DELIVERED)
    done = await orders.get(job.id)
    assert (done.state, shown(done)) == ("delivered", [("short", 1), ("collected", 1)])
    assert (done.parcels.count, done.on_short, done.hold_s) == (3, "deliver", 14_400)


async def test_welcome_shows_what_was_collected(
    hire: Hire, orders: OrderClient, node: RunningNode
) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders, stores=TWO)
    await ann.collected(job.id, "lego", 1)
    ann.drop()
    await eventually(lambda: not ann.connected)
    await ann.online()
    stores = {shop.store: shop for shop in ann.jobs[job.id].detail.stores}
    assert (stores["lego"].state, stores["lego"].collected_parcels) == ("short", 1)
    answer = await node.http.get(
        "/v1/driver/state", headers={"Authorization": f"Bearer {node.token('ann')}"}
    )
    (held,) = answer.json()["jobs"]
    assert {(it["store"], it["state"]) for it in held["stores"]} == {
        ("lego", "short"),
        ("apple", "waiting"),
    }


async def test_offer_shows_no_handover_code(hire: Hire, orders: OrderClient) -> None:
    ann = await hire("ann")
    await orders.submit(order())
    (short,) = (await anext(ann.offers())).jobs
    assert not isinstance(short.handover_code, str)
    assert not isinstance(short.on_short, str)


async def test_failed_order_may_be_placed_again(hire: Hire, orders: OrderClient) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders, on_missing="fail", external_id="ORD-7")
    with pytest.raises(ApiProblem):
        await orders.submit(order(external_id="ORD-7"))
    await ann.problem("missing", job=job.id)
    failed = await orders.get(job.id)
    assert (failed.state, failed.terminal, failed.reason) == ("failed", True, "not_at_counter")
    await eventually(lambda: not ann.jobs)
    assert (await orders.submit(order(external_id="ORD-7"))).id != job.id


async def test_closed_shop_holds_its_order_until_it_opens(hire: Hire, orders: OrderClient) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders)
    await ann.problem("store_closed", job=job.id, store="lego")
    held = await orders.get(job.id)
    assert (held.state, shown(held)) == ("scheduled", [("closed", 0)])
    assert held.held is not None
    assert held.held.why == "store_closed"
    await eventually(lambda: not ann.jobs)


@pytest.mark.parametrize(
    ("store", "parcels"), [("lego", 3), ("nobody", 1), ("apple", 1), ("lego", 1_001)]
)
async def test_wrong_collected_is_refused(
    hire: Hire, orders: OrderClient, store: str, parcels: int
) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders)
    refusals = (RequestRefused, ValueError)
    with pytest.raises(refusals):
        await ann.collected(job.id, store, parcels)
    assert (await orders.get(job.id)).state == "assigned"


async def test_collected_names_its_store(hire: Hire, orders: OrderClient) -> None:
    ann = await hire("ann")
    job = await taken(ann, orders)
    with pytest.raises(RequestRefused) as refused:
        await ann.progress(job.id, Step.COLLECTED, parcels=1)
    assert refused.value.code == "bad_field"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("on_short", "wait"),
        ("on_short", 1),
        ("on_missing", "deliver"),
        ("on_missing", []),
        ("hold_s", 59),
        ("hold_s", 86_401),
        ("hold_s", "600"),
        ("hold_s", 60.5),
    ],
)
async def test_wrong_rule_of_an_order_is_refused(
    orders: OrderClient, field: str, value: object
) -> None:
    with pytest.raises(ApiProblem) as refused:
        await orders.submit(order() | {field: value})
    assert refused.value.status == 422
    assert [error.pointer for error in refused.value.errors] == [f"/{field}"]


async def test_state_of_a_shop_cannot_be_ordered(orders: OrderClient) -> None:
    with pytest.raises(ApiProblem) as refused:
        await orders.submit(order([{"store": "lego", "state": "ready"}]))
    assert refused.value.status == 422
