"""The audit of a market with runs: a consistent Redis has no breach, each planted one is reported,
and ended runs leave no entries."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import Outcome, Step
from tests.engine.storage.breaches.writing import change, set_job
from tests.engine.storage.worlds import ACK_MS, MALL, MARKET, STALE_MS, World

VAN = Vehicle(kind="van", max_jobs=3)


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=3)


async def driver_with_more_than_fits(world: World) -> None:
    await world.driver("ann", vehicle=Vehicle(max_jobs=9))
    await world.driver("bob", vehicle=VAN)
    mine, others = await world.assigned_run("ann", 3), await world.assigned_run("bob", 1)
    await set_job(world, others[0], driver="ann")
    await change(world, "drivers", "bob", jobs=[])
    jobs = [{"job": ref.job, "attempt": 1, "mall": MALL} for ref in (*mine, *others)]
    await change(world, "drivers", "ann", jobs=jobs)


async def express_job_accepted_beside_another(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 2)
    await set_job(world, refs[1], need=express_need(world))


async def job_accepted_beside_an_express_job(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 2)
    await set_job(world, refs[0], need=express_need(world))


async def express_job_offered_in_a_run(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, _ = await world.offered_run("ann", 2)
    await set_job(world, refs[0], need=express_need(world))


async def driver_of_an_express_job_in_coming(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned("ann", service_level=ServiceLevel.EXPRESS)
    await world.redis.zadd(world.keys.key("coming"), {f"{MALL}/ann": 0})
    await change(world, "drivers", "ann", coming=MALL)


def express_need(world: World) -> bytes:
    return msgspec.msgpack.encode(world.submission(service_level=ServiceLevel.EXPRESS).need)


async def run_with_a_queued_job(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, _ = await world.offered_run("ann", 3)
    await set_job(world, refs[1], state="queued", offer="")


async def run_offered_at_an_old_attempt(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, _ = await world.offered_run("ann", 3)
    await set_job(world, refs[2], attempt=2)


async def run_accepted_partly(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 3)
    await set_job(world, refs[2], driver="bob")


async def run_without_one_of_its_due_entries(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, offer = await world.offered_run("ann", 2)
    await world.redis.zrem(world.keys.key("due"), f"offer/{MALL}/{offer}/{refs[1].job}")


async def full_driver_in_coming(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned_run("ann", 3)
    await world.redis.zadd(world.keys.key("coming"), {f"{MALL}/ann": 0})
    await change(world, "drivers", "ann", coming=MALL)


async def driver_at_the_mall_in_coming(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    (ref,) = await world.assigned_run("ann", 1)
    await world.step(ref, Step.AT_MALL, 1)
    await world.redis.zadd(world.keys.key("coming"), {f"{MALL}/ann": 0})
    await change(world, "drivers", "ann", coming=MALL)


async def driver_coming_to_another_mall(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned_run("ann", 1)
    await world.redis.zadd(world.keys.key("coming"), {"elsewhere/ann": 0})


async def unknown_driver_in_coming(world: World) -> None:
    await world.redis.zadd(world.keys.key("coming"), {f"{MALL}/nobody": 0})


async def stale_driver_in_coming(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned_run("ann", 1)
    await world.pass_ms(STALE_MS + 3_000)


async def driver_on_its_way_outside_the_index(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.assigned_run("ann", 1)
    await world.redis.zrem(world.keys.key("coming"), f"{MALL}/ann")


async def driver_whose_position_has_just_its_longest_age(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    await world.pass_ms(STALE_MS)
    await world.redis.zrem(world.keys.key("idle"), "ann")


Plant = Callable[[World], Awaitable[None]]
PLANTED: list[tuple[str, Plant]] = [
    ("S2", driver_with_more_than_fits),
    ("S2", express_job_accepted_beside_another),
    ("S2", job_accepted_beside_an_express_job),
    ("S2", express_job_offered_in_a_run),
    ("S3", run_with_a_queued_job),
    ("S3", run_offered_at_an_old_attempt),
    ("S5", run_accepted_partly),
    ("S10", full_driver_in_coming),
    ("S10", driver_of_an_express_job_in_coming),
    ("S10", driver_at_the_mall_in_coming),
    ("S10", driver_coming_to_another_mall),
    ("S10", unknown_driver_in_coming),
    ("S10", stale_driver_in_coming),
    ("S14", run_without_one_of_its_due_entries),
    ("L1", driver_on_its_way_outside_the_index),
    ("L1", driver_whose_position_has_just_its_longest_age),
]


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=lambda p: getattr(p, "__name__", p))
async def test_planted_breach_is_reported(planted: World, rule: str, plant: Plant) -> None:
    await plant(planted)
    found = await planted.breaches()
    assert rule in {breach.rule for breach in found}, found


async def test_ended_runs_leave_no_breach_and_no_entries(world: World) -> None:
    """Runs with each outcome, with an add-on; afterwards the sets are empty."""
    await world.driver("ann", vehicle=VAN)
    store = world.store
    for end in ("delivered", "cancelled", "given up", "declined", "unacknowledged"):
        await world.fix("ann")
        refs, offer = await world.offered_run("ann", 2)
        assert await world.breaches() == ()
        if end == "declined":
            await store.offers.decline(MARKET, "ann", offer, "")
        elif end == "unacknowledged":
            await world.pass_ms(ACK_MS)
            await store.deadlines.lapse(await world.entry(refs[0]))
            await store.drivers.seen(MARKET, "ann")
        else:
            await store.offers.accept(MARKET, "ann", offer)
            more = await world.submit()
            plan = world.plan(more, 0, "ann")
            await store.offers.make(plan)
            assert await world.breaches() == ()
            await store.offers.accept(MARKET, "ann", plan.offer)
            refs = (*refs, more)
        for ref in refs:
            if end == "given up":
                await world.step(ref, Step.GIVE_UP, 1)
            elif end == "delivered":
                await world.step(ref, Step.PICKED_UP, 1)
                assert await world.breaches() == ()
                await world.step(ref, Step.DELIVERED, 1)
                continue
            await store.jobs.cancel(ref, "toys", "")
        assert await world.breaches() == ()
        await world.pass_ms(30_000)
        await store.deadlines.driver_due(MARKET, "ann")
    assert (await world.coming(), await world.waiting()) == (set(), [])
    assert {member.partition("/")[0] for member in await world.due()} == {"driver"}
    assert await world.redis.exists(world.keys.key("coming")) == 0


async def test_released_job_of_a_run_is_no_breach(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs = await world.assigned_run("ann", 3)
    await world.store.jobs.release(refs[0], 1, Outcome.UNASSIGNED, "operator", "")
    await world.store.jobs.cancel(refs[1], "toys", "")
    assert await world.breaches() == ()
    packed = await world.redis.hget(world.keys.key("drivers"), "ann")
    assert len(msgspec.msgpack.decode(packed)["jobs"]) == 1
