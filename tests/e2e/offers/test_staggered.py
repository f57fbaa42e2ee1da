"""Two nodes of a market that asks several drivers at once: the first accept wins."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.e2e.app import App
from tests.e2e.conftest import NewApp, NewShop, Node, start_node
from tests.e2e.contract import Frame
from tests.e2e.places import Place

RUNGS = {"MALLARD_OFFER_RUNGS": "staggered 3/0.3", "MALLARD_PRESET": "express"}


@pytest.fixture(scope="module")
def redis_of_two(redis_binary: Path | None) -> Iterator[str]:
    with EmbeddedServer(persistent=False, binary=redis_binary) as server:
        yield server.url


@pytest.fixture(scope="module")
def two(redis_of_two: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    nodes = [start_node(tmp_path_factory.mktemp(n), redis_of_two, **RUNGS) for n in ("a", "b")]
    yield nodes[0], nodes[1]
    for node in nodes:
        node.stop()


async def online(new_app: NewApp, place: Place, *nodes: Node) -> list[App]:
    """Apps on these nodes, each a little further from the gate."""
    apps = [new_app(on=node) for node in nodes]
    for n, app in enumerate(apps):
        await app.online(*place.north(200 * n))
    return apps


async def shown(app: App) -> Frame:
    """Return the offer that the app shows."""
    offer = await app.expect("offer")
    await app.send("offer_ack", offer=offer["offer"])
    return offer


async def test_first_accept_wins_and_others_get_taken(
    new_app: NewApp, new_shop: NewShop, two: tuple[Node, Node], place: Place
) -> None:
    here, there = two
    near, middle, far, spare = await online(new_app, place, here, there, here, there)
    shop = new_shop(on=here)
    job = await shop.submit(place.order())
    offers = [await shown(app) for app in (near, middle, far)]
    assert [offer["attempt"] for offer in offers] == [1, 1, 1]
    assert len({offer["offer"] for offer in offers}) == 3
    (held,) = await middle.accept(offers[1])
    assert (held["job"], held["attempt"]) == (job["id"], 1)
    for app, offer in ((near, offers[0]), (far, offers[2])):
        closed = await app.expect("offer_closed")
        assert (closed["offer"], closed["why"]) == (offer["offer"], "taken")
        assert await app.refused("accept", offer=offer["offer"]) == "offer_closed"
        # Free for the next offer at once: there is no cool-down for a slower accept.
        assert (await app.must("status", state="available"))["state"] == "available"
    assert spare.waiting("offer") == []
    explained = await new_shop("operator", on=there).explain(job["id"])
    assert sorted((turn["outcome"], turn["attempt"]) for turn in explained["asked"]) == [
        ("accepted", 1),
        ("withdrawn", 1),
        ("withdrawn", 1),
    ]
    await middle.step(held, "picked_up")
    await middle.step(held, "delivered")


async def test_concurrent_accepts_on_two_nodes_have_one_winner(
    new_app: NewApp, new_shop: NewShop, two: tuple[Node, Node], place: Place
) -> None:
    here, there = two
    apps = await online(new_app, place, here, there)
    shop = new_shop(on=there)
    for _ in range(5):
        job = await shop.submit(place.order())
        offers = {app: await shown(app) for app in apps}
        answers = await asyncio.gather(
            *(app.ask("accept", offer=offer["offer"]) for app, offer in offers.items())
        )
        assert sorted(answer["type"] for answer in answers) == ["error", "reply"]
        won = [answer["type"] == "reply" for answer in answers].index(True)
        winner, loser = apps[won], apps[1 - won]
        assert answers[1 - won]["code"] == "offer_closed"
        assert (await loser.expect("offer_closed"))["why"] == "taken"
        assert (await shop.job(job["id"]))["driver"] is not None
        (held,) = answers[won]["jobs"]
        await winner.step(held, "picked_up")
        await winner.step(held, "delivered")


async def test_decline_leaves_the_others_their_offer(
    new_app: NewApp, new_shop: NewShop, two: tuple[Node, Node], place: Place
) -> None:
    near, far = await online(new_app, place, *two)
    shop = new_shop(on=two[0])
    job = await shop.submit(place.order())
    offers = [await shown(app) for app in (near, far)]
    await near.must("decline", offer=offers[0]["offer"])
    assert await shop.state(job["id"]) == "offered"
    # The app reconnects to the other node and still has its offer.
    again = new_app(driver=far.driver, on=two[0])
    welcome = await again.hello()
    assert welcome["offer"]["offer"] == offers[1]["offer"]
    (held,) = await again.accept(welcome["offer"])
    assert held["attempt"] == 1
    assert await shop.state(job["id"]) == "assigned"


async def test_cancelled_job_is_closed_on_every_app(
    new_app: NewApp, new_shop: NewShop, two: tuple[Node, Node], place: Place
) -> None:
    apps = await online(new_app, place, *two)
    shop = new_shop(on=two[0])
    job = await shop.submit(place.order())
    for app in apps:
        await shown(app)
    assert (await shop.cancel(job["id"])).status_code == 200
    for app in apps:
        assert (await app.expect("offer_closed"))["why"] == "cancelled"
