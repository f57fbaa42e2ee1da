"""Simulated drivers against a counterpart that speaks the contract by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from mallard_engine.workload.fleet import DriverProfile, Fleet, Habits
from mallard_engine.workload.fleet_tally import percentile
from mallard_engine.workload.road import Journey, distance_m, heading_deg
from tests.clients.counterpart import Counterpart, Socket, a_job, an_offer
from tests.support import GUARD_S, eventually

HOME = (33.30, -111.90)
JOB = "job_phoenix.1"
# Immediate answers, and no behaviour except what a test asks for.
WILLING = Habits(
    speed_mps=1e6,
    report_every_ms=50,
    decline=0,
    lapse=0,
    vanish=0,
    drop_every_s=0,
    think_s=(0, 0),
    dwell_s=(0, 0),
    away_s=(0, 0),
)
# The simulated drivers go by the real clock.
MUCH_LATER_MS = 4_000_000_000_000


@asynccontextmanager
async def at_work(engine: Counterpart, habits: Habits) -> AsyncIterator[tuple[Fleet, Socket]]:
    """One driver who has gone online."""
    profile = DriverProfile("d1", HOME, "a-token")
    fleet = Fleet([engine.url], [profile], habits=habits, seed=1, arrive_within_s=0)
    fleet.start()
    try:
        socket = await engine.accepted()
        await socket.welcome(state="offline")
        await socket.read("location")
        await socket.reply(await socket.read("status"))
        yield fleet, socket
    finally:
        await fleet.stop()


async def test_driver_delivers_and_keeps_a_ledger(engine: Counterpart) -> None:
    async with at_work(engine, WILLING) as (fleet, socket):
        await socket.send("offer", **an_offer(expires_ms=MUCH_LATER_MS))
        assert (await _next(socket, "offer_ack"))["offer"] == "o1"
        accepted = await _next(socket, "accept")
        await socket.reply(accepted, state="on_run", jobs=[a_job()])
        for step, state in (
            ("at_mall", "at_mall"),
            ("picked_up", "picked_up"),
            ("delivered", "delivered"),
        ):
            report = await _next(socket, "progress")
            assert report["step"] == step
            await socket.reply(report, job=JOB, job_state=state, attempt=1)
        await eventually(lambda: fleet.tally.counts["delivered"] == 1)
        assert fleet.tally.delivered_by == {JOB: ["d1"]}
        assert fleet.tally.collected_by == {JOB: ["d1"]}
        assert JOB in fleet.tally.first_offer_s
        assert fleet.tally.doubled == {}
        assert fleet.connected == 1
        assert fleet.at(engine.url) == fleet.drivers


async def test_driver_collects_an_order_shop_by_shop(engine: Counterpart) -> None:
    job = a_job()
    (shop,) = job["stores"]
    job["stores"] = [shop | {"store": store} for store in ("lego", "gap")]
    async with at_work(engine, WILLING) as (fleet, socket):
        await socket.send("offer", **an_offer(expires_ms=MUCH_LATER_MS))
        await _next(socket, "offer_ack")
        await socket.reply(await _next(socket, "accept"), state="on_run", jobs=[job])
        steps = []
        for state in ("at_mall", "picked_up", "picked_up", "delivered"):
            report = await _next(socket, "progress")
            steps.append((report["step"], report.get("store")))
            await socket.reply(report, job=JOB, job_state=state, attempt=1)
        assert steps == [
            ("at_mall", None),
            ("collected", "lego"),
            ("collected", "gap"),
            ("delivered", None),
        ]
        await eventually(lambda: fleet.tally.counts["delivered"] == 1)
        assert fleet.tally.collected_by == {JOB: ["d1"]}


async def test_driver_delivers_a_run_in_dropoff_order(engine: Counterpart) -> None:
    """Everything is collected first, then handed over in the order of the expected times."""
    late, soon, unknown = a_job("late"), a_job("soon"), a_job("unknown")
    late["eta"], soon["eta"] = ({"pickup_ms": 1, "dropoff_ms": at_ms} for at_ms in (9, 5))
    async with at_work(engine, WILLING) as (fleet, socket):
        await socket.send("offer", **an_offer(expires_ms=MUCH_LATER_MS))
        await _next(socket, "offer_ack")
        accepted = await _next(socket, "accept")
        await socket.reply(accepted, state="on_run", jobs=[unknown, late, soon])
        steps = []
        for _ in range(9):
            report = await _next(socket, "progress")
            steps.append((report["step"], report["job"]))
            await socket.reply(report, job=report["job"], job_state=report["step"], attempt=1)
        run = ["unknown", "late", "soon"]
        assert steps == [
            *(("at_mall", job) for job in run),
            *(("picked_up", job) for job in run),
            *(("delivered", job) for job in ("soon", "late", "unknown")),
        ]
        await eventually(lambda: fleet.tally.counts["delivered"] == 3)


async def test_broken_car_waits_until_its_parcel_is_gone(engine: Counterpart) -> None:
    job = a_job() | {"state": "picked_up"}
    transfer = {"id": "t1", "at": {"lat": 33.3, "lon": -111.9}, "alias": None, "eta": None}
    carried = job | {"transfer": transfer | {"code": "4711"}}
    async with at_work(engine, replace(WILLING, breakdown=1.0)) as (fleet, socket):
        await socket.send("job", seq=1, job=JOB, attempt=1, state="picked_up", detail=job)
        report = await _next(socket, "problem")
        assert report["kind"] == "breakdown"
        await socket.reply(report, state="on_run")
        update = {"job": JOB, "attempt": 1, "state": "picked_up"}
        await socket.send("job", seq=2, **update, reason="updated", detail=carried)
        await eventually(lambda: fleet.tally.codes == {"t1": "4711"})
        await socket.send("job", seq=3, **(update | {"attempt": 2}), reason="transferred")
        assert (await _next(socket, "status"))["state"] == "available"
        assert fleet.tally.counts["broken_down"] == 1
        assert fleet.tally.counts["delivered"] == 0


async def test_second_driver_gives_the_code_that_the_first_shows(engine: Counterpart) -> None:
    meeting = a_job("t1") | {"kind": "transfer", "carries": [JOB]}
    async with at_work(engine, WILLING) as (fleet, socket):
        fleet.tally.codes["t1"] = "4711"
        await socket.send("job", seq=1, job="t1", attempt=1, state="assigned", detail=meeting)
        arrival = await _next(socket, "progress")
        await socket.reply(arrival, job="t1", job_state="at_mall", attempt=1)
        pickup = await _next(socket, "progress")
        assert (pickup["step"], pickup["proof"]) == (
            "picked_up",
            {"kind": "code", "value": "4711"},
        )
        got = a_job() | {"state": "picked_up", "attempt": 2}
        await socket.reply(pickup, job="t1", job_state="delivered", attempt=1, jobs=[got])
        delivery = await _next(socket, "progress")
        assert (delivery["job"], delivery["attempt"]) == (JOB, 2)
        assert delivery["step"] == "delivered"
        assert fleet.tally.collected_by[JOB] == ["d1"]


async def test_refused_step_is_not_repeated(engine: Counterpart) -> None:
    async with at_work(engine, WILLING) as (fleet, socket):
        await socket.send("job", seq=1, job=JOB, attempt=2, state="assigned", detail=a_job())
        report = await _next(socket, "progress")
        await socket.refuse(report, "stale_attempt")
        await eventually(lambda: fleet.tally.counts["refused"] == 1)
        for _ in range(3):
            await _next(socket, "location")


@pytest.mark.parametrize(
    ("habit", "counted"), [("decline", "declined"), ("lapse", "lapsed"), ("vanish", "vanished")]
)
async def test_each_habit_is_counted(engine: Counterpart, habit: str, counted: str) -> None:
    habits = replace(WILLING, **{habit: 1.0})  # type: ignore[arg-type]
    async with at_work(engine, habits) as (fleet, socket):
        await socket.send("offer", **an_offer(expires_ms=MUCH_LATER_MS))
        if habit == "vanish":
            await socket.closed()
            await (await engine.accepted()).welcome()
        else:
            await _next(socket, "offer_ack")
        if habit == "decline":
            await socket.reply(await _next(socket, "decline"))
        await eventually(lambda: fleet.tally.counts[counted] == 1)
        assert fleet.tally.counts["offers"] == 1


async def test_driver_stopped_by_the_engine_is_counted(engine: Counterpart) -> None:
    async with at_work(engine, WILLING) as (fleet, socket):
        await socket.close(4507)
        await eventually(lambda: fleet.tally.counts["stopped"] == 1)


def test_journey_interpolates_positions() -> None:
    start, end = (33.0, -112.0), (33.0, -111.9)
    length_m = distance_m(start, end)
    assert length_m == pytest.approx(9_325, rel=0.01)
    journey = Journey.at_speed(start, end, left_s=10, speed_mps=length_m / 4)
    assert journey.arrives == pytest.approx(14)
    assert journey.at(9) == start
    assert journey.at(12) == pytest.approx((33.0, -111.95))
    assert journey.at(99) == end
    assert heading_deg(start, end) == pytest.approx(90)
    assert Journey.at_speed(start, start, 10, 5).at(10) == start


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3], 0.99) == 3
    assert percentile(list(range(100)), 0.95) == 95


async def _next(socket: Socket, kind: str) -> dict[str, Any]:
    """The next message of this type; fixes in between are nothing new."""
    while True:
        message = await asyncio.wait_for(socket.read_any(), GUARD_S)
        if message["type"] == kind:
            return message
        assert message["type"] == "location", message
