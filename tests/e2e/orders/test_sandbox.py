"""The market `sandbox`: every ending, drivers of a team, bad values, and a node that dies."""

import asyncio
import dataclasses
import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mallard_client.driver.client import DriverClient
from mallard_client.errors import ApiProblem
from mallard_client.orders.client import OrderClient
from mallard_engine.contract.sandbox import FINAL_STATES, PIN, Ending
from mallard_engine.storage.embedded.server import EmbeddedServer
from mallard_protocol.lifecycle import JobState, Step
from mallard_protocol.messages import Proof
from mallard_protocol.resources import Job
from tests import commands
from tests.clients.fault_proxy import FaultProxy
from tests.e2e.app import PNG
from tests.e2e.conftest import SECRET, Node, make_token, start_node
from tests.e2e.places import Place
from tests.support import eventually

# The robots answer a busy machine's offers with the timeouts of a real market.
ON = {"MALLARD_SANDBOX": "on", "MALLARD_OFFER_TIMEOUT_MS": "", "MALLARD_OFFER_ACK_TIMEOUT_MS": ""}
WITHIN_S = 90.0
DOOR = (40.805, -113.845)
# The changes of state that tell an ending from the others, in order.
TRACES: dict[Ending, list[tuple[str, str]]] = {
    Ending.DECLINED_THEN_DELIVERED: [("queued", "declined"), ("delivered", "delivered")],
    Ending.NO_DRIVER: [("queued", "declined"), ("expired", "expired")],
    Ending.CANCELLED: [("at_mall", "arrived"), ("cancelled", "cancelled")],
    Ending.CANCELLED_BY_DRIVER: [("queued", "gave_up"), ("delivered", "delivered")],
    Ending.LOST: [("picked_up", "picked_up"), ("lost", "closed")],
}


def order(ending: str | None = None, **changes: Any) -> dict[str, Any]:
    """An order with two parcels and a pickup code."""
    deadline = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    stores = [{"store": "toys", "parcels": 2, "pickup_code": "7731"}]
    return {
        "external_id": f"{ending}-{uuid.uuid4().hex}",
        "pickup": {"mall": "sandbox-mall", "stores": stores},
        "dropoff": {"lat": DOOR[0], "lon": DOOR[1], "deadline": deadline}
        | changes.pop("dropoff", {}),
        **({} if ending is None else {"metadata": {"sandbox": ending}}),
        **changes,
    }


def client(node: Node, name: str = "shop") -> OrderClient:
    return OrderClient(node.url, make_token(name, "orders"))


async def end_of(node: Node, asked: dict[str, Any]) -> Job:
    """Submit an order and wait for its end."""
    async with client(node) as orders:
        job = await orders.submit(asked)
        return await orders.wait(job.id, for_end=True, timeout_s=WITHIN_S)


async def open_problem(orders: OrderClient, job: str) -> str:
    """Return the job's open problem; empty if there is none."""
    problems = (await orders.get(job)).problems
    return next((it.id for it in problems if it.state == "open"), "")


@pytest.fixture(scope="module")
def sandbox(redis_binary: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with EmbeddedServer(persistent=False, binary=redis_binary) as server:
        node = start_node(tmp_path_factory.mktemp("sandbox"), server.url, **ON)
        yield node
        node.stop()


@pytest.fixture(scope="module")
def ended(sandbox: Node) -> dict[Ending, Job]:
    """An order of each ending, all at once, and how it ended."""

    async def run() -> dict[Ending, Job]:
        asked = list(FINAL_STATES)
        jobs = await asyncio.gather(*(end_of(sandbox, order(ending)) for ending in asked))
        return dict(zip(asked, jobs, strict=True))

    return asyncio.run(run())


@pytest.mark.parametrize("ending", FINAL_STATES)
def test_order_ends_as_its_metadata_says(ended: dict[Ending, Job], ending: Ending) -> None:
    job = ended[ending]
    trace = [(entry.state, entry.cause) for entry in job.timeline]
    assert job.state == FINAL_STATES[ending], trace
    found = [step for step in trace if step in TRACES.get(ending, ())]
    assert list(dict.fromkeys(found)) == TRACES.get(ending, [])


def test_endings_leave_their_traces(ended: dict[Ending, Job]) -> None:
    assert {it.kind for it in ended[Ending.LATE].problems} == {"not_ready"}
    assert ended[Ending.SHORT].pickup.stores[0].state == "short"
    assert ended[Ending.MISSING].reason == "not_at_counter"
    held = [entry.state for entry in ended[Ending.HELD].timeline]
    assert held.count("scheduled") == 1
    for ending in (Ending.CUSTOMER_OUT, Ending.REFUSED, Ending.WRONG_ADDRESS):
        assert ended[ending].delivery_attempts == 1
    left = ended[Ending.UNDELIVERABLE_LEFT]
    assert left.problems[0].answer
    assert left.problems[0].answer.action == "leave"
    assert [proof.kind for proof in left.proofs] == ["photo"]
    turned = [entry.state for entry in ended[Ending.TURNED_ROUND].timeline]
    assert turned[-3:] == ["returning", "picked_up", "delivered"]
    drivers = {
        entry.actor
        for entry in ended[Ending.BREAKDOWN].timeline
        if entry.state in {"picked_up", "delivered"}
    }
    assert len(drivers) == 2


async def test_order_without_an_ending_is_delivered(sandbox: Node) -> None:
    assert (await end_of(sandbox, order())).state == JobState.DELIVERED


async def test_order_with_every_proof_is_delivered(sandbox: Node) -> None:
    job = await end_of(
        sandbox,
        order(
            proof_required=["pin", "photo", "signature", "age_check"],
            requires=["id_check", "cold-box"],
            dropoff={"pin": PIN},
        ),
    )
    assert job.state == JobState.DELIVERED
    assert job.requires == ("id_check", "cold-box")


async def test_order_with_another_pin_comes_back(sandbox: Node) -> None:
    asked = order(proof_required=["pin"], dropoff={"pin": "9876"})
    assert (await end_of(sandbox, asked)).state == JobState.RETURNED


@pytest.mark.parametrize(
    ("ending", "changes", "state"),
    [
        (Ending.MISSING, {"on_missing": "fail"}, JobState.FAILED),
        (Ending.SHORT, {"on_short": "fail"}, JobState.FAILED),
        (Ending.SHORT, {"on_short": "hold"}, JobState.FAILED),
        (Ending.CUSTOMER_OUT, {"on_undeliverable": "leave"}, JobState.DELIVERED),
    ],
)
async def test_rules_of_the_order_decide(
    sandbox: Node, ending: Ending, changes: dict[str, Any], state: JobState
) -> None:
    assert (await end_of(sandbox, order(ending, **changes))).state == state


async def test_answer_of_the_order_service_decides(sandbox: Node) -> None:
    async with client(sandbox) as orders:
        job = await orders.submit(order(Ending.CUSTOMER_OUT, on_undeliverable="hold"))

        problem = await eventually(lambda: open_problem(orders, job.id), WITHIN_S)
        await orders.answer(job.id, problem, "retry", "ring again")
        job = await orders.wait(job.id, for_end=True, timeout_s=WITHIN_S)
    assert job.state == JobState.DELIVERED


@pytest.mark.parametrize("value", ["no_such_ending", "DELIVERED", "", "delivered ", 7, True, 1.5])
async def test_unknown_ending_is_refused(sandbox: Node, value: object) -> None:
    async with client(sandbox) as orders:
        with pytest.raises(ApiProblem) as raised:
            await orders.submit(order() | {"metadata": {"sandbox": value}})
        held = await orders.submit(order(Ending.YOUR_DRIVER))
        with pytest.raises(ApiProblem) as changed:
            await orders.change(held.id, {"metadata": {"sandbox": value}})
    for problem in (raised.value, changed.value):
        assert (problem.status, problem.code) == (422, "invalid_fields")
        (error,) = problem.errors
        assert error.pointer.startswith("/metadata")
        assert "declined_then_delivered" in error.detail


@pytest.mark.parametrize("ending", [Ending.SHORT, Ending.WRONG_CODE])
async def test_ending_that_the_order_cannot_have_is_refused(sandbox: Node, ending: Ending) -> None:
    pickup = {"mall": "sandbox-mall", "stores": [{"store": "toys"}]}
    async with client(sandbox) as orders:
        with pytest.raises(ApiProblem) as raised:
            await orders.submit(order(ending, pickup=pickup))
    assert raised.value.status == 422
    assert [error.pointer for error in raised.value.errors] == ["/metadata/sandbox"]


async def test_robot_orders_come_to_a_drivers_team(sandbox: Node) -> None:
    name = f"ann-{uuid.uuid4().hex[:8]}"
    token = make_token(name, "driver", market="sandbox")
    operator = OrderClient(sandbox.url, make_token("boss", "operator"))
    async with operator, DriverClient(sandbox.socket_url, token, location_every_ms=200) as app:
        app.location(40.8005, -113.85, acc_m=8)
        await app.status("available")
        async with asyncio.timeout(WITHIN_S):
            offer = await anext(app.offers())
            (held,) = await app.accept(offer)
        (short,) = offer.jobs
        job = await operator.get(short.job)
        assert job.metadata == {"sandbox": "your_driver"}
        assert job.driver == name
        await app.progress(held.job, Step.AT_MALL)
        await app.progress(held.job, Step.PICKED_UP)
        for kind in held.detail.proof_required:
            photo = await app.upload_proof(PNG)
            values = {"pin": Proof("code", PIN), "photo": Proof("photo", photo)}
            proof = values.get(kind) or Proof("signature", photo)
            await app.progress(held.job, Step.DELIVERED, proof=proof)
        if not held.detail.proof_required:
            await app.progress(held.job, Step.DELIVERED)
        assert (await operator.get(held.job)).state == JobState.DELIVERED

        async def open_orders() -> list[Job]:
            found = [job async for job in operator.jobs(market="sandbox")]
            return [
                job
                for job in found
                if not job.terminal and str(job.external_id).startswith("robot-order-")
            ]

        # Another one follows, and there is never more than one.
        assert len(await eventually(open_orders, WITHIN_S)) == 1


async def test_no_robot_takes_an_order_for_your_drivers(sandbox: Node) -> None:
    async with client(sandbox) as orders:
        job = await orders.submit(order(Ending.YOUR_DRIVER))
        # The robots have finished another order meanwhile.
        assert (await end_of(sandbox, order())).state == JobState.DELIVERED
        job = await orders.get(job.id)
        assert [entry.state for entry in job.timeline] == ["queued"]


async def test_real_driver_gets_no_order_that_robots_carry(sandbox: Node) -> None:
    token = make_token(f"bob-{uuid.uuid4().hex[:8]}", "driver", market="sandbox")
    async with DriverClient(sandbox.socket_url, token, location_every_ms=200) as app:
        app.location(40.8005, -113.85, acc_m=8)
        await app.status("available")
        job = await end_of(sandbox, order(Ending.CANCELLED_BY_DRIVER))
    assert job.state == JobState.DELIVERED
    actors = {entry.actor for entry in job.timeline if entry.cause == "accepted"}
    assert {actor.split()[0] for actor in actors} == {"Robot"}


async def test_without_the_setting_there_is_no_sandbox(node: Node, place: Place) -> None:
    async with client(node) as orders:
        assert "sandbox" not in {market.id for market in await orders.markets()}
        with pytest.raises(ApiProblem) as raised:
            await orders.submit(order(Ending.DELIVERED))
        assert [error.pointer for error in raised.value.errors] == ["/pickup/mall"]
        job = await orders.submit(place.order(metadata={"sandbox": "no_such_ending"}))
        assert job.metadata == {"sandbox": "no_such_ending"}


async def test_another_nodes_robots_take_over(start: Callable[..., Node]) -> None:
    first, second = start(**ON), start(**ON)
    async with client(second) as orders:
        job = await orders.submit(order(Ending.CUSTOMER_OUT, on_undeliverable="hold"))

        # A robot of the first node waits at the door.
        await eventually(lambda: open_problem(orders, job.id), WITHIN_S)
        first.stop()
        other = await end_of(second, order(Ending.DECLINED_THEN_DELIVERED))
        assert other.state == JobState.DELIVERED
        problem = await eventually(lambda: open_problem(orders, job.id), WITHIN_S)
        await orders.answer(job.id, problem, "retry", "ring again")
        job = await orders.wait(job.id, for_end=True, timeout_s=WITHIN_S)
    assert job.state == JobState.DELIVERED


def watch(node: Node, folder: Path, *asked: dict[str, Any], **streams: Any) -> commands.Process:
    """Start `mallard submit --watch` with these orders."""
    file = folder / f"{uuid.uuid4().hex}.json"
    file.write_text(json.dumps(list(asked)))
    flags = ("--url", node.url, "--service", "shop", "--data", folder)
    environment = {"PATH": os.environ["PATH"], "MALLARD_SECRET": SECRET}
    return commands.start("submit", "--watch", file, *flags, env=environment, **streams)


def watched(node: Node, folder: Path, *asked: dict[str, Any]) -> tuple[int, str, str]:
    with (folder / "out").open("wb") as output, (folder / "err").open("wb") as errors:
        status = watch(node, folder, *asked, output=output, errors=errors).wait(WITHIN_S)
    return status, (folder / "out").read_text(), (folder / "err").read_text()


def test_watch_follows_an_order_to_its_delivery(sandbox: Node, tmp_path: Path) -> None:
    status, output, errors = watched(sandbox, tmp_path, order(Ending.DECLINED_THEN_DELIVERED))
    assert (status, errors) == (0, "")
    posted, *lines = output.splitlines()
    job = posted.split()[0]
    assert all(re.match(rf"\d\d:\d\d:\d\d {job} \w+", line) for line in lines)
    words = [line.split()[2] for line in lines]
    assert words[0] == "created"
    assert words[-1] == "delivered"
    assert any(line.endswith("(declined)") for line in lines if "queued" in line)
    assert any("'Robot " in line for line in lines if "assigned" in line)


def test_watch_fails_unless_all_are_delivered(sandbox: Node, tmp_path: Path) -> None:
    asked = order(Ending.CANCELLED), order(Ending.DELIVERED)
    status, output, errors = watched(sandbox, tmp_path, *asked)
    assert status == 1
    cancelled, delivered = (line.split()[0] for line in output.splitlines()[:2])
    assert errors == f"{cancelled}: ended as cancelled\n"
    assert f"{delivered} delivered" in output


def test_watch_ends_cleanly_on_an_interrupt(sandbox: Node, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output, (tmp_path / "err").open("wb") as errors:
        asked = order(Ending.YOUR_DRIVER)
        process = watch(sandbox, tmp_path, asked, output=output, errors=errors)
        until_s = time.monotonic() + WITHIN_S
        while " created" not in (tmp_path / "out").read_text() and time.monotonic() < until_s:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 1
    job = (tmp_path / "out").read_text().split()[0]
    assert (tmp_path / "err").read_text() == (
        f"mallard: no longer watching; the jobs continue: {job}\n"
    )


async def test_watch_resumes_when_its_stream_breaks(sandbox: Node, tmp_path: Path) -> None:
    async with FaultProxy.to(sandbox.port) as proxy:
        with (tmp_path / "out").open("wb") as output, (tmp_path / "err").open("wb") as errors:
            through = dataclasses.replace(sandbox, port=urlsplit(proxy.url).port or 0)
            asked = order(Ending.CUSTOMER_OUT)
            process = watch(through, tmp_path, asked, output=output, errors=errors)
            await eventually(lambda: " picked_up" in (tmp_path / "out").read_text(), WITHIN_S)
            proxy.cut()
            assert await asyncio.to_thread(process.wait, WITHIN_S) == 1
    words = [line.split()[2] for line in (tmp_path / "out").read_text().splitlines()[1:]]
    assert words[-1] == "returned"
    assert words.count("picked_up") == 1
    assert words.count("created") == 1
