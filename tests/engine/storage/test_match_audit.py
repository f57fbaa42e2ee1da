"""The audit's rule L1: no free driver may stay beside a waiting job that it could take."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef
from mallard_engine.storage.audit.audit import Audit, Breach, audit
from mallard_engine.storage.keys import place_of
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.lifecycle import Wish
from tests.engine.storage.script_calls import RecordingLink
from tests.engine.storage.worlds import HOUR_MS, MARKET, Clock, World

pytestmark = pytest.mark.finding("A7")

MALLS: Final = tuple(Places.load(opening_hours=False).market(MARKET).malls.values())
MALL: Final = next(mall for mall in MALLS if mall.id == "chandler-fashion-center")
# More than a round reads of a queue, and more than a page of the audit.
LONG: Final = 1_500
PATIENCE_S: Final = 5

Meanwhile = Callable[[], Awaitable[object]]


async def audit_l1(
    world: World,
    meanwhile: Meanwhile | None = None,
    *,
    limit: int | None = None,
    policy: MarketPolicy | None = None,
) -> Audit:
    """Audit Redis, call `meanwhile` between the two checks, and keep only L1 breaches."""

    async def sleep(seconds: float) -> None:
        await world.pass_ms(int(seconds * 1000))
        if seconds and meanwhile is not None:
            await meanwhile()

    whole = await audit(
        world.url,
        {MARKET: policy or world.policy},
        now_ms=world.clock,
        sleep=sleep,
        settle_s=0,
        limit=limit,
        malls={MARKET: MALLS},
        patience_s=PATIENCE_S,
    )
    return replace(whole, breaches=tuple(it for it in whole.breaches if it.rule == "L1"))


async def submit(world: World, **changes: Any) -> JobRef:
    return await world.submit(mall=MALL.id, **changes)


async def free_driver(world: World, name: str = "ann", vehicle: Vehicle | None = None) -> str:
    return await world.driver(name, lat=MALL.lat, lon=MALL.lon, vehicle=vehicle)


async def long_queue(world: World, number: int = LONG) -> None:
    """Queue copies of a job that no vehicle can carry, of a service that sorts first."""
    ref = await submit(world, requires=("forklift",), service="aaa")
    keys, job = world.keys, await world.job(await submit(world, requires=("forklift",)))
    waiting = await world.redis.hget(keys.key("waiting"), ref.job)
    async with world.redis.pipeline(transaction=False) as pipeline:
        for copy in range(number):
            name = f"job_{MARKET}.copy{copy:08}"
            place = place_of("aaa", 0, job.created_ms, name, job.need.demand)
            pipeline.zadd(keys.wait(MALL.id), {place: 0})
            pipeline.hset(keys.key("waiting"), name, waiting)
        await pipeline.execute()


async def test_free_driver_behind_a_long_queue_is_reported(planted: World) -> None:
    await long_queue(planted)
    await free_driver(planted)
    ref = await submit(planted)
    found = await audit_l1(planted)
    assert found.breaches == (
        Breach(
            "L1",
            MARKET,
            "job",
            ref.job,
            f"it waits at {MALL.id}, and ann has been free for {PATIENCE_S * 1000} ms",
        ),
    )
    assert found.looked_at["match"] == LONG + 3
    assert found.left_out.get("match", 0) == 0


async def test_unservable_queue_is_no_breach(planted: World) -> None:
    await long_queue(planted, 300)
    await free_driver(planted)
    await submit(planted, weight_g=10_000_000)
    found = await audit_l1(planted)
    assert (found.breaches, found.left_out.get("match", 0)) == ((), 0)


async def test_job_offered_between_the_checks_is_no_breach(planted: World) -> None:
    await free_driver(planted)
    ref = await submit(planted)
    found = await audit_l1(planted, lambda: planted.store.offers.make(planted.plan(ref, 0, "ann")))
    assert found.breaches == ()


async def test_driver_who_left_between_the_checks_is_no_breach(planted: World) -> None:
    await free_driver(planted)
    await submit(planted)
    off = await audit_l1(
        planted, lambda: planted.store.drivers.status(MARKET, "ann", Wish.OFFLINE, None)
    )
    assert off.breaches == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"ready_ms": HOUR_MS // 2},
        {"deadline_ms": 60_000, "expires_ms": 60_000},
    ],
    ids=["not ready yet", "too late for any driver"],
)
async def test_job_that_must_wait_is_no_breach(planted: World, changes: dict[str, int]) -> None:
    await free_driver(planted)
    await submit(planted, **{name: planted.now + ms for name, ms in changes.items()})
    assert (await audit_l1(planted)).breaches == ()


@pytest.mark.parametrize(("mall", "store"), [("", ""), (MALL.id, ""), (MALL.id, "lego")])
@pytest.mark.parametrize("meanwhile", [False, True])
async def test_paused_job_is_no_breach(
    planted: World, mall: str, store: str, *, meanwhile: bool
) -> None:
    await free_driver(planted)
    await submit(planted)

    async def pause() -> None:
        await planted.store.controls.set_pause(
            MARKET, mall, store, paused=True, actor="boss", reason=""
        )

    if not meanwhile:
        await pause()
    assert (await audit_l1(planted, pause if meanwhile else None)).breaches == ()


async def test_earlier_refusal_is_no_breach(planted: World) -> None:
    await free_driver(planted)
    ref = await submit(planted)
    plan = planted.plan(ref, 0, "ann")
    await planted.store.offers.make(plan)
    await planted.store.offers.decline(MARKET, "ann", plan.offer, "")
    await planted.pass_ms(40_000)
    await planted.fix("ann", MALL.lat, MALL.lon)
    await planted.store.deadlines.driver_due(MARKET, "ann")
    assert await planted.idle() == {"ann"}
    assert (await audit_l1(planted)).breaches == ()


async def test_nothing_is_late_without_a_live_node(planted: World) -> None:
    await free_driver(planted)
    await submit(planted)
    planted.nodes.clear()
    planted.clock.now_ms += 10_000
    assert (await audit_l1(planted)).breaches == ()


async def test_jobs_beyond_the_limit_are_counted(planted: World) -> None:
    await long_queue(planted, 300)
    await free_driver(planted)
    await submit(planted)
    found = await audit_l1(planted, limit=100)
    assert (found.looked_at["match"], found.left_out["match"]) == (100, 203)


@pytest.mark.parametrize(
    "changes", [{"round": "batch"}, {"max_run_jobs": 3, "hold_max_s": 600, "preset": "same_day"}]
)
async def test_jobs_held_by_policy_are_skipped_and_counted(
    planted: World, changes: dict[str, Any]
) -> None:
    await free_driver(planted)
    await submit(planted)
    found = await audit_l1(planted, policy=replace(planted.policy, **changes))
    assert (found.breaches, found.left_out["match"]) == ((), 1)


@pytest.mark.slow
async def test_check_command_reports_a_match_breach(redis_url: str) -> None:
    """`mallard check` on a Redis whose node only sends heartbeats."""
    policy = MarketPolicy()
    store = RedisStorage(redis_url, {MARKET: policy})
    await store.connect()
    clock = Clock(int(time.time() * 1000))
    world = World(store, None, redis_url, policy, clock, RecordingLink(redis_url, MARKET))
    await store.leases.beat(MARKET, "n1")
    await free_driver(world)
    ref = await submit(world)

    async def beat() -> None:
        while True:
            await store.leases.beat(MARKET, "n1")
            await asyncio.sleep(0.2)

    beating = asyncio.create_task(beat())
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mallard_engine", "check", "--redis", redis_url),
            env=os.environ | {"MALLARD_OPENING_HOURS": "off"},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    finally:
        beating.cancel()
        await store.close()
    assert process.returncode == 1
    assert f"L1  {MARKET}  job {ref.job}: it waits at {MALL.id}, and ann has" in output.decode()
