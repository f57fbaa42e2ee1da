"""Submissions: job, idempotency key and external id in one step; reading jobs."""

from dataclasses import replace

import pytest

from mallard_engine.ports import (
    DuplicateExternalId,
    IdempotencyMismatch,
    JobQuery,
    JobRef,
    NoSuchJob,
    StoreFull,
)
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World, moments

DAY_MS = 86_400_000


async def test_submission_stores_job_queue_and_due_entries(world: World) -> None:
    submission = world.submission(priority=2, requires=("id_check",))
    submitted = await world.store.jobs.submit(submission)
    ref = JobRef(submission.job, MALL)
    job = await world.job(ref)
    assert submitted.job == job
    assert not submitted.replayed
    assert (job.state, job.attempt, job.driver, job.offer, job.reason) == (
        JobState.QUEUED, 0, None, None, None,
    )  # fmt: skip
    assert (job.body, job.card, job.need) == (submission.body, submission.card, submission.need)
    assert job.created_ms == job.updated_ms == world.now
    assert [(t.state, t.at_ms, t.actor, t.cause) for t in job.timeline] == [
        ("queued", world.now, "toys", "submitted")
    ]
    assert await world.waiting() == [job.id]
    # S14: the due entry covers a node that dies before the round.
    assert await world.due() == {f"retry/{MALL}/{job.id}": world.now + 1_000}
    assert submitted.effects.malls == (MALL,)
    assert moments(submitted.effects) == [world.now + 1_000]
    assert await world.store.jobs.counts(MARKET) == {"submitted": 1, "queued": 1}


async def test_scheduled_job_does_not_wait_yet(world: World) -> None:
    later = world.now + HOUR_MS
    submission = world.submission(state=JobState.SCHEDULED, release_ms=later)
    submitted = await world.store.jobs.submit(submission)
    assert submitted.job.state is JobState.SCHEDULED
    assert submitted.effects.malls == ()
    assert await world.waiting() == []
    assert await world.due() == {f"release/{MALL}/{submission.job}": later}


async def test_queue_is_by_priority_and_age(world: World) -> None:
    first = await world.submit()
    await world.pass_ms(1)
    second = await world.submit()
    await world.pass_ms(1)
    urgent = await world.submit(priority=1)
    assert await world.waiting() == [urgent.job, first.job, second.job]


async def test_repeated_submission_returns_the_current_job(world: World) -> None:
    first = world.submission()
    await world.store.jobs.submit(first)
    await world.store.jobs.cancel(JobRef(first.job, MALL), "toys", "changed my mind")
    before = await world.dump()
    again = replace(world.submission(), key=first.key, body_hash=first.body_hash)
    replayed = await world.store.jobs.submit(again)
    assert replayed.replayed
    assert (replayed.job.id, replayed.job.state) == (first.job, JobState.CANCELLED)
    assert await world.dump() == before


async def test_same_key_with_another_body_is_refused(world: World) -> None:
    first = world.submission()
    await world.store.jobs.submit(first)
    before = await world.dump()
    with pytest.raises(IdempotencyMismatch):
        await world.store.jobs.submit(replace(world.submission(), key=first.key))
    assert await world.dump() == before


async def test_idempotency_key_is_per_service_and_kept_a_day(world: World) -> None:
    first = world.submission()
    await world.store.jobs.submit(first)
    other = await world.store.jobs.submit(
        replace(world.submission(), service="books", key=first.key)
    )
    assert not other.replayed
    keys = [key async for key in world.redis.scan_iter("*idempotency*")]
    assert len(keys) == 2
    for key in keys:
        assert DAY_MS - 60_000 < await world.redis.pttl(key) <= DAY_MS


async def test_external_id_of_an_open_job_is_refused(world: World) -> None:
    first = world.submission(external_id="ORD-A")
    await world.store.jobs.submit(first)
    before = await world.dump()
    with pytest.raises(DuplicateExternalId) as duplicate:
        await world.store.jobs.submit(world.submission(external_id="ORD-A"))
    assert duplicate.value.job == first.job
    # The refusal stored nothing, not even the key.
    assert await world.dump() == before
    await world.store.jobs.submit(world.submission(external_id="ORD-A", service="books"))
    await world.store.jobs.submit(world.submission(external_id=None))
    await world.store.jobs.submit(world.submission(external_id=None))


@pytest.mark.parametrize(
    ("end", "free"),
    [
        (JobState.DELIVERED, False),
        (JobState.RETURNED, True),
        (JobState.CANCELLED, True),
        (JobState.EXPIRED, True),
        (JobState.LOST, True),
    ],
)
async def test_external_id_is_free_unless_its_job_was_delivered(
    world: World, end: JobState, free: bool
) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(end)
    external_id = (await world.job(ref)).external_id
    again = world.submission(external_id=external_id)
    if free:
        assert not (await world.store.jobs.submit(again)).replayed
    else:
        with pytest.raises(DuplicateExternalId) as duplicate:
            await world.store.jobs.submit(again)
        assert duplicate.value.job == ref.job


async def test_full_server_stores_neither_job_nor_key(world: World) -> None:
    submission = world.submission()
    await world.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            await world.store.jobs.submit(submission)
    finally:
        await world.redis.config_set("maxmemory", "0")
    assert not (await world.store.jobs.submit(submission)).replayed


async def test_jobs_are_listed_newest_first_in_pages(world: World) -> None:
    mine = [(await world.submit()).job for _ in range(3)]
    await world.submit(service="books")
    await world.submit(service="toys.more")
    last = await world.submit(state=JobState.SCHEDULED, release_ms=world.now + 1)

    page = await world.store.jobs.page(MARKET, JobQuery(), service="toys", limit=2, cursor=None)
    assert [job.id for job in page.jobs] == [last.job, mine[2]]
    rest = await world.store.jobs.page(
        MARKET, JobQuery(), service="toys", limit=5, cursor=page.next_cursor
    )
    assert ([job.id for job in rest.jobs], rest.next_cursor) == ([mine[1], mine[0]], None)

    of_all_services = await world.store.jobs.page(
        MARKET, JobQuery(), service=None, limit=10, cursor=None
    )
    assert len(of_all_services.jobs) == 6
    scheduled = await world.store.jobs.page(
        MARKET, JobQuery(frozenset({"scheduled"})), service=None, limit=10, cursor=None
    )
    assert [job.id for job in scheduled.jobs] == [last.job]
    external = await world.store.jobs.page(
        MARKET, JobQuery(external_id="ORD-2"), service="toys", limit=10, cursor=None
    )
    assert [job.id for job in external.jobs] == [mine[1]]


@pytest.mark.parametrize("job", ["job_phoenix.none", "job_atlantis.1", "nonsense", ""])
async def test_unknown_job_is_not_found(world: World, job: str) -> None:
    with pytest.raises(NoSuchJob):
        await world.store.jobs.get(job)
