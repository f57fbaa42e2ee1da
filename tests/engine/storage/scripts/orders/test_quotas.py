"""Quotas of a service in a market: open jobs and stored bytes."""

import pytest

from mallard_engine.ports import QuotaExceeded, Quotas
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import MARKET, World

pytestmark = pytest.mark.finding("A10")
DAY_MS = 86_400_000


@pytest.fixture
def bounded(world: World) -> World:
    world.store.jobs._quotas = Quotas(open_jobs=3)
    return world


async def test_open_jobs_of_a_service_are_bounded(bounded: World) -> None:
    made = [bounded.submission() for _ in range(4)]
    for submission in made[:3]:
        await bounded.store.jobs.submit(submission)
    with pytest.raises(QuotaExceeded, match="open_jobs"):
        await bounded.store.jobs.submit(made[3])
    assert (await bounded.store.jobs.submit(made[0])).replayed
    assert (await bounded.store.jobs.counts(MARKET))["submitted"] == 3
    # A service whose name has the same prefix has its own quota.
    await bounded.submit(service="toys2")
    await bounded.submit(service="toy")


@pytest.mark.parametrize("end", [JobState.CANCELLED, JobState.DELIVERED, JobState.EXPIRED])
async def test_ended_job_frees_its_place(bounded: World, end: JobState) -> None:
    await bounded.driver("ann")
    await bounded.in_state(end)
    await bounded.submit()
    await bounded.submit()
    await bounded.submit()
    with pytest.raises(QuotaExceeded):
        await bounded.submit()


async def test_300_ended_jobs_free_their_places(world: World) -> None:
    world.store.jobs._quotas = Quotas(open_jobs=300)
    made = [await world.submit(external_id=None) for _ in range(300)]
    for ref in made:
        await world.store.jobs.cancel(ref, "toys", "")
        await world.pass_ms(1)
    await world.submit()
    assert await world.redis.zcard(world.keys.key("open")) == 1


async def test_jobs_of_an_engine_without_quotas_do_not_block(bounded: World) -> None:
    bounded.store.jobs._quotas = Quotas()  # an engine without quotas
    before = [await bounded.submit() for _ in range(5)]
    bounded.store.jobs._quotas = Quotas(open_jobs=3)
    for _ in range(3):
        await bounded.submit()
    for ref in before:
        await bounded.store.jobs.cancel(ref, "toys", "")
    with pytest.raises(QuotaExceeded):
        await bounded.submit()


async def test_forgotten_job_is_not_counted(bounded: World) -> None:
    ref, _ = await bounded.in_state(JobState.CANCELLED)
    await bounded.redis.set(
        bounded.keys.key("open_seen"), 9e15
    )  # the end of the job was not counted
    await bounded.pass_ms(7 * DAY_MS + 1)
    await bounded.drop_what_has_a_ttl()
    while await bounded.store.deadlines.forget(MARKET):
        pass
    names = await bounded.redis.zrange(bounded.keys.key("open"), 0, -1)
    assert f"toys/{ref.job}".encode() not in names


async def test_stored_bytes_are_bounded_and_released(world: World) -> None:
    one = world.submission()
    size = len(one.body) + len(one.card)
    world.store.jobs._quotas = Quotas(stored_bytes=2 * size + size // 2)
    first = await world.submit()
    await world.submit()
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        await world.submit()
    await world.store.jobs.cancel(first, "toys", "")
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        await world.submit()
    await world.submit(service="other")
    await world.pass_ms(8 * DAY_MS)
    await world.submit()
    assert len(await world.redis.hkeys(world.keys.stored("toys"))) == 1
