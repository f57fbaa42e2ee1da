"""Two nodes on one Redis act as one engine; a killed or drained one loses nothing."""

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime

import httpx2
import pytest

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp, NewShop, Node, start_node
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Shop, assert_problem, http_client
from tests.support import Standstill, eventually

Start = Callable[..., Node]
DRAIN_S = 10


@pytest.fixture(scope="module")
def second(nodes_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A second node, beside the one that most tests talk to."""
    node = start_node(tmp_path_factory.mktemp("second"), nodes_redis)
    yield node
    node.stop()


async def test_job_posted_to_one_node_is_offered_by_the_other(
    new_app: NewApp, new_shop: NewShop, second: Node, place: Place, standstill: Standstill
) -> None:
    app, shop = new_app(on=second), new_shop()
    await app.online(*place.gate)
    posted_ms = now_ms()
    job = await shop.submit(place.order())
    offer = await app.expect("offer")
    assert offer["server_time_ms"] - posted_ms < 250 + standstill.ms
    (held,) = await app.accept(offer)
    assert await shop.state(job["id"]) == "assigned"
    assert (await new_shop("operator", on=second).job(job["id"]))["state"] == "assigned"
    assert (await shop.cancel(job["id"])).status_code == 200
    assert (await app.expect("job", job=held["job"]))["state"] == "cancelled"


async def test_driver_moves_from_node_to_node(
    new_app: NewApp, shop: Shop, second: Node, place: Place
) -> None:
    here = new_app()
    there = new_app(driver=here.driver, on=second)
    await here.online(*place.gate)
    await shop.submit(place.order())
    offer = await here.expect("offer")
    welcome = await there.hello()
    assert welcome["offer"]["offer"] == offer["offer"]
    assert await here.close_code() == 4507
    (held,) = await there.accept(welcome["offer"])
    await there.step(held, "picked_up")
    # Back again; the older socket is replaced once more.
    welcome = await here.hello()
    assert welcome["jobs"][0]["state"] == "picked_up"
    assert await there.close_code() == 4507
    await here.step(held, "delivered")


async def test_job_declined_on_one_node_is_offered_on_the_other(
    new_app: NewApp, shop: Shop, second: Node, place: Place
) -> None:
    near, far = new_app(on=second), new_app()
    await near.online(*place.gate)
    await far.online(*place.north(600))
    await shop.submit(place.order())
    await near.must("decline", offer=(await near.expect("offer"))["offer"])
    await far.accept(await far.expect("offer"))


async def test_one_key_on_two_nodes_creates_one_job(
    new_shop: NewShop, second: Node, place: Place
) -> None:
    here = new_shop(name="the-same-service")
    there = new_shop(name="the-same-service", on=second)
    for _ in range(5):
        body, key = place.order(), uuid.uuid4().hex
        answers = await asyncio.gather(*(shop.post(body, key) for shop in (here, there) * 2))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.slow
async def test_killed_node_loses_nothing(
    new_app: NewApp, shop: Shop, operator: Shop, start: Start, place: Place, short_turns: None
) -> None:
    victim = start()
    holder, asked, idle = (new_app(on=victim) for _ in range(3))
    survivor = new_app()
    await holder.online(*place.gate)
    held_job = await shop.submit(place.order())
    (held,) = await holder.accept(await holder.expect("offer"))
    await holder.step(held, "picked_up")
    await asked.online(*place.gate)
    offered_job = await shop.submit(place.order())
    await asked.expect("offer")
    await idle.online(*place.north(20))

    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    killed_ms = now_ms()
    # After two seconds its drivers get no offers.
    await eventually(lambda: now_ms() > killed_ms + 2_000)
    await operator.put_policy({})  # the survivor may take its time
    await survivor.online(*place.north(3_000))
    fresh = await shop.submit(place.order())
    offer = await survivor.expect("offer")
    jobs = [offer["jobs"][0]["job"]]
    (mine,) = await survivor.accept(offer)
    await survivor.step(mine, "picked_up")
    await survivor.step(mine, "delivered")
    jobs.append((await survivor.expect("offer"))["jobs"][0]["job"])
    assert set(jobs) == {fresh["id"], offered_job["id"]}
    for job in (fresh, offered_job):
        asked_later = [
            turn["driver"]
            for turn in (await operator.explain(job["id"]))["asked"]
            if datetime.fromisoformat(turn["at"]).timestamp() * 1000 > killed_ms + 2_000
        ]
        assert set(asked_later) <= {survivor.driver}

    # Drivers with parcels on board continue on the other node.
    again = new_app(driver=holder.driver)
    welcome = await again.hello()
    assert [listed["job"] for listed in welcome["jobs"]] == [held_job["id"]]
    await again.step(held, "delivered")


async def drained(app: App) -> tuple[Frame, int | None]:
    frame = await app.expect("drain", DRAIN_S)
    return frame, await app.close_code(DRAIN_S)


async def is_unready(node: Node) -> bool:
    """Whether the node answers 503 or is gone."""
    async with http_client(node.url) as http:
        with contextlib.suppress(httpx2.TransportError):
            response = await http.get("/readyz")
            if response.status_code == 503:
                assert_problem(response, 503)
            return response.status_code == 503
    return True


@pytest.mark.slow
async def test_drained_node_loses_nothing(
    new_app: NewApp, shop: Shop, start: Start, place: Place
) -> None:
    node = start()
    apps = [new_app(on=node) for _ in range(8)]
    holder = apps[0]
    await holder.online(*place.gate)
    job = await shop.submit(place.order())
    (held,) = await holder.accept(await holder.expect("offer"))
    for app in apps[1:]:
        await app.hello()

    node.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    unready = asyncio.create_task(eventually(lambda: is_unready(node)))
    ends = await asyncio.gather(*(drained(app) for app in apps))
    await unready
    advice = [frame["reconnect_after_ms"] for frame, _ in ends]
    assert len(set(advice)) > len(apps) // 2
    assert {code for _, code in ends} == {4001}
    assert await asyncio.to_thread(node.process.wait, DRAIN_S) == 0
    assert time.monotonic() - started < DRAIN_S

    moved = new_app(driver=holder.driver)
    welcome = await moved.hello()
    assert [listed["job"] for listed in welcome["jobs"]] == [job["id"]]
    await moved.step(held, "at_mall")
