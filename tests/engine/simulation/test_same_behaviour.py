"""Simulated mall days, the demo, load tests and apps have the same policy, vehicles and answers, so
that a figure of one holds for the others."""

import argparse
import asyncio
import random
from collections.abc import AsyncIterator
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
from mallard_engine.gateway.stated_vehicles import stated_vehicle
from mallard_engine.ports import JobRef
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Scenario
from mallard_engine.simulation.scenarios import mallday
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


class AppOfTwoJobs:
    """In the place of `DriverClient`: offers two jobs, and keeps what the program sends."""

    sent: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self, *_: str) -> None:
        self.sent.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def location(self, *_: float, **__: float) -> None:
        pass

    async def status(self, wish: str, until_ms: int | None = None) -> None:
        self.sent.append((wish, until_ms))

    async def offers(self) -> AsyncIterator[str]:
        yield "offer"

    async def accept(self, _: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(job="first"), SimpleNamespace(job="second")]

    async def progress(self, job: str, step: Step) -> None:
        self.sent.append((job, step))


def test_readme_driver_of_a_mall_day_sends_what_the_program_does(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mallard_client, "DriverClient", AppOfTwoJobs)
    asyncio.run(program("driver")["main"]("ws://127.0.0.1:1", "token"))
    sent: list[tuple[object, ...]] = []
    status, progress = DriverCommands.status, DriverCommands.progress

    async def note_status(self: Any, market: str, driver: str, *wish: Any) -> Any:
        sent.append(wish)
        return await status(self, market, driver, *wish)

    async def note_step(self: Any, ref: JobRef, driver: str, n: int, step: Step, **how: Any) -> Any:
        sent.append((ref.job, step))
        return await progress(self, ref, driver, n, step, **how)

    monkeypatch.setattr(DriverCommands, "status", note_status)
    monkeypatch.setattr(DriverCommands, "progress", note_step)
    day = replace(a_mall_day(), readme_drivers=True)
    order, shift = day.orders[0], replace(day.shifts[0], off_ms=day.end_ms)
    # Both wait when the driver comes: they are one run.
    shift = replace(shift, on_ms=order.placed_ms + 600_000)
    both = tuple(replace(order, id=name, ready_ms=order.placed_ms) for name in ("o1", "o2"))
    simulate(replace(day, orders=both, shifts=(shift,), answer_ms=0), redis_url)
    names = {str(job): "" for job, step in sent if step is Step.AT_MALL}
    names = dict(zip(names, ("first", "second"), strict=True))
    ran = [(names.get(str(what), what), then) for what, then in sent]
    assert ran[: len(AppOfTwoJobs.sent)] == AppOfTwoJobs.sent


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
