"""Stays that the script of a pick-up counts: which ones, and as
`engine/mallard_engine/core/pickup/dwell_estimate.py` would."""

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
    """An order's driver comes, and has the parcel so much later."""
    ref, attempt = await world.assigned(**order)
    await world.step(ref, Step.AT_MALL, attempt)
    await world.pass_ms(ms)
    await world.step(ref, Step.PICKED_UP, attempt)
    return ref, attempt


async def delivered(world: World, ms: int) -> None:
    ref, attempt = await stay(world, ms)
    await world.step(ref, Step.DELIVERED, attempt)
    await world.fix("ann")


async def kept(world: World) -> dict[str, DwellSketch]:
    return {
        name: DwellSketch.parse(packed)
        for name, packed in (await world.store.drivers.dwells(MARKET)).items()
    }


async def test_the_script_counts_as_the_engine_does(world: World) -> None:
    await world.driver("ann")
    dice = random.Random(1)
    spans = [0, 1, 15_000, 15_001, 16_500, 16_501, 30_000_000]
    spans += [round(dice.lognormvariate(12.5, 1)) for _ in range(FULL + 30)]
    sketch = DwellSketch()
    for ms in spans:
        await delivered(world, ms)
        sketch = sketch.with_stay(ms)
        assert await world.store.drivers.dwells(MARKET) == {LEGO: sketch.pack()}
    assert sketch.seen < FULL  # it has been halved


async def test_an_arrival_that_was_noticed_counts_as_one_that_was_told(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.store.jobs.arrive(ref, "ann", attempt)
    await world.pass_ms(240_000)
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await kept(world) == {LEGO: DwellSketch().with_stay(240_000)}
    await world.step(ref, Step.PICKED_UP, attempt)  # a repeat is as once
    assert await kept(world) == {LEGO: DwellSketch().with_stay(240_000)}


async def test_arrival_reported_with_the_pickup_counts_no_stay(world: World) -> None:
    await world.driver("ann")
    await world.picked_up()
    assert await kept(world) == {}


async def test_wait_for_the_parcel_counts_no_stay(world: World) -> None:
    await world.driver("ann")
    await stay(world, 240_000, ready_ms=world.now + 1)
    assert await kept(world) == {}


async def test_what_is_ready_as_the_driver_comes_is_not_waited_for(world: World) -> None:
    await world.driver("ann")
    await stay(world, 240_000, ready_ms=world.now)
    assert (await kept(world))[LEGO].seen == 1


async def test_several_stores_count_no_stay(world: World) -> None:
    await world.driver("ann")
    await stay(world, 240_000, stores=("lego", "apple"))
    assert await kept(world) == {}


async def test_a_claim_of_custody_is_no_stay(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.step(ref, Step.AT_MALL, attempt)
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    await world.pass_ms(240_000)
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await kept(world) == {}


async def test_whatever_somebody_wrote_there_stops_no_pickup(world: World) -> None:
    await world.driver("ann")
    for written in (b"\x00" + b"\xff" * BUCKETS, b"\xff" * (BUCKETS + 1)):
        await world.redis.hset(world.keys.key("dwell"), LEGO, written)
        await delivered(world, 240_000)
        assert (await kept(world))[LEGO].seen == 0


async def test_what_cannot_be_read_is_begun_anew(world: World) -> None:
    await world.driver("ann")
    await world.redis.hset(world.keys.key("dwell"), LEGO, b"of another version")
    await stay(world, 240_000)
    assert await kept(world) == {LEGO: DwellSketch().with_stay(240_000)}


class TestWithoutLearning:
    """A market that keeps to its policy's figure."""

    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(dwell_visits=0)

    async def test_nothing_is_kept(self, world: World) -> None:
        await world.driver("ann")
        await stay(world, 240_000)
        assert await kept(world) == {}


class TestInRuns:
    """A market whose drivers hold several jobs."""

    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=2)

    async def test_several_jobs_count_no_stay(self, world: World) -> None:
        await world.driver("ann", vehicle=Vehicle(max_jobs=2))
        for ref in await world.assigned_run("ann", 2):
            await world.step(ref, Step.AT_MALL, 1)
            await world.pass_ms(240_000)
            await world.step(ref, Step.PICKED_UP, 1)
        assert await kept(world) == {}

    async def test_the_last_in_hand_counts(self, world: World) -> None:
        await world.driver("ann", vehicle=Vehicle(max_jobs=2))
        await stay(world, 240_000)
        assert (await kept(world))[LEGO].seen == 1
