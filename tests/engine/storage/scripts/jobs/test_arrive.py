"""Arrival by geofence."""

import pytest

from mallard_protocol.lifecycle import HELD, JobState
from tests.engine.storage.worlds import World


async def test_arrival_of_the_holder_is_stored_and_pushed(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann")
    effects = await world.store.jobs.arrive(ref, "ann", attempt)
    job = await world.job(ref)
    assert (job.state, job.driver, job.attempt) == (JobState.AT_MALL, "ann", attempt)
    (push,) = effects.pushes
    pushed = (push.driver, push.kind, push.state, push.reason, push.attempt)
    assert pushed == ("ann", "job", "at_mall", "arrived", attempt)
    assert (job.timeline[-1].actor, job.timeline[-1].cause) == ("engine", "arrived")


@pytest.mark.parametrize("state", sorted(HELD - {JobState.ASSIGNED}))
async def test_arrival_after_another_step_has_no_effect(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    before = await world.dump()
    assert (await world.store.jobs.arrive(ref, "ann", attempt)).pushes == ()
    assert await world.dump() == before


async def test_arrival_of_another_driver_or_attempt_is_ignored(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned("ann")
    before = await world.dump()
    for driver, named in (("bob", attempt), ("ann", attempt - 1), ("ann", attempt + 1)):
        await world.store.jobs.arrive(ref, driver, named)
    assert await world.dump() == before
