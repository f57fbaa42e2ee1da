"""Several jobs in one vehicle: told, carried, each fenced by itself; from the contract alone."""

import functools
from collections.abc import Iterator

import pytest

from tests.e2e.app import CAR, App
from tests.e2e.conftest import NewApp, NewShop, Node, start_node
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Shop
from tests.e2e.test_operators import act
from tests.support import eventually

VAN = CAR | {"kind": "van", "max_jobs": 3}


@pytest.fixture(scope="module")
def pooling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of its own, with a store of its own: its market pools."""
    node = start_node(tmp_path_factory.mktemp("pooling"), None, MALLARD_MAX_RUN_JOBS="3")
    yield node
    node.stop()


@pytest.fixture
async def shop(new_shop: NewShop, pooling: Node) -> Shop:
    return new_shop(on=pooling)


@pytest.fixture
async def operator(new_shop: NewShop, pooling: Node) -> Shop:
    return new_shop("operator", on=pooling)


@pytest.fixture
def van(new_app: NewApp, pooling: Node, encoding: str) -> App:
    return new_app(encoding, on=pooling)


async def given(van: App, shop: Shop, operator: Shop, place: Place, count: int) -> list[Frame]:
    """Jobs that an operator has put into the driver's hands; as they were told, in full."""
    told = []
    for _ in range(count):
        job = await shop.submit(place.order())
        await act(operator, job["id"], "assign", driver=van.driver)
        told.append((await van.expect("job", job=job["id"]))["detail"])
    return told


async def test_several_jobs_in_hand_each_go_their_own_way(
    van: App, shop: Shop, operator: Shop, place: Place
) -> None:
    await van.hello(vehicle=VAN)
    first, second, third = await given(van, shop, operator, place, 3)
    assert first["dropoff"]["address"] == "1 Secret Street"
    # One too many for the vehicle.
    job = await shop.submit(place.order())
    refusal = await operator.http.post(f"/v1/jobs/{job['id']}/assign", json={"driver": van.driver})
    assert refusal.status_code == 409
    for each in (first, second, third):
        assert (await van.step(each, "at_mall"))["state"] == "on_run"
    await shop.cancel(second["job"])
    cancelled = await van.expect("job", job=second["job"])
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled")
    assert (await van.step(third, "give_up"))["job_state"] == "queued"
    await van.step(first, "picked_up")
    refused = {"job": first["job"], "attempt": first["attempt"], "step": "give_up"}
    assert await van.refused("progress", **refused) == "wrong_state"
    assert (await van.step(first, "delivered"))["state"] == "offline"
    states = [await shop.state(each["job"]) for each in (first, second, third)]
    assert states == ["delivered", "cancelled", "queued"]
    assert await shop.outcomes(third["job"]) == ["gave_up"]


async def test_a_lost_socket_finds_its_whole_run_again(
    van: App, shop: Shop, operator: Shop, place: Place
) -> None:
    await van.hello(vehicle=VAN)
    run = await given(van, shop, operator, place, 3)
    await van.vanish()
    # In the basement it collected two of them.
    holds = [{"job": e["job"], "attempt": e["attempt"], "state": "picked_up"} for e in run[:2]]
    welcome = await van.hello(vehicle=VAN, holds=holds)
    states = {job["job"]: job["state"] for job in welcome["jobs"]}
    assert states == {
        run[0]["job"]: "picked_up",
        run[1]["job"]: "picked_up",
        run[2]["job"]: "assigned",
    }
    assert welcome["state"] == "on_run"


async def test_who_falls_silent_keeps_what_is_on_board(
    van: App, shop: Shop, operator: Shop, place: Place
) -> None:
    await van.hello(vehicle=VAN)
    run = await given(van, shop, operator, place, 3)
    await van.step(run[0], "picked_up")
    await van.vanish()
    for back in run[1:]:
        await eventually(functools.partial(_is_queued, shop, back["job"]))
    assert await shop.state(run[0]["job"]) == "picked_up"
    welcome = await van.hello(vehicle=VAN)
    assert [job["job"] for job in welcome["jobs"]] == [run[0]["job"]]
    # What it has on board after all is its own, job by job: the attempt that it held it under.
    reply = await van.step(run[1], "picked_up")
    assert reply["attempt"] > run[1]["attempt"]
    assert (await shop.job(run[1]["job"]))["driver"] == van.driver
    assert await shop.state(run[2]["job"]) == "queued"


async def test_all_that_it_collects_there_arrives_with_it(
    van: App, shop: Shop, operator: Shop, place: Place
) -> None:
    await van.hello(vehicle=VAN)
    run = await given(van, shop, operator, place, 2)

    async def has_arrived() -> bool:
        await van.move(*place.gate)
        return {await shop.state(each["job"]) for each in run} == {"at_mall"}

    await eventually(has_arrived)
    for each in run:
        arrived = await van.expect("job", job=each["job"], state="at_mall")
        assert (arrived["attempt"], arrived["reason"]) == (each["attempt"], "arrived")


async def _is_queued(shop: Shop, job: str) -> bool:
    return await shop.state(job) == "queued"
