"""Every `job` push contains the driver's state after the change, whatever the reason."""

import re
from collections.abc import Awaitable, Callable

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef, LateJob
from mallard_engine.storage.scripts import all_scripts
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.worlds import MALL, MARKET, NODE, RESUME_MS, World

pytestmark = pytest.mark.finding("C7")


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=2, silence_stretch=1)


async def cancelled(world: World, ref: JobRef) -> None:
    await world.store.jobs.cancel(ref, "toys", "customer")


async def unassigned(world: World, ref: JobRef) -> None:
    await world.store.jobs.release(ref, 1, Outcome.UNASSIGNED, "operator", "mistake")


async def reassigned(world: World, ref: JobRef) -> None:
    await world.driver("bob")
    await world.store.jobs.assign(ref, "bob", "operator")


async def arrived(world: World, ref: JobRef) -> None:
    await world.store.jobs.arrive(ref, "ann", 1)


async def ready_changed(world: World, ref: JobRef) -> None:
    job = await world.job(ref)
    await world.store.jobs.ready(
        ref, was=job, body=b"{}", card=job.card, need=job.need, release_ms=world.now, actor="toys"
    )


async def closed(world: World, ref: JobRef) -> None:
    await world.step(ref, Step.PICKED_UP, 1)
    await world.store.jobs.close(ref, JobState.LOST, "operator", "gone")


async def silent(world: World, ref: JobRef) -> None:
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(RESUME_MS)
    await world.store.deadlines.silence(await world.entry(ref))


async def handed_over(world: World, ref: JobRef) -> None:
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    lost_ms = (await world.record()).lost_ms
    await world.pass_ms(RESUME_MS)
    await world.driver("bob")
    late = LateJob(MALL, ref.job, "ann", 1, lost_ms)
    assert (await world.store.offers.reassign(late, world.plan(ref, 1, "bob"))).verdict == "offered"


async def collected(world: World, ref: JobRef) -> None:
    """An earlier holder has the parcel; the driver assigned since gets a push."""
    await world.store.jobs.release(ref, 1, Outcome.UNASSIGNED, "operator", "mistake")
    await world.driver("bob")
    await world.store.jobs.assign(ref, "bob", "operator")
    await world.step(ref, Step.PICKED_UP, 1)


CHANGES: list[tuple[Callable[[World, JobRef], Awaitable[None]], str, str, str]] = [
    (cancelled, "ann", "cancelled", "available"),
    (unassigned, "ann", "unassigned", "available"),
    (reassigned, "ann", "unassigned", "available"),
    (reassigned, "bob", "assigned", "on_run"),
    (arrived, "ann", "arrived", "on_run"),
    (ready_changed, "ann", "ready_changed", "on_run"),
    (closed, "ann", "closed", "available"),
    (collected, "bob", "collected", "available"),
]


@pytest.mark.parametrize(("change", "driver", "reason", "state"), CHANGES)
async def test_job_push_contains_the_drivers_state(
    world: World,
    change: Callable[[World, JobRef], Awaitable[None]],
    driver: str,
    reason: str,
    state: str,
) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    await change(world, ref)
    push = [push for push in await world.pushes(driver) if push.kind == "job"][-1]
    assert (push.reason, push.driver_state) == (reason, state)
    assert push.driver_state == (await world.record(driver)).shown


@pytest.mark.parametrize("change", [silent, handed_over])
async def test_driver_without_a_socket_is_woken_instead(
    world: World, change: Callable[[World, JobRef], Awaitable[None]]
) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    await change(world, ref)
    assert [push for push in await world.pushes("ann") if push.kind == "job"] == []
    woken = [it for it in await world.events("driver") if it["what"] == "wake"]
    assert [(it["driver"], it["reason"]) for it in woken] == [("ann", "job")]
    assert (await world.record("ann")).shown == "offline"


async def test_driver_stays_on_run_if_one_of_two_jobs_is_cancelled(world: World) -> None:
    await world.driver(vehicle=Vehicle(max_jobs=2))
    first, second = await world.assigned_run("ann", 2)
    states = []
    for ref in (first, second):
        await world.store.jobs.cancel(ref, "toys", "customer")
        states.append((await world.pushes())[-1].driver_state)
    assert states == ["on_run", "available"]


def test_every_job_push_in_lua_has_the_drivers_state() -> None:
    pushed = [
        body
        for script in all_scripts().values()
        for body in re.findall(r"\bpush\([^{]*\{([^}]*)\}", script.source.decode())
        if "kind = 'job'" in body
    ]
    assert pushed
    assert all("driver_state = " in body for body in pushed)
