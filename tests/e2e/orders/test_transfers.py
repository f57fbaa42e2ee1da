"""A car breaks down with parcels on board: another driver gets them, by the shipped clients."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from mallard_client import DriverClient, OrderClient
from mallard_client.errors import ApiProblem, RequestRefused
from mallard_client.operator_client import OperatorClient
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import Offer, SocketTransfer, Vehicle
from mallard_protocol.resources import DriverProfile, Job
from tests.e2e.conftest import Node, make_token, start_node
from tests.e2e.places import Place
from tests.support import GUARD_S, eventually

CAR = Vehicle(kind="car", max_jobs=12)


@pytest.fixture(scope="module")
def pooling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of its own whose drivers may hold twelve jobs."""
    node = start_node(
        tmp_path_factory.mktemp("transfers"),
        None,
        MALLARD_MAX_RUN_JOBS="12",
        MALLARD_OFFER_TIMEOUT_MS="",
        MALLARD_OFFER_ACK_TIMEOUT_MS="",
        MALLARD_RESUME_TTL_S="",
    )
    yield node
    node.stop()


class Fleet:
    """Drivers, an order service and an operator of one node."""

    def __init__(self, node: Node, place: Place, stack: AsyncExitStack) -> None:
        self.node = node
        self.place = place
        self._stack = stack
        self.operator = OperatorClient(node.url, make_token("operator", "operator"))
        self.orders = OrderClient(node.url, make_token(f"shop-{uuid.uuid4().hex[:8]}", "orders"))
        self.names: dict[DriverClient, str] = {}

    async def driver(
        self, metres: float = 0, *, vehicle: Vehicle = CAR, wish: Wish = Wish.AVAILABLE
    ) -> DriverClient:
        """A driver so far north of the gate."""
        name = f"driver-{uuid.uuid4().hex[:12]}"
        token = make_token(name, "driver", market="phoenix")
        app = DriverClient(self.node.socket_url, token, vehicle=vehicle, location_every_ms=50)
        await self._stack.enter_async_context(app)
        self._stack.push_async_callback(self._leave, app)
        self.names[app] = name
        app.location(*self.place.north(metres), acc_m=5)
        await app.status(wish)
        return app

    async def _leave(self, app: DriverClient) -> None:
        if app.connected:
            await app.status(Wish.PAUSED)

    async def load(self, app: DriverClient, count: int) -> list[str]:
        """Have a driver take jobs on board; return them."""
        await app.status(Wish.PAUSED)
        jobs = [await self.orders.submit(self.place.order()) for _ in range(count)]
        for job in jobs:
            await self.operator.assign(job.id, self.names[app])
        await eventually(lambda: len(app.jobs) == count)
        for job in jobs:
            await app.progress(job.id, Step.PICKED_UP)
        return [job.id for job in jobs]

    async def custody(self, jobs: Sequence[str]) -> set[tuple[str, str | None]]:
        """The states and drivers of jobs."""
        read = await asyncio.gather(*(self.operator.get(job) for job in jobs))
        return {(job.state, job.driver) for job in read}

    async def records(self, job: str) -> list[str]:
        """Every driver whose record has the job."""
        drivers = await self.operator.drivers("phoenix")
        return [driver.driver for driver in drivers if job in driver.jobs]


@pytest.fixture
async def fleet(pooling: Node, place: Place) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        fleet = Fleet(pooling, place, stack)
        await stack.enter_async_context(fleet.operator)
        await stack.enter_async_context(fleet.orders)
        yield fleet


async def offered(app: DriverClient) -> Offer:
    async with asyncio.timeout(GUARD_S):
        return await anext(app.offers())


def transfer_of(app: DriverClient, job: str) -> SocketTransfer | None:
    """The transfer that the driver's app shows for one of its jobs."""
    held = app.jobs.get(job)
    shown = held.detail.transfer if held else None
    return shown if isinstance(shown, SocketTransfer) else None


async def shown_transfer(app: DriverClient, jobs: Sequence[str]) -> SocketTransfer:
    await eventually(lambda: all(transfer_of(app, job) for job in jobs))
    shown = transfer_of(app, jobs[0])
    assert shown
    return shown


async def aliases_in_welcome(fleet: Fleet, app: DriverClient) -> set[str | None]:
    """Who comes for the driver's jobs, in what the engine sends to an app without memory."""
    token = make_token(fleet.names[app], "driver", market="phoenix")
    async with httpx2.AsyncClient(base_url=fleet.node.url, timeout=GUARD_S) as http:
        truth = await http.get("/v1/driver/state", headers={"Authorization": f"Bearer {token}"})
    return {job["transfer"]["alias"] for job in truth.json()["jobs"]}


async def ended(fleet: Fleet, job: str) -> Job:
    return await fleet.operator.wait(job, for_end=True, timeout_s=GUARD_S)


async def test_car_breaks_down_with_twelve_parcels(fleet: Fleet) -> None:
    first = await fleet.driver(1_000)
    jobs = await fleet.load(first, 12)
    small = await fleet.driver(1_100, vehicle=Vehicle(kind="bike", max_jobs=3))
    second = await fleet.driver(4_000)
    ann, bob = fleet.names[first], fleet.names[second]

    await first.problem("breakdown", text="the engine smokes")
    shown = await shown_transfer(first, jobs)
    offer = await offered(second)
    (short,) = offer.jobs
    assert (short.job, short.kind, short.parcels.count) == (shown.id, "transfer", 12)
    assert abs(offer.mall.lat - fleet.place.north(1_000)[0]) < 1e-4
    assert small.state == "available"
    assert await fleet.custody(jobs) == {("picked_up", ann)}

    (meeting,) = await second.accept(offer)
    assert set(meeting.detail.carries or ()) == set(jobs)
    assert meeting.detail.transfer is not shown
    await eventually(
        lambda: {(transfer_of(first, job) or shown).alias for job in jobs} == {"driver"}
    )
    assert await fleet.custody(jobs) == {("picked_up", ann)}
    await second.progress(meeting.job, Step.AT_MALL)
    with pytest.raises(RequestRefused) as refused:
        await second.picked_up(meeting.job)
    assert refused.value.code == "proof_needed"
    wrong = "000000" if shown.code != "000000" else "111111"
    with pytest.raises(RequestRefused) as refused:
        await second.picked_up(meeting.job, code=wrong)
    assert refused.value.code == "wrong_code"
    assert await fleet.custody(jobs) == {("picked_up", ann)}

    await second.picked_up(meeting.job, code=shown.code)
    assert await fleet.custody(jobs) == {("picked_up", bob)}
    assert set(second.jobs) == set(jobs)
    await eventually(lambda: not first.jobs)
    assert first.state == "paused"
    for job in jobs:
        assert await fleet.records(job) == [bob]
    assert (await ended(fleet, shown.id)).state == "delivered"
    with pytest.raises(RequestRefused) as refused:
        await first.progress(jobs[0], Step.DELIVERED)
    assert refused.value.code == "stale_attempt"
    for job in jobs:
        await second.progress(job, Step.DELIVERED)
    assert await fleet.custody(jobs) == {("delivered", bob)}


async def test_second_driver_takes_over_over_http(fleet: Fleet) -> None:
    first, second = await fleet.driver(500), await fleet.driver(900, wish=Wish.PAUSED)
    one, two = await fleet.load(first, 2)
    ann, bob = fleet.names[first], fleet.names[second]
    transfer = await fleet.operator.transfer("phoenix", ann, to=bob)
    code = (await shown_transfer(first, [one, two])).code
    token = make_token(bob, "driver", market="phoenix")
    body: dict[str, Any] = {"attempt": transfer.attempt, "step": "picked_up"}

    async with httpx2.AsyncClient(base_url=fleet.node.url, timeout=GUARD_S) as http:

        async def report(job: str, **fields: Any) -> httpx2.Response:
            return await http.post(
                f"/v1/driver/jobs/{job}/progress",
                json=body | fields,
                headers={"Authorization": f"Bearer {token}"},
            )

        proof = {"kind": "code", "value": code}
        for fields, status, problem in (
            ({}, 409, "proof_needed"),
            ({"proof": {"kind": "photo", "value": code}}, 409, "proof_needed"),
            ({"proof": proof, "jobs": []}, 422, "bad_field"),
            ({"proof": proof, "jobs": [transfer.id]}, 422, "bad_field"),
            ({"proof": proof, "jobs": ["a/b"]}, 422, "bad_field"),
            ({"step": "at_mall", "jobs": [one]}, 422, "bad_field"),
            ({"step": "delivered"}, 409, "wrong_state"),
            ({"step": "collected", "store": "transfer"}, 409, "wrong_state"),
        ):
            refused = await report(transfer.id, **fields)
            assert (refused.status_code, refused.json()["code"]) == (status, problem), fields
        assert await fleet.custody([one, two]) == {("picked_up", ann)}
        for _ in range(2):  # a repeat gets the same answer
            got = (await report(transfer.id, proof=proof, jobs=[one])).json()
            assert [job["job"] for job in got["jobs"]] == [one]
            assert (got["job_state"], got["jobs"][0]["state"]) == ("delivered", "picked_up")
    assert await fleet.custody([one]) == {("picked_up", bob)}
    assert await fleet.custody([two]) == {("picked_up", ann)}
    await first.progress(two, Step.DELIVERED)
    await fleet.operator.close_job(one, "returned", "the test is over")


async def test_order_service_never_sees_the_transfer(fleet: Fleet) -> None:
    first = await fleet.driver(500)
    (job,) = await fleet.load(first, 1)
    transfer = await fleet.operator.transfer("phoenix", fleet.names[first])
    assert (transfer.kind, transfer.carries) == ("transfer", (job,))
    assert transfer.first == fleet.names[first]
    assert transfer.code
    assert transfer.id in {it.id async for it in fleet.operator.jobs(market="phoenix")}
    assert [it.id async for it in fleet.orders.jobs()] == [job]
    for call in (fleet.orders.get, fleet.orders.explain, fleet.orders.cancel):
        with pytest.raises(ApiProblem) as hidden:
            await call(transfer.id)
        assert hidden.value.status == 404
    seen, listed = await fleet.orders.get(job), (await fleet.orders.page()).items[0]
    for each in (seen, listed):
        assert each.transfer
        assert each.transfer.id == transfer.id
        assert not each.transfer.code
    theirs = await fleet.operator.get(job)
    assert theirs.transfer
    assert theirs.transfer.code == transfer.code
    assert (await fleet.operator.explain(transfer.id)).job == transfer.id
    await fleet.operator.cancel(transfer.id)
    assert (await fleet.orders.get(job)).transfer is None
    await eventually(lambda: transfer_of(first, job) is None)
    await first.progress(job, Step.DELIVERED)


async def test_repeated_transfer_is_the_same_one(fleet: Fleet) -> None:
    first = await fleet.driver(500)
    one, two = await fleet.load(first, 2)
    name = fleet.names[first]
    transfer = await fleet.operator.transfer("phoenix", name, jobs=[one])
    assert (await fleet.operator.transfer("phoenix", name, jobs=[one])).id == transfer.id
    with pytest.raises(ApiProblem) as part:
        await fleet.operator.transfer("phoenix", name)
    assert (part.value.status, part.value.code) == (409, "wrong_state")
    other = await fleet.operator.transfer("phoenix", name, jobs=[two])
    assert other.id != transfer.id
    for each in (transfer, other):
        await fleet.operator.cancel(each.id)
    for job in (one, two):
        await first.progress(job, Step.DELIVERED)


async def test_named_driver_gets_some_of_the_parcels(fleet: Fleet) -> None:
    first, second = await fleet.driver(500), await fleet.driver(900, wish=Wish.PAUSED)
    one, two = await fleet.load(first, 2)
    at = fleet.place.north(700)
    await fleet.operator.put_driver("phoenix", fleet.names[second], DriverProfile(alias="Bob R."))
    transfer = await fleet.operator.transfer(
        "phoenix", fleet.names[first], to=fleet.names[second], at=at
    )
    assert (transfer.state, transfer.driver) == ("assigned", fleet.names[second])
    await eventually(lambda: transfer.id in second.jobs)
    shown = await shown_transfer(first, [one, two])
    assert (round(shown.at.lat, 4), shown.alias) == (round(at[0], 4), "Bob R.")
    assert await aliases_in_welcome(fleet, first) == {"Bob R."}
    await second.picked_up(transfer.id, code=shown.code, jobs=[two])
    assert await fleet.custody([one]) == {("picked_up", fleet.names[first])}
    assert await fleet.custody([two]) == {("picked_up", fleet.names[second])}
    await eventually(lambda: set(first.jobs) == {one} and transfer_of(first, one) is None)
    await first.progress(one, Step.DELIVERED)
    await second.progress(two, Step.DELIVERED)


async def test_last_parcel_delivered_ends_the_transfer(fleet: Fleet) -> None:
    first, second = await fleet.driver(500), await fleet.driver(900)
    (job,) = await fleet.load(first, 1)
    transfer = await fleet.operator.transfer("phoenix", fleet.names[first])
    await second.accept(await offered(second))
    await first.progress(job, Step.DELIVERED)
    ending = await ended(fleet, transfer.id)
    assert (ending.state, ending.reason) == ("cancelled", "nothing_to_transfer")
    await eventually(lambda: not second.jobs)


async def test_silence_of_the_first_driver_changes_nothing(fleet: Fleet) -> None:
    first, second = await fleet.driver(500), await fleet.driver(900)
    (job,) = await fleet.load(first, 1)
    transfer = await fleet.operator.transfer("phoenix", fleet.names[first])
    code = (await shown_transfer(first, [job])).code
    (meeting,) = await second.accept(await offered(second))
    first.drop(away_s=60)
    assert await fleet.custody([job]) == {("picked_up", fleet.names[first])}
    await second.picked_up(meeting.job, code=code)
    assert await fleet.custody([job]) == {("picked_up", fleet.names[second])}
    assert (await ended(fleet, transfer.id)).state == "delivered"
    await second.progress(job, Step.DELIVERED)


Post = Callable[..., Any]


@pytest.fixture
async def post(pooling: Node) -> AsyncIterator[Post]:
    """POST a transfer; the role of the token may differ."""
    async with httpx2.AsyncClient(base_url=pooling.url, timeout=GUARD_S) as http:

        async def post(driver: str, body: Any, role: str = "operator") -> httpx2.Response:
            token = make_token("somebody", role, market="phoenix")
            return await http.post(
                f"/v1/markets/phoenix/drivers/{driver}/transfer",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
            )

        yield post


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"jobs": []}, "/jobs"),
        ({"jobs": ["job_phoenix.nowhere"]}, "/jobs/0"),
        ({"jobs": ["a/b"]}, "/jobs/0"),
        ({"jobs": "all"}, "/jobs"),
        ({"driver": "no such driver"}, "/driver"),
        ({"driver": "nobody"}, "/driver"),
        ({"at": {"lat": 33.3}}, "/at/lon"),
        ({"at": {"lat": 91, "lon": 0}}, "/at/lat"),
        ({"at": {"lat": 33.3, "lon": -111.8, "gate": "x"}}, "/at/gate"),
        ({"at": {"lat": 0, "lon": 0}}, "/at"),
        ({"when": "now"}, "/when"),
    ],
)
async def test_wrong_field_is_refused(fleet: Fleet, post: Post, body: Any, pointer: str) -> None:
    first = await fleet.driver(500)
    (job,) = await fleet.load(first, 1)
    response = await post(fleet.names[first], body)
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert transfer_of(first, job) is None
    await first.progress(job, Step.DELIVERED)


async def test_transfer_of_nothing_is_refused(fleet: Fleet, post: Post) -> None:
    first = await fleet.driver(500, wish=Wish.PAUSED)
    response = await post(fleet.names[first], {})
    assert (response.status_code, response.json()["code"]) == (409, "wrong_state")


@pytest.mark.parametrize(
    ("driver", "role", "status"),
    [("nobody", "operator", 404), ("a%20b", "operator", 404), ("nobody", "orders", 403)],
)
async def test_transfer_by_or_of_a_stranger_is_refused(
    post: Post, driver: str, role: str, status: int
) -> None:
    assert (await post(driver, {}, role)).status_code == status


async def test_named_driver_without_room_is_refused(fleet: Fleet, post: Post) -> None:
    first = await fleet.driver(500)
    jobs = await fleet.load(first, 2)
    small = await fleet.driver(600, vehicle=Vehicle(max_jobs=1), wish=Wish.PAUSED)
    for name in (fleet.names[small], fleet.names[first]):
        response = await post(fleet.names[first], {"driver": name})
        assert (response.status_code, response.json()["code"]) == (409, "driver_unavailable")
    for job in jobs:
        await first.progress(job, Step.DELIVERED)
