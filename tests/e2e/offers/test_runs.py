"""Several jobs in one vehicle, each fenced on its own; from the contract alone."""

import functools
from collections.abc import Iterator

import pytest

from tests.e2e.app import CAR, App
from tests.e2e.conftest import NewApp, NewShop, Node, start_node
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.processes.test_operators import act
from tests.e2e.shop import Json, Shop, considered
from tests.support import eventually

VAN = CAR | {"kind": "van", "max_jobs": 3}


@pytest.fixture(scope="module")
def pooling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A separate node and Redis whose market pools jobs."""
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
    """Assign jobs to the driver as an operator; return them as the app received them."""
    updates = []
    for _ in range(count):
        job = await shop.submit(place.order())
        await act(operator, job["id"], "assign", driver=van.driver)
        updates.append((await van.expect("job", job=job["id"]))["detail"])
    return updates


async def test_held_jobs_progress_independently(
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


async def test_reconnect_restores_the_complete_run(
    van: App, shop: Shop, operator: Shop, place: Place
) -> None:
    await van.hello(vehicle=VAN)
    run = await given(van, shop, operator, place, 3)
    await van.vanish()
    # It collected two of them offline.
    holds = [{"job": e["job"], "attempt": e["attempt"], "state": "picked_up"} for e in run[:2]]
    welcome = await van.hello(vehicle=VAN, holds=holds)
    states = {job["job"]: job["state"] for job in welcome["jobs"]}
    assert states == {
        run[0]["job"]: "picked_up",
        run[1]["job"]: "picked_up",
        run[2]["job"]: "assigned",
    }
    assert welcome["state"] == "on_run"


async def test_silent_driver_keeps_parcels_on_board(
    van: App, shop: Shop, operator: Shop, place: Place, short_silence: None
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
    # It claims each parcel on board at the attempt under which it held the job.
    reply = await van.step(run[1], "picked_up")
    assert reply["attempt"] > run[1]["attempt"]
    assert (await operator.job(run[1]["job"]))["driver"] == van.driver
    assert await shop.state(run[2]["job"]) == "queued"


async def test_arrival_by_geofence_covers_the_whole_run(
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


async def offered(van: App, shop: Shop, place: Place, count: int) -> tuple[list[Json], Frame]:
    """Orders of neighbours that wait until the van comes to work: one offer holds them all."""
    jobs = [await shop.submit(place.order()) for _ in range(count)]
    await van.online(*place.north(3_000), vehicle=VAN)
    offer = await van.expect("offer")
    assert {short["job"] for short in offer["jobs"]} == {job["id"] for job in jobs}
    return jobs, offer


async def test_run_is_offered_accepted_and_delivered(
    van: App, shop: Shop, operator: Shop, place: Place
) -> None:
    jobs, offer = await offered(van, shop, place, 2)
    assert offer["attempt"] == max(short["attempt"] for short in offer["jobs"])
    assert "Secret Street" not in str(offer)
    run = await van.accept(offer)
    assert [full["job"] for full in run] == [short["job"] for short in offer["jobs"]]
    assert [full["dropoff"]["address"] for full in run] == ["1 Secret Street"] * 2
    for full in run:
        job = await operator.job(full["job"])
        assert (job["state"], job["driver"]) == ("assigned", van.driver)
        assert job["eta"]["dropoff"] is not None
        assert await shop.outcomes(full["job"]) == ["accepted"]
    for step in ("at_mall", "picked_up", "delivered"):
        for full in run:
            await van.step(full, step)
    assert {await shop.state(job["id"]) for job in jobs} == {"delivered"}


async def test_one_job_of_an_offered_run_is_cancelled(van: App, shop: Shop, place: Place) -> None:
    jobs, offer = await offered(van, shop, place, 2)
    await shop.cancel(jobs[0]["id"])
    closed = await van.expect("offer_closed", offer=offer["offer"])
    assert closed["why"] == "cancelled"
    assert await van.refused("accept", offer=offer["offer"]) == "offer_closed"
    # The other is offered again at once, under a higher attempt.
    again = await van.expect("offer")
    assert [short["job"] for short in again["jobs"]] == [jobs[1]["id"]]
    assert again["attempt"] > offer["attempt"]
    await van.accept(again)
    assert await shop.outcomes(jobs[1]["id"]) == ["withdrawn", "accepted"]


@pytest.mark.parametrize("takes", [True, False])
async def test_add_on_is_offered_on_the_way(
    van: App, shop: Shop, place: Place, *, takes: bool
) -> None:
    _, offer = await offered(van, shop, place, 1)
    (first,) = await van.accept(offer)
    more = await shop.submit(place.order())
    add_on = await van.expect("offer")
    assert [short["job"] for short in add_on["jobs"]] == [more["id"]]
    if takes:
        (second,) = await van.accept(add_on)
        assert second["job"] == more["id"]
        return
    reply = await van.must("decline", offer=add_on["offer"])
    assert reply["state"] == "on_run"
    # No cool-down: another job is offered at once.
    third = await shop.submit(place.order())
    offer = await van.expect("offer")
    assert [short["job"] for short in offer["jobs"]] == [third["id"]]
    # At the mall no further job is added.
    await van.must("decline", offer=offer["offer"])
    await van.step(first, "at_mall")
    fourth = await shop.submit(place.order())
    await considered(shop, fourth["id"])
    assert van.waiting("offer") == []
