"""The archive in PostgreSQL: migrations, one row a job, a database that is away for a while."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import msgspec
import pytest

from mallard_engine.archive import postgres
from mallard_engine.archive.postgres import PostgresArchive
from mallard_engine.archive.targets import TargetUnavailable
from mallard_protocol.lifecycle import Step
from tests.engine.archive.archives import BODY, Archive
from tests.engine.archive.postgresql import PostgresServer, lacking
from tests.engine.storage.worlds import World
from tests.support import eventually

WHY_NOT = lacking()
needs_postgres = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture
async def url(server: PostgresServer) -> str:
    """The URL of a new database."""
    name = f"archive_{next(NUMBERS)}"
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return server.url(name)


@pytest.fixture
async def target(url: str) -> AsyncIterator[PostgresArchive]:
    target = PostgresArchive(url)
    await target.open()
    yield target
    await target.close()


async def rows(url: str, sql: str = "SELECT * FROM mallard_archive.jobs ORDER BY id") -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


EVENTS = "SELECT * FROM mallard_archive.events ORDER BY sequence"


@needs_postgres
async def test_job_is_a_row_with_its_events(
    world: World, archive: Archive, target: PostgresArchive, url: str
) -> None:
    await world.driver()
    job = await archive.delivered()
    await archive.exporter(target).run_once()
    (row,) = await rows(url)
    assert (row["id"], row["state"], row["driver"], row["service"]) == (
        job, "delivered", "ann", "toys",
    )  # fmt: skip
    document = json.loads(row["document"])
    assert document["job"]["dropoff"]["address"] == "1 Example Way"
    assert [it["driver"] for it in document["attempts"]] == ["ann"]
    events = await rows(url, EVENTS)
    assert events[0]["type"] == "job.created"
    assert {it["job"] for it in events} == {job}
    assert row["ended_at"] >= row["created_at"]


@needs_postgres
async def test_documents_written_twice_are_one_row(
    world: World, archive: Archive, target: PostgresArchive, url: str
) -> None:
    jobs = await archive.cancelled(3)
    await archive.exporter(target).run_once()
    before = [await rows(url), await rows(url, EVENTS)]
    await archive.queue.remove("phoenix")  # everything is delivered again
    await archive.exporter(target).run_once()
    assert [await rows(url), await rows(url, EVENTS)] == before
    assert [row["id"] for row in before[0]] == sorted(jobs)


@needs_postgres
async def test_change_after_the_end_updates_the_row(
    world: World, archive: Archive, target: PostgresArchive, url: str
) -> None:
    await world.driver()
    ref, attempt = await world.picked_up(body=BODY)
    for step in (Step.RETURNING, Step.RETURNED):
        await world.step(ref, step, attempt)
    await archive.exporter(target).run_once()
    events = await rows(url, EVENTS)
    again = world.submission(body=BODY, redelivery_of=ref.job)
    await world.store.jobs.submit(again)
    await archive.exporter(target).run_once()
    (row,) = await rows(url)
    assert row["redelivered_as"] == again.job
    assert await rows(url, EVENTS) == events


@needs_postgres
async def test_erased_customer_leaves_the_row(
    world: World, archive: Archive, target: PostgresArchive, url: str
) -> None:
    await world.driver()
    name = await archive.delivered()
    await archive.exporter(target).run_once()
    job = await world.store.jobs.get(name)
    body = BODY.replace(b"1 Example Way", b"")
    await world.store.changes.erase(job, body=body, need=job.need, ref="cust", actor="toys")
    assert await archive.waiting() == [name]
    await archive.exporter(target).run_once()
    (row,) = await rows(url)
    assert "Example Way" not in row["document"]
    assert (await rows(url, EVENTS))[0]["type"] == "job.created"


@needs_postgres
async def test_database_away_and_back_gets_every_job_once(
    world: World, archive: Archive, server: PostgresServer, url: str
) -> None:
    target = PostgresArchive(url)
    await target.open()
    exporter = archive.exporter(target)
    task = asyncio.create_task(exporter.run())
    jobs = list(await archive.cancelled(2))

    async def are_stored() -> bool:
        # A job may be written twice, which changes nothing.
        return [row["id"] for row in await rows(url)] == sorted(jobs)

    await eventually(are_stored)
    await asyncio.to_thread(server.stop)
    try:
        jobs += await archive.cancelled(3)

        async def three_wait() -> bool:
            return len(await archive.waiting()) == 3

        await eventually(three_wait)
    finally:
        await asyncio.to_thread(server.start)
    await eventually(are_stored)
    exporter.stop()
    await task
    await target.close()
    assert await archive.waiting() == []


@needs_postgres
async def test_migrations_run_once(url: str) -> None:
    for _ in range(2):
        target = PostgresArchive(url)
        await target.open()
        await target.close()
    versions = await rows(url, "SELECT version, name FROM mallard_archive.migrations")
    assert [tuple(row) for row in versions] == [(n, name) for n, name, _ in postgres.migrations()]


@needs_postgres
async def test_archives_that_start_at_once_migrate_once(url: str) -> None:
    targets = [PostgresArchive(url) for _ in range(4)]
    await asyncio.gather(*(target.open() for target in targets))
    await asyncio.gather(*(target.close() for target in targets))
    assert len(await rows(url, "SELECT 1 FROM mallard_archive.migrations")) == len(
        postgres.migrations()
    )


@needs_postgres
async def test_database_of_a_newer_version_is_refused(url: str, target: PostgresArchive) -> None:
    await rows(url, "INSERT INTO mallard_archive.migrations VALUES (9999, 'later') RETURNING 1")
    with pytest.raises(TargetUnavailable, match="newer version"):
        await PostgresArchive(url).open()


@needs_postgres
async def test_failed_migration_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*postgres.migrations(), (9999, "9999_broken.sql", "CREATE TABLE")]
    with monkeypatch.context() as patch:
        patch.setattr(postgres, "migrations", lambda: broken)
        with pytest.raises(TargetUnavailable, match="syntax error"):
            await PostgresArchive(url).open()
    assert await rows(url, "SELECT 1 FROM pg_namespace WHERE nspname = 'mallard_archive'") == []


@needs_postgres
async def test_text_with_a_nul_is_stored(
    world: World, archive: Archive, target: PostgresArchive, url: str
) -> None:
    body = msgspec.json.decode(BODY)
    body["dropoff"]["note"] = "a\0b \\u0000"
    ref = await world.submit(body=msgspec.json.encode(body))
    await world.store.jobs.cancel(ref, "toys", "")
    await archive.exporter(target).run_once()
    (row,) = await rows(url)
    assert json.loads(row["document"])["job"]["dropoff"]["note"] == "a\ufffdb \\u0000"


async def test_database_that_is_not_there_is_one_line(tmp_path: Any) -> None:
    with pytest.raises(TargetUnavailable, match=r"^PostgreSQL: [^\n]+$"):
        await PostgresArchive(f"postgresql://x:secret@/db?host={tmp_path}").open()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [version for version, _, _ in postgres.migrations()] == list(
        range(1, len(postgres.migrations()) + 1)
    )
