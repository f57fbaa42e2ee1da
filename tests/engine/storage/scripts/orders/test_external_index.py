"""The index of jobs by external id: it finds jobs of any age and forgets ended ones."""

import pytest

from mallard_engine.ports import JobQuery
from mallard_engine.storage.calls import jobs as jobs_module
from mallard_protocol.codes import TERMINAL_KEPT_MS
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import MARKET, World

pytestmark = pytest.mark.finding("D10")


async def listed(world: World, external_id: str, service: str | None = "toys") -> list[str]:
    page = await world.store.jobs.page(
        MARKET, JobQuery(external_id=external_id), service=service, limit=50, cursor=None
    )
    assert page.next_cursor is None
    return [job.id for job in page.jobs]


async def test_job_older_than_a_page_reads_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_MAX_SCANNED", 100)
    old = await world.submit(external_id="OLD")
    for number in range(101):
        await world.submit(external_id=f"NEW-{number}")
    assert await listed(world, "OLD") == [old.job]
    assert await listed(world, "OLD", service=None) == [old.job]


async def test_external_id_is_forgotten_with_its_job(world: World) -> None:
    await world.driver("ann")
    ended, _ = await world.in_state(JobState.CANCELLED)
    live = await world.submit(external_id="LIVE")
    name = (await world.job(ended)).external_id
    assert name
    assert await listed(world, name) == [ended.job]
    for ms in (TERMINAL_KEPT_MS + 1, 3_600_000):
        await world.pass_ms(ms)
        await world.drop_what_has_a_ttl()
        while await world.store.deadlines.forget(MARKET):
            pass
    assert await world.redis.zrange(world.keys.key("by_external"), 0, -1) == [
        f"LIVE/toys/{live.job}".encode()
    ]
    assert await listed(world, "LIVE") == [live.job]


async def test_job_stored_by_schema_1_is_found(world: World) -> None:
    ref = await world.submit(external_id="A")
    await world.redis.delete(world.keys.key("by_external"))
    assert await listed(world, "A") == [ref.job]
