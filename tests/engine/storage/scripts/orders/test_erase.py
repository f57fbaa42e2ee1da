"""Erasing the customer of an ended job."""

from dataclasses import replace

import msgspec
import pytest

from mallard_engine.core.model import Job
from mallard_engine.ports import Effects, JobRef
from mallard_protocol.lifecycle import TERMINAL, JobState, Step
from mallard_protocol.messages import Proof
from tests.engine.storage.worlds import HOUR_MS, LAT, LON, MARKET, World

REF = "cust-1"
WEEKS_MS = 14 * 24 * HOUR_MS


async def erase(world: World, was: Job) -> Effects | None:
    need = replace(was.need, lat=round(LAT, 1), lon=round(LON, 1))
    body = without_customer(was)
    return await world.store.changes.erase(was, body=body, need=need, ref=REF, actor="toys")


def without_customer(job: Job) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(job.body) | {"erased": True})


async def jobs(world: World, service: str | None = "toys", limit: int = 10) -> list[str]:
    found = await world.store.changes.of_customer(MARKET, REF, service=service, limit=limit)
    return [job.id for job in found]


async def ended(world: World) -> JobRef:
    ref = await world.submit(customer_ref=REF)
    await world.store.jobs.cancel(ref, "toys", "")
    return ref


async def test_jobs_of_a_customer_are_those_of_its_service(world: World) -> None:
    one = await world.submit(customer_ref=REF)
    two = await world.submit(customer_ref=REF)
    other = await world.submit(customer_ref=REF, service="games")
    await world.submit(customer_ref=f"{REF}0")
    await world.submit()
    assert await jobs(world) == [one.job, two.job]
    assert await jobs(world, "games") == [other.job]
    assert await jobs(world, None) == [other.job, one.job, two.job]
    assert await jobs(world, limit=1) == [one.job]
    assert await world.breaches() == ()


async def test_erased_job_keeps_its_figures_only(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up(customer_ref=REF, pin="1234")
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.DELIVERED, at_ms=1, proof=Proof("code", "1234"), reason=""
    )
    given = {"kind": "photo", "value": "a-face", "step": "delivered", "at_ms": 1, "driver": "ann"}
    key = world.keys.job(ref.job)
    await world.redis.hset(key, "proofs", msgspec.msgpack.encode([given]))
    was = await world.job(ref)
    assert was.proofs
    assert await erase(world, was) is not None
    job = await world.job(ref)
    assert (job.body, job.need.lat) == (without_customer(was), round(LAT, 1))
    assert [(it.kind, it.value, it.at_ms) for it in job.proofs] == [
        (it.kind, "", it.at_ms) for it in was.proofs
    ]
    assert job.is_erased
    same = ("state", "timeline", "driver", "attempt", "asked", "created_ms", "external_id")
    assert all(getattr(job, name) == getattr(was, name) for name in same)
    assert not await world.redis.hexists(world.keys.job(ref.job), "codes")
    assert await jobs(world) == []
    assert (await world.events("updated"))[-1]["fields"] == ["/dropoff"]
    assert await world.breaches() == ()


@pytest.mark.parametrize("state", [state for state in JobState if state not in TERMINAL])
async def test_open_job_is_not_erased(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    before = await world.dump()
    assert await erase(world, await world.job(ref)) is None
    assert await world.dump() == before


async def test_repeated_erasure_has_no_effect(world: World) -> None:
    was = await world.job(await ended(world))
    assert await erase(world, was) is not None
    before = await world.dump()
    assert await erase(world, was) is not None
    assert await world.dump() == before


async def test_job_that_changed_meanwhile_is_not_erased(world: World) -> None:
    was = await world.job(await ended(world))
    assert await erase(world, replace(was, body=b"{}")) is None
    assert await jobs(world) == [was.id]


async def test_index_forgets_a_job_with_its_record(world: World) -> None:
    await ended(world)
    world.clock.now_ms += WEEKS_MS
    await world.beat()
    await world.drop_what_has_a_ttl()
    for _ in range(3):
        while await world.store.deadlines.forget(MARKET):
            pass
        world.clock.now_ms += WEEKS_MS
    assert await world.redis.zcard(world.keys.key("by_customer")) == 0
    names = await world.redis.zrange(world.keys.key("forget"), 0, -1)
    assert not [name for name in names if name.startswith(b"customer/")]
