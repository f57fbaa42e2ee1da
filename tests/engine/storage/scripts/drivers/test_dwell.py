"""Dwell times that the pickup script records: which stays count, and in the same sketch as
`engine/mallard_engine/core/pickup/dwell_estimate.py`."""

import random
from typing import Any

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.pickup.dwell_estimate import BUCKETS, FULL, DwellSketch
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.storage.worlds import MALL, MARKET, World

LEGO = f"{MALL}/lego"


async def stay(world: World, ms: int, **order: Any) -> tuple[JobRef, int]:
    """Let a driver arrive for an order and pick it up `ms` later."""
    ref, attempt = await world.assigned(**order)
    await world.step(ref, Step.AT_MALL, attempt)
    await world.pass_ms(ms)
    await world.step(ref, Step.PICKED_UP, attempt)
    return ref, attempt


async def delivered(world: World, ms: int) -> None:
    ref, attempt = await stay(world, ms)
    await world.step(ref, Step.DELIVERED, attempt)
    await world.fix("ann")


async def sketches(world: World) -> dict[str, DwellSketch]:
    return {
        name: DwellSketch.parse(packed)
        for name, packed in (await world.store.drivers.dwells(MARKET)).items()
    }


async def test_script_and_engine_compute_the_same_sketch(world: World) -> None:
    await world.driver("ann")
    rng = random.Random(1)
    durations_ms = [0, 1, 15_000, 15_001, 16_500, 16_501, 30_000_000]
    durations_ms += [round(rng.lognormvariate(12.5, 1)) for _ in range(FULL + 30)]
    sketch = DwellSketch()
    for number, ms in enumerate(durations_ms, 1):
        sketch = sketch.with_stay(ms)
        if 40 < number < FULL - 15:
            continue  # each stay is six calls; the script reads those between as stored
        if number == FULL - 15:
            await world.redis.hset(world.keys.key("dwell"), LEGO, sketch.pack())
            continue
        await delivered(world, ms)
        assert await world.store.drivers.dwells(MARKET) == {LEGO: sketch.pack()}
    assert sketch.seen < FULL  # it has been halved


async def test_stay_after_a_geofence_arrival_counts(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.store.jobs.arrive(ref, "ann", attempt)
    await world.pass_ms(240_000)
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await sketches(world) == {LEGO: DwellSketch().with_stay(240_000)}
    await world.step(ref, Step.PICKED_UP, attempt)  # a repeat counts no second stay
    assert await sketches(world) == {LEGO: DwellSketch().with_stay(240_000)}


async def test_arrival_reported_with_the_pickup_counts_no_stay(world: World) -> None:
    await world.driver("ann")
    await world.picked_up()
    assert await sketches(world) == {}


async def test_wait_for_the_parcel_counts_no_stay(world: World) -> None:
    await world.driver("ann")
    await stay(world, 240_000, ready_ms=world.now + 1)
    assert await sketches(world) == {}


async def test_stay_counts_if_the_parcel_was_ready_on_arrival(world: World) -> None:
    await world.driver("ann")
    await stay(world, 240_000, ready_ms=world.now)
    assert (await sketches(world))[LEGO].seen == 1


async def test_job_of_several_shops_counts_no_stay(world: World) -> None:
    await world.driver("ann")
    await stay(world, 240_000, stores=("lego", "apple"))
    assert await sketches(world) == {}


async def test_claim_of_custody_is_no_stay(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.step(ref, Step.AT_MALL, attempt)
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    await world.pass_ms(240_000)
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await sketches(world) == {}


async def test_corrupt_sketch_does_not_stop_a_pickup(world: World) -> None:
    await world.driver("ann")
    for written in (b"\x00" + b"\xff" * BUCKETS, b"\xff" * (BUCKETS + 1)):
        await world.redis.hset(world.keys.key("dwell"), LEGO, written)
        await delivered(world, 240_000)
        assert (await sketches(world))[LEGO].seen == 0


async def test_unreadable_sketch_is_started_over(world: World) -> None:
    await world.driver("ann")
    await world.redis.hset(world.keys.key("dwell"), LEGO, b"of another version")
    await stay(world, 240_000)
    assert await sketches(world) == {LEGO: DwellSketch().with_stay(240_000)}


class TestWithoutLearning:
    """A market that uses the service time of its policy."""

    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=1, dwell_visits=0)

    async def test_no_sketch_is_kept(self, world: World) -> None:
        await world.driver("ann")
        await stay(world, 240_000)
        assert await sketches(world) == {}


class TestInRuns:
    """A market whose drivers hold several jobs."""

    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=2)

    async def test_pickup_of_several_jobs_counts_no_stay(self, world: World) -> None:
        await world.driver("ann", vehicle=Vehicle(max_jobs=2))
        for ref in await world.assigned_run("ann", 2):
            await world.step(ref, Step.AT_MALL, 1)
            await world.pass_ms(240_000)
            await world.step(ref, Step.PICKED_UP, 1)
        assert await sketches(world) == {}

    async def test_stay_for_a_single_job_counts(self, world: World) -> None:
        await world.driver("ann", vehicle=Vehicle(max_jobs=2))
        await stay(world, 240_000)
        assert (await sketches(world))[LEGO].seen == 1
