"""Packed jobs are read, and act, as they did before they were packed."""

import hashlib
from typing import Any

import pytest

from mallard_engine.ports import JobQuery, JobRef, Refused
from mallard_engine.storage.packed import unpack
from mallard_engine.storage.records import packed_jobs
from mallard_engine.storage.records.packed_jobs import PACKED, packed_record, unpacked
from mallard_protocol.codes import TERMINAL_KEPT_MS, ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.packing import pack_all, pack_job
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World

ENDS = ("delivered", "returned", "cancelled", "expired", "failed", "lost")


async def ended(world: World, state: str = "delivered") -> JobRef:
    await world.driver("ann")
    return (await world.in_state(JobState(state)))[0]


async def seen(world: World, ref: JobRef) -> list[Any]:
    """What the storage says of a job, by all ways of reading it."""
    store = world.store
    job = await store.jobs.get(ref.job)
    pages = [
        await store.jobs.page(MARKET, JobQuery(), service="toys", limit=9, cursor=None),
        await store.jobs.page(
            MARKET,
            JobQuery(states=frozenset({job.state}), updated_since_ms=job.updated_ms),
            service=None,
            limit=9,
            cursor=None,
        ),
        await store.jobs.page(
            MARKET, JobQuery(external_id=job.external_id), service="toys", limit=9, cursor=None
        ),
    ]
    counter = await store.shops.pickups(MARKET, MALL, "lego", since_ms=0, limit=9, cursor=None)
    return [job, await store.offers.last_round(ref.job), pages, counter]


@pytest.mark.parametrize("state", ENDS)
async def test_packed_job_is_read_as_before(world: World, state: str) -> None:
    ref = await ended(world, state)
    before = await seen(world, ref)
    left_ms = await world.redis.pttl(world.keys.job(ref.job))
    assert await pack_all(world.redis, world.keys) == 1
    assert await world.redis.exists(world.keys.round(ref.job)) == 0
    assert await seen(world, ref) == before
    assert abs(await world.redis.pttl(world.keys.job(ref.job)) - left_ms) < HOUR_MS
    assert await world.breaches() == ()


async def test_unpacked_job_is_byte_for_byte_as_before(world: World) -> None:
    ref = await ended(world)
    before = await world.dump()
    await pack_job(world.redis, world.keys, ref.job)
    assert await world.dump() != before
    for _ in range(2):
        await unpack(world.link, world.keys.job(ref.job))
        assert await world.dump() == before
    assert 0 < await world.redis.pttl(world.keys.round(ref.job)) <= TERMINAL_KEPT_MS


async def test_field_written_since_replaces_the_packed_one(world: World) -> None:
    ref = await ended(world)
    await pack_job(world.redis, world.keys, ref.job)
    await world.redis.hset(world.keys.job(ref.job), "reason", "said later")
    assert (await world.job(ref)).reason == "said later"
    await unpack(world.link, world.keys.job(ref.job))
    assert (await world.job(ref)).reason == "said later"


async def test_record_that_was_packed_anew_is_not_overwritten(world: World) -> None:
    ref = await ended(world)
    key = world.keys.job(ref.job)
    fields = await world.redis.hgetall(key)
    await pack_job(world.redis, world.keys, ref.job)
    other = packed_record(fields | {b"reason": b"another"}, None)
    args: list[str | bytes] = ["", b"\x81\xa7kept_ms\x01", other, b"", b"reason", b"another"]
    unpacking = world.store.runner.scripts["unpack"]
    names = [key, world.keys.round(ref.job)]
    assert await unpacking.run(world.link, names, args) == 0
    assert PACKED in await world.redis.hgetall(key)


async def test_late_report_on_a_packed_job_gets_its_answer(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    await world.step(ref, Step.DELIVERED, attempt)
    first = await world.step(ref, Step.DELIVERED, attempt)
    await pack_job(world.redis, world.keys, ref.job)
    again = await world.step(ref, Step.DELIVERED, attempt)
    assert (again.job_state, again.attempt) == (first.job_state, first.attempt)
    await pack_job(world.redis, world.keys, ref.job)
    with pytest.raises(Refused) as refused:
        await world.step(ref, Step.PICKED_UP, attempt + 1)
    assert refused.value.code is ErrorCode.WRONG_STATE


async def test_parcel_of_a_packed_job_raises_one_alert(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "")
    await world.store.jobs.cancel(ref, "toys", "")
    for _ in range(2):
        await pack_job(world.redis, world.keys, ref.job)
        with pytest.raises(Refused):
            await world.store.jobs.claim(MARKET, "ann", ref.job, attempt, "picked_up", at_ms=None)
    assert [it["what"] for it in await world.events("alert")] == ["parcel_of_ended_job"]


async def test_packed_return_is_delivered_anew_once(world: World) -> None:
    ref = await ended(world, "returned")
    await pack_job(world.redis, world.keys, ref.job)
    first = world.submission(redelivery_of=ref.job)
    assert (await world.store.jobs.submit(first)).job.redelivery_of == ref.job
    await pack_job(world.redis, world.keys, ref.job)
    again = await world.store.jobs.submit(world.submission(redelivery_of=ref.job))
    assert (again.replayed, again.job.id) == (True, first.job)
    assert (await world.job(ref)).redelivered_as == first.job


async def test_tracking_of_a_packed_job_ends(world: World) -> None:
    ref = await world.submit(tracking="token")
    await world.store.jobs.cancel(ref, "toys", "")
    await pack_job(world.redis, world.keys, ref.job)
    found = await world.store.jobs.tracked("token")
    assert found
    assert found.id == ref.job
    await world.store.jobs.end_tracking(ref.job)
    assert await world.store.jobs.tracked("token") is None
    assert (await world.job(ref)).tracking == ""


async def test_proof_of_a_packed_job_is_removed(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.DELIVERED, at_ms=None, proof=await world.photo(), reason=""
    )
    await pack_job(world.redis, world.keys, ref.job)
    assert (await world.job(ref)).proofs[0].value
    await world.store.proofs.erase(ref.job)
    assert [proof.value for proof in (await world.job(ref)).proofs] == [""]


async def test_unknown_form_is_left_out_of_lists_and_reported(planted: World) -> None:
    ref = await ended(planted)
    await pack_job(planted.redis, planted.keys, ref.job)
    await planted.redis.hset(planted.keys.job(ref.job), PACKED, b"\x02" + b"?" * 9)
    with pytest.raises(ValueError, match="form"):
        await planted.job(ref)
    page = await planted.store.jobs.page(MARKET, JobQuery(), service="toys", limit=9, cursor=None)
    assert page.jobs == ()
    assert "record" in {breach.rule for breach in await planted.breaches()}


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"\x01\xff\xff", b"\x01\x00", b"\x00"])
def test_damaged_record_raises_value_error(damaged: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked(damaged)


def test_dictionary_of_stored_records_never_changes() -> None:
    digest = hashlib.sha256(packed_jobs.DICTIONARY).hexdigest()
    assert digest == "f09d6ccbe3025f1a223457bdda1dea3c023e9e4b7c71b2a394fa4d827b9bca65"
