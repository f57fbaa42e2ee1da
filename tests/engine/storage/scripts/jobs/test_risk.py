"""The risk of open jobs: determined when it may change, and announced once."""

from typing import Any

import pytest

from mallard_engine.ports import Stop
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.storage.worlds import HOUR_MS, MARKET, NODE, RESUME_MS, World

MINUTE_MS = 60_000
MARGIN_MS = 10 * MINUTE_MS
LEAD_MS, HAUL_MS = 5 * MINUTE_MS, 15 * MINUTE_MS
COURSE: dict[str, Any] = {"lead_ms": LEAD_MS, "haul_ms": HAUL_MS}


async def risks(world: World) -> list[str]:
    """Look at all risks that are due; return the changes."""
    due = await world.store.deadlines.risks_due(MARKET, 10)
    changed = [await world.store.deadlines.look_at_risk(job) for job in due]
    return [risk.value for risk in changed if risk is not None]


async def test_waiting_job_becomes_at_risk_then_late(world: World) -> None:
    ref = await world.submit(
        deadline_ms=world.now + HOUR_MS, expires_ms=world.now + HOUR_MS, **COURSE
    )
    assert await risks(world) == []
    await world.pass_ms(HOUR_MS - MARGIN_MS - LEAD_MS - HAUL_MS)
    assert await risks(world) == []
    await world.pass_ms(1)
    assert await risks(world) == ["at_risk"]
    await world.pass_ms(MARGIN_MS)
    assert await risks(world) == ["late"]
    assert (await world.job(ref)).risk == "late"
    announced = [(event["from"], event["to"], event["job"]) for event in await world.events("risk")]
    assert announced == [("none", "at_risk", ref.job), ("at_risk", "late", ref.job)]
    assert await risks(world) == []


async def test_urgent_order_is_at_risk_from_the_start(world: World) -> None:
    await world.submit(deadline_ms=world.now + LEAD_MS + HAUL_MS, **COURSE)
    assert await risks(world) == ["at_risk"]


async def test_scheduled_job_counts_from_its_release(world: World) -> None:
    later = world.now + HOUR_MS
    await world.submit(
        state=JobState.SCHEDULED,
        release_ms=later,
        deadline_ms=later + HAUL_MS,
        **COURSE,
    )
    assert await risks(world) == ["late"]


async def test_driver_who_arrives_sooner_ends_the_risk(world: World) -> None:
    await world.driver("ann")
    ref = await world.submit(deadline_ms=world.now + LEAD_MS + HAUL_MS, **COURSE)
    assert await risks(world) == ["at_risk"]
    await world.store.offers.accept(MARKET, "ann", await world.offer(ref, "ann"))
    assert await risks(world) == ["none"]


async def test_new_times_of_a_holder_change_the_risk(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned(deadline_ms=world.now + HOUR_MS)
    assert await risks(world) == []
    for minutes, expected in ((51, ["at_risk"]), (61, ["late"]), (62, []), (49, ["none"])):
        done_ms = world.now + minutes * MINUTE_MS
        stop = Stop(ref.job, attempt, world.now, done_ms)
        await world.store.jobs.update_etas(MARKET, "ann", [stop])
        assert await risks(world) == expected


async def test_job_of_a_silent_driver_is_looked_at_again(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned(deadline_ms=world.now + LEAD_MS + HAUL_MS + MARGIN_MS, **COURSE)
    assert await risks(world) == []
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(RESUME_MS * 2)
    await world.store.deadlines.silence(await world.entry(ref))
    assert await world.state(ref) == "queued"
    assert await risks(world) == ["at_risk"]


async def test_ended_job_is_never_looked_at(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up(deadline_ms=world.now + MINUTE_MS)
    assert await risks(world) == ["at_risk"]
    await world.step(ref, Step.DELIVERED, attempt)
    assert await world.redis.zcard(world.keys.key("risks")) == 0
    assert await world.store.deadlines.look_at_risk(ref.job) is None


@pytest.mark.parametrize("times", [2])
async def test_risk_is_recorded_once(world: World, times: int) -> None:
    ref = await world.submit(deadline_ms=world.now + 1, **COURSE)
    for _ in range(times):
        await world.store.deadlines.look_at_risk(ref.job)
    assert len(await world.events("risk")) == 1
