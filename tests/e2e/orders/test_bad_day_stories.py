"""The events of a bad day, through the shipped clients: shops, drivers and the road.

`test_door_stories.py` has what happens at the door, `test_transfers.py` a breakdown.
"""

import asyncio
import dataclasses
import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest

from mallard_client import DriverClient, OrderClient, StoreClient
from mallard_client.driver.state import HeldJob
from mallard_client.errors import RequestRefused, Stopped
from mallard_client.operator_client import OperatorClient
from mallard_protocol.lifecycle import Step
from mallard_protocol.messages import Proof, StateChanged
from mallard_protocol.resources import Job
from tests.e2e.clients.test_clients import Hire, _go_online, _offer_of, hire, orders
from tests.e2e.conftest import RESUME_S, Node, make_token
from tests.e2e.places import Place
from tests.support import GUARD_S, eventually

__all__ = ["hire", "orders"]


# The place of the next test's shop among the mall's: the first and the last ones are others' shops.
_NUMBERS = itertools.count(2)


@pytest.fixture
async def shop(orders: OrderClient, place: Place) -> Place:
    """A shop of this test alone: what is reported of a shop holds it for everybody."""
    market = await orders.market(place.market)
    (mall,) = [mall for mall in market.malls if mall.id == place.mall]
    number = next(_NUMBERS)
    assert number < len(mall.stores) - 6
    return dataclasses.replace(place, stores=(mall.stores[number].id, place.stores[1]))


def counter(node: Node, shop: Place) -> StoreClient:
    """The client of the shop's till."""
    mall, store = shop.mall, shop.stores[0]
    token = make_token("till-1", "store", mall=mall, store=store)
    return StoreClient(node.url, token, mall, store)


async def taken(app: DriverClient, orders: OrderClient, shop: Place, **changes: object) -> HeldJob:
    """An order of the shop that the driver has accepted."""
    await _go_online(app, shop)
    job = await orders.submit(shop.order(**changes))
    (held,) = await app.accept(await _offer_of(app, job))
    return held


def two_parcels(shop: Place) -> dict[str, object]:
    """Return the pickup of an order of two parcels."""
    stores = [{"store": shop.stores[0], "parcels": 2}]
    return {"mall": shop.mall, "stores": stores}


def in_ms(seconds: float) -> int:
    return round((time.time() + seconds) * 1000)


async def is_in(orders: OrderClient, job: str, state: str) -> bool:
    return (await orders.get(job)).state == state


async def becomes(orders: OrderClient, job: str, state: str) -> Job:
    await eventually(lambda: is_in(orders, job, state))
    return await orders.get(job)


async def _rounds_pass(app: DriverClient, orders: OrderClient, shop: Place) -> None:
    """Wait until the driver has been offered, before anything else, an order of another shop."""
    other = await orders.submit(dataclasses.replace(shop, stores=shop.stores[::-1]).order())
    await _offer_of(app, other)
    await orders.cancel(other.id)


async def test_missing_parcel_sends_one_driver_until_the_shop_answers(
    node: Node, hire: Hire, orders: OrderClient, shop: Place
) -> None:
    first, second = hire(), hire()
    held = await taken(first, orders, shop)
    await _go_online(second, shop, metres=500)
    await first.progress(held.job, Step.AT_MALL)
    await first.problem("missing", job=held.job, store=shop.stores[0])
    await eventually(lambda: held.job not in first.jobs)
    waits = await becomes(orders, held.job, "scheduled")
    assert waits.held
    assert (waits.held.why, waits.held.store) == ("missing", shop.stores[0])
    await _rounds_pass(first, orders, shop)
    assert len({turn.driver for turn in (await orders.explain(held.job)).asked}) == 1
    async with counter(node, shop) as till:
        await till.ready(held.job)
    await eventually(lambda: is_in(orders, held.job, "offered"))


async def test_short_order_is_delivered_with_what_is_there(
    hire: Hire, orders: OrderClient, shop: Place
) -> None:
    app = hire()
    held = await taken(app, orders, shop, pickup=two_parcels(shop), parcels={"count": 2})
    await app.collected(held.job, shop.stores[0], 1)
    await app.progress(held.job, Step.DELIVERED)
    done = await becomes(orders, held.job, "delivered")
    (store,) = done.pickup.stores
    assert (store.state, store.collected_parcels) == ("short", 1)


async def test_wrong_pickup_code_is_refused_and_the_right_one_taken(
    hire: Hire, orders: OrderClient, shop: Place
) -> None:
    app = hire()
    held = await taken(app, orders, shop)
    with pytest.raises(RequestRefused) as refused:
        await app.collected(held.job, shop.stores[0], proof=Proof("code", "0000"))
    assert refused.value.code == "wrong_code"
    reply = await app.collected(held.job, shop.stores[0], proof=Proof("code", "7731"))
    assert reply.job_state == "picked_up"
    await app.progress(held.job, Step.DELIVERED)


async def test_late_shop_is_left_and_the_order_waits_for_it(
    hire: Hire, orders: OrderClient, shop: Place
) -> None:
    app = hire()
    held = await taken(app, orders, shop)
    until_ms = in_ms(1_800)
    await app.problem("not_ready", job=held.job, store=shop.stores[0], until_ms=until_ms)
    assert await is_in(orders, held.job, "assigned")
    await app.progress(held.job, Step.GIVE_UP)
    waits = await becomes(orders, held.job, "scheduled")
    assert waits.held
    assert waits.held.why == "not_ready"
    assert waits.held.until > datetime.now(UTC)


async def test_closed_shop_gets_no_driver_until_it_opens(
    node: Node, hire: Hire, orders: OrderClient, shop: Place
) -> None:
    app = hire()
    await _go_online(app, shop)
    async with counter(node, shop) as till:
        await till.close_until(datetime.now(UTC) + timedelta(hours=1))
        job = await orders.submit(shop.order())
        await _rounds_pass(app, orders, shop)
        assert await is_in(orders, job.id, "queued")
        await till.open()
    assert (await _offer_of(app, job)).jobs[0].job == job.id


async def test_evacuated_mall_frees_the_driver_and_keeps_the_order(
    node: Node, hire: Hire, orders: OrderClient, shop: Place
) -> None:
    app = hire()
    held = await taken(app, orders, shop)
    until = datetime.now(UTC) + timedelta(hours=1)
    async with counter(node, shop) as till:
        await till.close_until(until)
        waits = await becomes(orders, held.job, "scheduled")
        assert waits.held
        assert waits.held.why == "store_closed"
        assert waits.held.until >= until - timedelta(seconds=1)
        await eventually(lambda: app.state == "available")
        await till.open()


async def test_driver_who_quits_is_followed_by_another(
    hire: Hire, orders: OrderClient, shop: Place
) -> None:
    first, second = hire(), hire()
    held = await taken(first, orders, shop)
    await _go_online(second, shop, metres=500)
    await first.progress(held.job, Step.AT_MALL)
    await first.progress(held.job, Step.GIVE_UP, reason="I go home")
    job = await orders.get(held.job)
    (again,) = await second.accept(await _offer_of(second, job))
    assert again.attempt > held.attempt
    asked = (await orders.explain(held.job)).asked
    assert [turn.outcome for turn in asked] == ["accepted", "gave_up", "accepted"]
    assert len({turn.driver for turn in asked[:2]}) == 1
    assert asked[2].driver != asked[0].driver


async def _is_silent(operator: OperatorClient, driver: str) -> bool:
    """Tell whether the engine has missed the driver for longer than it waits for a return."""
    seen = await operator.driver("phoenix", driver)
    assert seen.last_seen
    away = datetime.now(UTC) - seen.last_seen
    return not seen.connected and away > timedelta(seconds=RESUME_S)


async def test_dead_phone_delivers_and_reports_later(
    node: Node, hire: Hire, orders: OrderClient, shop: Place, short_silence: None
) -> None:
    app = hire()
    held = await taken(app, orders, shop)
    await app.progress(held.job, Step.PICKED_UP)
    app.drop(away_s=60)
    reported = app.progress(held.job, Step.DELIVERED, at_ms=in_ms(0))
    async with OperatorClient(node.url, make_token("operator", "operator")) as operator:
        driver = (await operator.get(held.job)).driver
        assert driver
        await eventually(lambda: _is_silent(operator, driver))
    assert await is_in(orders, held.job, "picked_up")
    await app.stop()
    with pytest.raises(Stopped):
        await reported
    app.start()
    await eventually(lambda: app.unreported == 0)
    done = await orders.get(held.job)
    assert (done.state, done.attempt) == ("delivered", held.attempt)


async def test_block_that_ends_on_the_road_lets_the_driver_deliver(
    hire: Hire, orders: OrderClient, shop: Place
) -> None:
    app = hire()
    held = await taken(app, orders, shop)
    await app.progress(held.job, Step.PICKED_UP)
    changes = app.events(StateChanged)
    await app.status("available", until_ms=in_ms(2.5))
    async with asyncio.timeout(GUARD_S):
        assert isinstance(event := await anext(changes), StateChanged)
    assert event.why == "block_over"
    assert app.state == "on_run"
    await app.progress(held.job, Step.DELIVERED)
    assert await is_in(orders, held.job, "delivered")
    await eventually(lambda: app.state == "offline")


async def test_storm_of_orders_gives_each_to_one_driver(
    hire: Hire, orders: OrderClient, shop: Place
) -> None:
    apps = [hire() for _ in range(4)]
    for app in apps:
        await _go_online(app, shop)
    accepting = [asyncio.create_task(_accept_all(app)) for app in apps]
    jobs = await asyncio.gather(*(orders.submit(shop.order()) for _ in range(8)))

    async def all_are_held() -> bool:
        return sum(len(app.jobs) for app in apps) == len(jobs)

    await eventually(all_are_held)
    for task in accepting:
        task.cancel()
    held = [job for app in apps for job in app.jobs]
    assert sorted(held) == sorted(job.id for job in jobs)
    for app in apps:
        for job in tuple(app.jobs):
            await app.progress(job, Step.PICKED_UP)
            await app.progress(job, Step.DELIVERED)


async def _accept_all(app: DriverClient) -> None:
    async for offer in app.offers():
        await app.accept(offer)
