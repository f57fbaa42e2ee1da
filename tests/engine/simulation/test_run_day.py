"""Days through the real dispatcher: the same seed is the same day, whatever the round."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mallard_engine.core.policy import Round
from mallard_engine.simulation.mdrp import instance_files
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Day, Scenario
from tests.engine.simulation.instances import write_instance

ROUNDS = ("instant", "batch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_instance(tmp_path / "town")


def scenario(folder: Path, how: Round, *, acceptance: float = 1.0, seed: int = 1) -> Scenario:
    instance = instance_files.read_instance(folder)
    policy = replace(instance_files.default_policy(instance.parameters), round=how, cooldown_s=30.0)
    day = instance_files.scenario_of(instance, policy, seed)
    shifts = tuple(replace(shift, acceptance=acceptance) for shift in day.shifts)
    return replace(day, shifts=shifts, sweep_s=1.0, answer_ms=2_000 if acceptance < 1 else 0)


def shape(day: Day) -> tuple[object, ...]:
    return day.events, day.trips, day.offers, day.store_calls


@pytest.mark.slow
@pytest.mark.parametrize("how", ROUNDS)
def test_same_seed_is_the_same_day_event_for_event(
    folder: Path, redis_url: str, how: Round
) -> None:
    choosy = scenario(folder, how, acceptance=0.6)
    first = simulate(choosy, redis_url)
    assert shape(simulate(choosy, redis_url)) == shape(first)
    assert {"accepted", "declined", "expired"} <= first.offers.keys()
    other = simulate(scenario(folder, how, acceptance=0.6, seed=2), redis_url)
    assert other.events != first.events


@pytest.mark.slow
def test_another_process_sees_the_same_day(folder: Path, redis_url: str) -> None:
    """The order of sets and hashes is another in every process."""
    program = (
        "import hashlib, sys; from pathlib import Path;"
        "from mallard_engine.simulation.run_day import simulate;"
        "from tests.engine.simulation.test_run_day import scenario;"
        "day = simulate(scenario(Path(sys.argv[1]), 'instant', acceptance=0.6), sys.argv[2]);"
        "print(hashlib.sha256(repr(day.events).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(folder), redis_url],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[-1]
        for seed in ("1", "2")
    }
    here = simulate(scenario(folder, "instant", acceptance=0.6), redis_url)
    assert digests == {hashlib.sha256(repr(here.events).encode()).hexdigest()}


@pytest.mark.parametrize("how", ["instant", pytest.param("batch", marks=pytest.mark.slow)])
def test_every_order_ends_once(folder: Path, redis_url: str, how: Round) -> None:
    day = simulate(scenario(folder, how), redis_url)
    ends = Counter(
        str(event["job"])
        for event in day.events
        if event["kind"] == "job" and event["to"] in {"delivered", "expired"}
    )
    assert len(ends) == len(day.scenario.orders)
    assert set(ends.values()) == {1}
    delivered = [e for e in day.events if e["kind"] == "job" and e["to"] == "delivered"]
    assert len(delivered) == len(day.trips) > 0
    assert day.offers == {"accepted": len(day.trips)}


@pytest.mark.slow
def test_held_batch_sends_no_driver_early(folder: Path, redis_url: str) -> None:
    """Late commitment: a driver that could be early arrives when the parcel is ready."""
    day = simulate(scenario(folder, "batch"), redis_url)
    assert max(_early_ms(day)) < 60_000
    at_once = scenario(folder, "batch")
    at_once = replace(at_once, policy=replace(at_once.policy, send_early_s=86_400.0))
    assert max(_early_ms(simulate(at_once, redis_url))) > 60_000


def _early_ms(day: Day) -> list[int]:
    """How long before its parcel was ready each driver stood at the counter."""
    malls = day.scenario.places.malls
    return [
        trip.order.ready_ms
        - trip.arrived_ms
        - malls[trip.order.mall].stores[trip.order.stores[0]].walk_s * 1000
        for trip in day.trips
    ]
