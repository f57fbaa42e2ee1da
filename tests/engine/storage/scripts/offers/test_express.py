"""An express job is its driver's only one until it ends, except by custody and operators."""

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef, Refused
from mallard_protocol.codes import ErrorCode, ServiceLevel
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.storage.worlds import MALL, MARKET, World

VAN = Vehicle(kind="van", max_jobs=3)
EXPRESS = ServiceLevel.EXPRESS


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=3)


async def verdict(world: World, refs: list[JobRef], driver: str = "ann") -> str:
    """The verdict of an offer of these jobs in one run."""
    return (await world.store.offers.make(await world.run_plan(refs, driver))).verdict


async def test_express_job_is_offered_to_a_free_driver(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    assert await verdict(world, [await world.submit(service_level=EXPRESS)]) == "offered"


@pytest.mark.parametrize("place", [0, 1])
async def test_run_with_an_express_job_is_not_offered(world: World, place: int) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = [await world.submit()]
    refs.insert(place, await world.submit(service_level=EXPRESS))
    assert await verdict(world, refs) == "nobody"


async def test_express_job_is_no_add_on(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned("ann")
    assert await verdict(world, [await world.submit(service_level=EXPRESS)]) == "nobody"
    assert await verdict(world, [await world.submit()]) == "offered"


async def test_driver_of_an_express_job_gets_no_other_until_it_ends(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    ref, attempt = await world.assigned("ann", service_level=EXPRESS)
    assert await world.coming() == set()
    more = await world.submit()
    assert await verdict(world, [more]) == "nobody"
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await verdict(world, [more]) == "nobody"
    await world.step(ref, Step.DELIVERED, attempt)
    assert await verdict(world, [more]) == "offered"


async def test_operator_may_assign_an_express_job_beside_others(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned("ann")
    express = await world.submit(service_level=EXPRESS)
    await world.store.jobs.assign(express, "ann", "boss")
    assert [held.alone for held in (await world.record()).jobs] == [False, True]
    assert await world.coming() == set()
    assert await world.breaches() == ()
    await world.store.jobs.assign(await world.submit(), "ann", "boss")
    assert len((await world.record()).jobs) == 3


async def test_add_on_is_closed_by_custody_of_an_express_job(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    express, attempt = await world.assigned("ann", service_level=EXPRESS)
    await world.store.jobs.release(express, attempt, Outcome.UNASSIGNED, "boss", "")
    await world.assigned("ann")
    _, add_on = await world.offered("ann")
    await world.step(express, Step.PICKED_UP, attempt)
    with pytest.raises(Refused) as refused:
        await world.store.offers.accept(MARKET, "ann", add_on)
    assert refused.value.code is ErrorCode.OFFER_CLOSED
    assert await world.breaches() == ()


@pytest.mark.parametrize(("preset", "expected"), [("express", set()), ("pooled", {f"{MALL}/ann"})])
async def test_stored_job_without_a_level_has_that_of_the_preset(
    world: World, preset: str, expected: set[str]
) -> None:
    world.store.use({MARKET: MarketPolicy(max_run_jobs=3, preset=preset)})  # type: ignore[arg-type]
    await world.driver("ann", vehicle=VAN)
    await world.assigned("ann", service_level=None)
    assert await world.coming() == expected
