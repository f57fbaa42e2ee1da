"""Simulated mall days, the demo, load tests and apps have the same policy, vehicles and answers, so
that a figure of one holds for the others."""

import argparse
import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self
from unittest.mock import Mock

import msgspec
import pytest
from rich.console import Console

import mallard_client
from load_tests.credentials import DriverToken
from load_tests.drivers.app_driver import AppHabits
from load_tests.frames import unpack
from load_tests.swarm.driver import SwarmDriver
from load_tests.swarm.plan import SwarmPlan
from load_tests.users.options import _add_traffic
from mallard_client.driver.client import DriverClient
from mallard_engine.config.settings import load_settings
from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.vehicles import USUAL_KIND, StatedVehicle, stated, usual_vehicle
from mallard_engine.demo.demo_run import DemoRun
from mallard_engine.demo.plan import Plan
from mallard_engine.demo.screen import Screen
from mallard_engine.dispatch.driver_commands import DriverCommands
from mallard_engine.dispatch.offer_commands import OfferCommands
from mallard_engine.dispatch.step_commands import StepCommands, StepReport
from mallard_engine.gateway.stated_vehicles import stated_vehicle
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Scenario
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.simulation.virtual.loop import VirtualLoop
from mallard_engine.workload.behaviour import USUAL_ANSWERS
from mallard_engine.workload.demand import Demand
from mallard_engine.workload.fleet import Habits
from mallard_protocol import messages
from mallard_protocol.lifecycle import Step
from tests.engine.gateway.test_readme import program

MALL = "chandler-fashion-center"
# Limits for silence: no simulated driver loses its connection. Dwell times are known. A retry would
# find no driver whom its own round has not found.
DIFFERS = {"stale_after_s", "resume_ttl_s", "at_mall_silence_s", "dwell_visits", "retry_s"}


def differing(policy: MarketPolicy, other: MarketPolicy) -> set[str]:
    names = (field.name for field in fields(policy))
    return {name for name in names if getattr(policy, name) != getattr(other, name)}


def test_mall_day_has_the_policy_of_a_live_market() -> None:
    live = load_settings(environ={}).market_policy("phoenix")
    assert differing(mallday.default_policy(), live) == DIFFERS


def test_demo_differs_in_its_pace_only(tmp_path: Path) -> None:
    environ = dict(Plan().environment(f"unix://{tmp_path}/redis", "s" * 32))
    demo = load_settings(environ={n: v for n, v in environ.items() if v}).policy
    pace = {"offer_timeout_ms", "cooldown_s", "resume_ttl_s", "max_speed_mps", "hold_max_s"}
    pace.add("door_wait_s")
    assert differing(demo, MarketPolicy()) == pace
    assert demo.preset == MarketPolicy.preset


def test_preset_reaches_the_nodes_of_the_demo(tmp_path: Path) -> None:
    plan = replace(Plan(), preset="express")
    environ = dict(plan.environment(f"unix://{tmp_path}/redis", "s" * 32))
    assert load_settings(environ=environ).policy.preset == "express"


# -- vehicles


@cache
def places() -> Places:
    return Places.load(opening_hours=False)


def demand() -> Demand:
    return Demand(places(), [])


def a_mall_day() -> Scenario:
    policy = mallday.default_policy()
    return mallday.scenario_of(places(), demand(), policy, mall=MALL, parcels=1, drivers=3)


def vehicle_of(client: DriverClient) -> Vehicle:
    """The vehicle of an app's driver, as the engine takes its hello."""
    return taken(client._session.hello("token").vehicle)


def taken(said: messages.Vehicle | msgspec.UnsetType) -> Vehicle:
    vehicle = (None if said is msgspec.UNSET else stated_vehicle(said)) or StatedVehicle()
    return replace(usual_vehicle(vehicle.kind or USUAL_KIND), **stated(vehicle))


def test_drivers_of_a_mall_day_have_the_usual_vehicle() -> None:
    day = a_mall_day()
    assert {shift.vehicle or usual_vehicle() for shift in day.shifts} == {usual_vehicle()}


def test_drivers_of_the_demo_have_the_usual_vehicle() -> None:
    screen = Screen(Console(file=StringIO()), "")
    run = DemoRun(Plan(drivers=3), demand(), screen, redis_url="", secret="s" * 32)
    fleet = run._new_fleet(["ws://127.0.0.1:1"], None)
    assert {vehicle_of(driver.client) for driver in fleet.drivers} == {usual_vehicle()}


def test_app_that_states_no_vehicle_has_the_usual_one() -> None:
    assert vehicle_of(DriverClient("ws://127.0.0.1:1", "token")) == usual_vehicle()


def test_drivers_of_load_tests_have_the_usual_vehicle() -> None:
    who = DriverToken("d-1", "phoenix", "token")
    context = Mock(habits=AppHabits(), rng=random.Random(1))
    frame = unpack(SwarmDriver(who, (33.3, -111.9), 0, context).hello())
    assert taken(msgspec.convert(frame["vehicle"], messages.Vehicle)) == usual_vehicle()


# -- the program in README.md


class AppWithAddedJob:
    """In the place of `DriverClient`: offers a run of two jobs, and one more on the way.

    It keeps what the program sends.
    """

    sent: ClassVar[list[tuple[object, ...]]] = []
    # The pickup of each offer, and the drop-offs of its jobs: the added one is nearest to the mall.
    offered: ClassVar[Mapping[str, tuple[int, Mapping[str, int]]]] = {
        "run": (10, {"near": 12, "far": 13}),
        "more": (20, {"added": 21}),
    }

    def __init__(self, *_: str) -> None:
        self.sent.clear()
        self.jobs: dict[str, SimpleNamespace] = {}
        self._accepted = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def location(self, *_: float, **__: float) -> None:
        pass

    async def status(self, wish: str, until_ms: int | None = None) -> None:
        self.sent.append((wish, until_ms is not None))

    async def offers(self) -> AsyncIterator[str]:
        for offer in self.offered:
            yield offer
            await asyncio.sleep(0.1)

    async def accept(self, offer: str) -> None:
        self.sent.append((offer, "accepted"))
        pickup_ms, dropoffs_ms = self.offered[offer]
        for job, dropoff_ms in dropoffs_ms.items():
            eta = SimpleNamespace(pickup_ms=pickup_ms, dropoff_ms=dropoff_ms)
            detail = SimpleNamespace(eta=eta)
            self.jobs[job] = SimpleNamespace(job=job, detail=detail)
        self._accepted.set()

    async def events(self, _: type) -> AsyncIterator[None]:
        await self._accepted.wait()
        yield

    async def progress(self, job: str, step: Step) -> None:
        self.sent.append((job, step))
        if step is Step.DELIVERED:
            del self.jobs[job]


def a_day_with_an_added_order() -> Scenario:
    """One driver, two orders that wait for it, and one that comes when it has just departed."""
    day = replace(a_mall_day(), readme_drivers=True, answer_ms=0)
    mall, order = places().mall(MALL), day.orders[0]
    on_ms = order.placed_ms + 600_000
    shift = replace(day.shifts[0], on_ms=on_ms, off_ms=day.end_ms)
    placed_ms = {"near": order.placed_ms, "far": order.placed_ms, "added": on_ms + 1_000}
    north = {"near": 0.03, "far": 0.04, "added": 0.01}
    orders = tuple(
        replace(
            order,
            id=name,
            placed_ms=at_ms,
            ready_ms=at_ms,
            lat=mall.lat + north[name],
            lon=mall.lon,
        )
        for name, at_ms in placed_ms.items()
    )
    return replace(day, orders=orders, shifts=(shift,))


def test_readme_driver_of_a_mall_day_sends_what_the_program_does(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mallard_client, "DriverClient", AppWithAddedJob)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(program("driver")["main"]("ws://127.0.0.1:1", "token"))
    ran: list[tuple[object, ...]] = []
    status, accept = DriverCommands.status, OfferCommands.accept
    progress = StepCommands.progress

    async def note_status(self: Any, market: str, driver: str, wish: Any, until_ms: Any) -> Any:
        ran.append((wish, until_ms is not None))
        return await status(self, market, driver, wish, until_ms)

    async def note_accept(self: Any, market: str, driver: str, offer: str) -> Any:
        answered = await accept(self, market, driver, offer)
        ran.append(("run" if len(answered.jobs) > 1 else "more", "accepted"))
        return answered

    async def note_step(self: Any, report: StepReport) -> Any:
        ran.append((report.ref.job.rpartition(".")[2], report.step))
        return await progress(self, report)

    monkeypatch.setattr(DriverCommands, "status", note_status)
    monkeypatch.setattr(OfferCommands, "accept", note_accept)
    monkeypatch.setattr(StepCommands, "progress", note_step)
    simulate(a_day_with_an_added_order(), redis_url)
    assert ran[: len(AppWithAddedJob.sent)] == AppWithAddedJob.sent


# -- answers


def test_demo_and_load_tests_answer_alike() -> None:
    parser = argparse.ArgumentParser()
    _add_traffic(parser)
    options = parser.parse_args([])
    assert (options.decline, options.lapse) == (USUAL_ANSWERS.decline, USUAL_ANSWERS.lapse)
    assert AppHabits().answers == USUAL_ANSWERS
    assert SwarmPlan(urls=("http://127.0.0.1:1",)).habits.answers == USUAL_ANSWERS
    for habits in (Habits(), Plan().habits):  # whose sockets are lost, too
        assert replace(habits.answers, vanish=0.0) == USUAL_ANSWERS


def test_all_offers_of_a_mall_day_are_accepted() -> None:
    """Its orders and drivers are the measure, not refusals: the only difference."""
    day = a_mall_day()
    assert {shift.acceptance for shift in day.shifts} == {1.0}
