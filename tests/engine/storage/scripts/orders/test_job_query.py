"""Filtered job lists: which jobs are read, and what updates `updated_ms`."""

import pytest

from mallard_engine.ports import JobQuery
from mallard_engine.storage.calls import jobs as jobs_module
from mallard_protocol.lifecycle import Step
from tests.engine.storage.scripts.delivery.test_proofs import report, step
from tests.engine.storage.worlds import MARKET, World

pytestmark = pytest.mark.finding("D10")

CANCELLED = JobQuery(states=frozenset({"cancelled"}))


async def test_page_reads_a_bounded_number_of_jobs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_MAX_SCANNED", 200)
    old = await world.submit()
    await world.store.jobs.cancel(old, "toys", "cancelled")
    for _ in range(201):
        await world.submit()
    page = await world.store.jobs.page(MARKET, CANCELLED, service="toys", limit=50, cursor=None)
    assert page.jobs == ()
    assert page.next_cursor is not None
    rest = await world.store.jobs.page(
        MARKET, CANCELLED, service="toys", limit=50, cursor=page.next_cursor
    )
    assert ([job.id for job in rest.jobs], rest.next_cursor) == ([old.job], None)


@pytest.mark.parametrize("service", [None, "toys"])
async def test_page_stops_at_the_oldest_id(world: World, service: str | None) -> None:
    jobs = [(await world.submit()).job for _ in range(4)]
    page = await world.store.jobs.page(
        MARKET, JobQuery(), service=service, limit=50, cursor=jobs[3], oldest=jobs[1]
    )
    assert [job.id for job in page.jobs] == [jobs[2], jobs[1]]


async def test_unreadable_and_forgotten_jobs_hide_no_other(world: World) -> None:
    forgotten, unreadable, good = [(await world.submit()).job for _ in range(3)]
    away = world.keys.key("away")
    await world.redis.rename(world.keys.job(forgotten), away)
    await world.redis.hset(world.keys.job(unreadable), "created_ms", "soon")
    queued = JobQuery(states=frozenset({"queued"}))
    page = await world.store.jobs.page(MARKET, queued, service="toys", limit=50, cursor=None)
    assert [job.id for job in page.jobs] == [good]
    await world.redis.rename(away, world.keys.job(forgotten))
    await world.redis.hset(world.keys.job(unreadable), "created_ms", world.now)


async def test_problem_and_proof_update_the_change_time(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up()
    await world.pass_ms(1_000)
    await report(world, "customer_unreachable", ref.job)
    assert (await world.job(ref)).updated_ms == world.now
    await step(world, ref, Step.DELIVERED, await world.photo())
    await world.pass_ms(1_000)
    await step(world, ref, Step.DELIVERED, await world.photo("signature"))
    assert (await world.job(ref)).updated_ms == world.now
