"""A node that freezes for longer than its lease and then continues."""

import contextlib
import signal
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.audit.audit import audit
from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp, NewShop, Node
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.support import eventually

Start = Callable[..., Node]
# Twice the lease, and longer than a holder may be silent here.
FROZEN_MS = 3_000


@pytest.mark.slow
@pytest.mark.finding("B3")
async def test_resumed_node_duplicates_nothing(
    start: Start,
    new_app: NewApp,
    new_shop: NewShop,
    shop: Shop,
    place: Place,
    nodes_redis: str,
    short_limits: None,
) -> None:
    victim = start()
    moving, holding, asked, idle = (new_app(on=victim) for _ in range(4))
    survivor = new_app()
    (on_board,) = await taken(moving, shop, place)
    await moving.step(on_board, "picked_up")
    (held,) = await taken(holding, shop, place)
    await asked.online(*place.gate)
    offered = await shop.submit(place.order())
    offer = await asked.expect("offer")
    await idle.online(*place.north(20))

    victim.process.send_signal(signal.SIGSTOP)
    try:
        stopped_ms = now_ms()
        # The app that notices continues with its parcel on the other node.
        moved = new_app(driver=moving.driver)
        assert [job["job"] for job in (await moved.hello())["jobs"]] == [on_board["job"]]
        # Jobs of the frozen node's drivers go to a driver of the other node.
        await survivor.online(*place.gate)
        done = [await delivered(survivor) for _ in range(2)]
        assert set(done) == {held["job"], offered["id"]}
        await eventually(lambda: now_ms() > stopped_ms + FROZEN_MS)
    finally:
        victim.process.send_signal(signal.SIGCONT)

    # Its apps, which noticed nothing, continue with their jobs.
    await insist(holding, "progress", job=held["job"], attempt=held["attempt"], step="at_mall")
    await insist(asked, "accept", offer=offer["offer"])
    await insist(moving, "progress", job=on_board["job"], attempt=1, step="give_up")
    await eventually(victim.is_ready)
    await moved.step(on_board, "delivered")
    for job in (on_board["job"], *done):
        assert await shop.state(job) == "delivered"
        outcomes = await shop.outcomes(job)
        assert outcomes.count("accepted") == (2 if job == held["job"] else 1), outcomes

    # They no longer hold jobs, and the node serves them and orders as before.
    await survivor.must("status", state="offline")
    again = [new_app(driver=app.driver, on=victim) for app in (holding, asked, idle)]
    for app in again:
        welcome = await app.online(*place.gate)
        assert (welcome["jobs"], welcome.get("offer")) == ([], None)
    fresh = await new_shop(on=victim).submit(place.order())
    await eventually(lambda: any(app.waiting("offer") for app in again))
    (chosen,) = [app for app in again if app.waiting("offer")]
    assert await delivered(chosen) == fresh["id"]

    found = await audit(nodes_redis, {place.market: MarketPolicy()})
    ours = {on_board["job"], fresh["id"], *done, *(app.driver for app in (*again, moved, survivor))}
    assert [breach for breach in found.breaches if breach.id in ours] == []


async def taken(app: App, shop: Shop, place: Place) -> list[Frame]:
    """Come online and accept a new order."""
    await app.online(*place.gate)
    await shop.submit(place.order())
    return await app.accept(await app.expect("offer"))


async def delivered(app: App) -> str:
    """Accept and deliver the next offer; return the job."""
    (job,) = await app.accept(await app.expect("offer"))
    await app.step(job, "picked_up")
    await app.step(job, "delivered")
    return str(job["job"])


async def insist(app: App, kind: str, **fields: object) -> None:
    """Send an outdated request: it is refused, or its socket is closed."""
    with contextlib.suppress(ConnectionClosed):
        number = 999_999
        await app.send(kind, id=number, **fields)
        await eventually(
            lambda: (
                app.socket.close_code is not None
                or any(it["type"] == "error" and it.get("id") == number for it in app.frames)
            )
        )
        assert not any(it["type"] == "reply" and it.get("id") == number for it in app.frames)
