"""Packed jobs are read, and act, as they did before they were packed."""

import base64
import hashlib
import random
from collections.abc import Mapping
from typing import Any

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobQuery, JobRef, Look, Packed, Refused, WrongState
from mallard_engine.storage.packed import AGAIN_MS, pack_as_read, read_to_pack, unpack
from mallard_engine.storage.records import packed_jobs
from mallard_engine.storage.records.packed_jobs import PACKED, packed_record, unpacked
from mallard_engine.storage.records.packing import pack
from mallard_protocol.codes import TERMINAL_KEPT_MS, ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step
from tests.engine.storage.packing import pack_all, pack_job
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World

ENDS = ("delivered", "returned", "cancelled", "expired", "failed", "lost")


async def ended(world: World, state: str = "delivered") -> JobRef:
    await world.driver("ann")
    return (await world.in_state(JobState(state)))[0]


async def changed_keys(world: World, before: Mapping[bytes, bytes]) -> set[str]:
    """The keys whose content is not as it was, but for what heartbeats write."""
    now = await world.dump()
    names = {key.decode() for key in now.keys() | before.keys() if now.get(key) != before.get(key)}
    return {name.rpartition("}:")[2] for name in names} - {"nodes", "leases"}


async def unpacked_again(world: World, ref: JobRef) -> None:
    script = world.store.runner.scripts["unpack"]
    await unpack(world.link, world.keys.job(ref.job), script, now=str(world.now))


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
        await unpacked_again(world, ref)
        assert await changed_keys(world, before) == {"unpacked"}
    assert 0 < await world.redis.pttl(world.keys.round(ref.job)) <= TERMINAL_KEPT_MS


async def test_field_written_since_replaces_the_packed_one(world: World) -> None:
    ref = await ended(world)
    await pack_job(world.redis, world.keys, ref.job)
    await world.redis.hset(world.keys.job(ref.job), "reason", "said later")
    assert (await world.job(ref)).reason == "said later"
    await unpacked_again(world, ref)
    assert (await world.job(ref)).reason == "said later"


async def test_record_that_was_packed_anew_is_not_overwritten(world: World) -> None:
    ref = await ended(world)
    key = world.keys.job(ref.job)
    fields = await world.redis.hgetall(key)
    await pack_job(world.redis, world.keys, ref.job)
    other = packed_record(fields | {b"reason": b"another"}, None)
    about = pack({"job": ref.job, "kept_ms": 1, "again_ms": 1})
    args: list[str | bytes] = [str(world.now), about, other, b"", b"reason", b"another"]
    unpacking = world.store.runner.scripts["unpack"]
    names = [world.keys.key("unpacked"), key, world.keys.round(ref.job)]
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


async def test_sweep_packs_what_ended_long_enough_ago(world: World) -> None:
    ref = await ended(world)
    key, deadlines = world.keys.job(ref.job), world.store.deadlines
    before, used = await seen(world, ref), await world.redis.memory_usage(key)
    await world.pass_ms(HOUR_MS - 1)
    assert await deadlines.look([MARKET], [Look.UNPACKED]) == {Look.UNPACKED: []}
    assert await deadlines.pack(MARKET) == Packed()
    await world.pass_ms(1)
    assert await deadlines.look([MARKET], [Look.UNPACKED]) == {Look.UNPACKED: [MARKET]}
    packed = await deadlines.pack(MARKET)
    assert (packed.jobs, packed.is_more) == (1, False)
    assert packed.bytes == len(await world.redis.hget(key, PACKED))
    assert await world.redis.memory_usage(key) < 0.6 * used
    assert 0 < await world.redis.pttl(key) <= TERMINAL_KEPT_MS
    assert await world.redis.exists(world.keys.round(ref.job)) == 0
    assert await seen(world, ref) == before
    assert await deadlines.pack(MARKET) == Packed()
    assert await world.redis.exists(world.keys.key("unpacked")) == 0


async def test_job_that_changes_while_it_is_read_is_packed_later(world: World) -> None:
    ref = await ended(world)
    fields, last_round = await read_to_pack(world.link, world.keys, ref.job)
    await world.redis.hset(world.keys.job(ref.job), "alerted_ms", 7)
    late = ref.job, fields, last_round
    assert await pack_as_read(world.store.runner, world.keys, *late) == 0
    assert PACKED not in await world.redis.hgetall(world.keys.job(ref.job))
    assert await world.store.deadlines.pack(MARKET) == Packed()
    await world.pass_ms(AGAIN_MS)
    assert (await world.store.deadlines.pack(MARKET)).jobs == 1
    assert await pack_as_read(world.store.runner, world.keys, *late) == 0


async def test_last_round_that_changes_while_it_is_read_stays(world: World) -> None:
    ref = await ended(world)
    fields, last_round = await read_to_pack(world.link, world.keys, ref.job)
    await world.redis.set(world.keys.round(ref.job), b"another", px=60_000)
    assert await pack_as_read(world.store.runner, world.keys, ref.job, fields, last_round) == 0
    assert await world.redis.get(world.keys.round(ref.job)) == b"another"


async def test_unpacked_job_is_packed_again_to_the_same_record(world: World) -> None:
    ref = await ended(world)
    await world.pass_ms(HOUR_MS)
    await world.store.deadlines.pack(MARKET)
    before = await world.dump()
    with pytest.raises(WrongState):
        await world.store.jobs.cancel(ref, "toys", "")
    assert await world.dump() != before
    await world.pass_ms(AGAIN_MS)
    await world.store.deadlines.pack(MARKET)
    assert await changed_keys(world, before) == set()


async def test_many_are_packed_a_batch_at_a_time(world: World) -> None:
    for _ in range(33):
        await world.store.jobs.cancel(await world.submit(), "toys", "")
    await world.pass_ms(HOUR_MS)
    for jobs, is_more in ((32, True), (1, False)):
        packed = await world.store.deadlines.pack(MARKET)
        assert (packed.jobs, packed.is_more) == (jobs, is_more)


async def test_entry_of_an_open_or_forgotten_job_is_dropped(world: World) -> None:
    ref = await world.submit()
    jobs = {ref.job: 1, "job_phoenix.gone": 1}
    await world.redis.zadd(world.keys.key("unpacked"), jobs)
    before = await world.job(ref)
    assert await world.store.deadlines.pack(MARKET) == Packed()
    assert await world.job(ref) == before
    assert await world.redis.exists(world.keys.key("unpacked")) == 0


async def test_record_of_a_long_life_is_below_2_kb(world: World) -> None:
    """Twenty drivers were asked, and the last one delivered from three shops with a photo."""
    order = {
        "dropoff": {"note": "ring at the side door, then call", "address": "1 Main St, Chandler"},
        "metadata": {"basket": "8f14e45f-ceea-467f-a0e6-b1d5e9b1c4f1", "gift": True},
    }
    stores = ("lego", "apple", "sephora")
    ref = await world.submit(stores=stores, order=order)
    for number in range(20):
        driver = await world.driver(f"driver-{number}")
        offer = await world.offer(ref, driver)
        await world.store.offers.decline(MARKET, driver, offer, "too_far")
    await world.driver("ann")
    offer = await world.offer(ref, "ann")
    accepted = await world.store.offers.accept(MARKET, "ann", offer)
    attempt = accepted.jobs[0].attempt
    for store in stores:
        await world.collect(ref, attempt, 2, store=store)
    await world.step(ref, Step.PICKED_UP, attempt)
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.DELIVERED, at_ms=None, proof=await world.photo(), reason=""
    )
    before = await seen(world, ref)
    await world.pass_ms(HOUR_MS)
    assert 0 < (await world.store.deadlines.pack(MARKET)).bytes < 2_048
    assert await seen(world, ref) == before


async def test_text_of_an_order_bounds_its_record(world: World) -> None:
    text = base64.b64encode(random.Random(1).randbytes(12_000)).decode()
    ref = await world.submit(order={"metadata": {"text": text}})
    await world.store.jobs.cancel(ref, "toys", "")
    before = await seen(world, ref)
    await world.pass_ms(HOUR_MS)
    assert (await world.store.deadlines.pack(MARKET)).bytes < len(before[0].body) + 2_048
    assert await seen(world, ref) == before


class TestWithoutPacking:
    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=1, pack_after_s=0)

    async def test_no_job_is_packed(self, world: World) -> None:
        ref = await ended(world)
        assert await world.redis.exists(world.keys.key("unpacked")) == 0
        # It was to be packed when it ended.
        await world.redis.zadd(world.keys.key("unpacked"), {ref.job: world.now})
        assert await world.store.deadlines.pack(MARKET) == Packed()
        assert PACKED not in await world.redis.hgetall(world.keys.job(ref.job))
        assert await world.redis.exists(world.keys.key("unpacked")) == 0


async def test_audit_finds_wrong_packing(planted: World) -> None:
    ref = await ended(planted)
    key, of_round = planted.keys.job(ref.job), planted.keys.round(ref.job)
    left = await planted.redis.get(of_round)
    await planted.pass_ms(HOUR_MS)
    await planted.store.deadlines.pack(MARKET)
    assert await planted.breaches(swept=False) == ()
    await planted.redis.set(of_round, left, px=60_000)
    assert [it.rule for it in await planted.breaches(swept=False)] == ["leak"]
    await planted.redis.delete(of_round)
    await planted.redis.hset(key, "state", "picked_up")
    assert "record" in {it.rule for it in await planted.breaches(swept=False)}
    other = await planted.submit()
    await planted.redis.zadd(planted.keys.key("unpacked"), {other.job: 1})
    assert (other.job, "record") in {(it.id, it.rule) for it in await planted.breaches(swept=False)}


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
