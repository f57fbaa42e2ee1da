"""The archive in PostgreSQL: one row a job, one row an event.

A batch is one transaction. A document that is written twice changes nothing; a job that changes
after its end updates its row. Migrations are the numbered files of `migrations/`; each runs once,
under a lock, when the archive opens. A released file is never changed.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from typing import Any, Final

import asyncpg
import msgspec
import structlog
from msgspec import structs

from mallard_engine.archive.document import ArchivedJob
from mallard_engine.archive.targets import Target, TargetUnavailable
from mallard_engine.gateway.http.request_parsing import encode_json

_log = structlog.get_logger(__name__)
_CONNECT_S: Final = 10.0
_COMMAND_S: Final = 30.0
# Any number, but the same one for all archives of a database.
_LOCK: Final = 7_065_412_903
_SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS mallard_archive;
CREATE TABLE IF NOT EXISTS mallard_archive.migrations (
    version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
"""
_JOB: Final = """
INSERT INTO mallard_archive.jobs AS known (
    id, market, service, mall, external_id, driver, state, reason, redelivered_as,
    created_at, ended_at, updated_at, archived_at, digest, document
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::jsonb)
ON CONFLICT (id) DO UPDATE SET
    market = excluded.market, service = excluded.service, mall = excluded.mall,
    external_id = excluded.external_id, driver = excluded.driver, state = excluded.state,
    reason = excluded.reason, redelivered_as = excluded.redelivered_as,
    created_at = excluded.created_at, ended_at = excluded.ended_at,
    updated_at = excluded.updated_at, archived_at = excluded.archived_at,
    digest = excluded.digest, document = excluded.document
WHERE known.digest <> excluded.digest AND known.archived_at <= excluded.archived_at
"""
_EVENT: Final = """
INSERT INTO mallard_archive.events (
    job, id, sequence, type, occurred_at, recorded_at, cause, actor, state, was, attempt, driver
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING
"""


class PostgresArchive(Target):
    """Rows in one database. It connects again by itself.

    Args:
        url: The address, `postgresql://…`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None

    async def open(self) -> None:
        """Connect, and apply the migrations that the database lacks."""
        async with self._guarded():
            await self._connect()

    async def write(self, documents: Sequence[ArchivedJob]) -> None:
        """Write documents in one transaction."""
        if not documents:
            return
        async with self._guarded():
            connection = self._connection or await self._connect()
            async with connection.transaction():
                await connection.executemany(_JOB, [_job_row(it) for it in documents])
                events = [
                    (it.id, *structs.astuple(event)) for it in documents for event in it.events
                ]
                await connection.executemany(_EVENT, events)

    async def close(self) -> None:
        """Close the connection. A transaction that is open is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.terminate()

    @contextlib.asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """Close the connection after any failure: the next write begins with a new one."""
        try:
            yield
        except TargetUnavailable:
            await self.close()
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            await self.close()
            raise TargetUnavailable(f"PostgreSQL: {_one_line(error)}") from error

    async def _connect(self) -> asyncpg.Connection:
        self._connection = connection = await asyncpg.connect(
            self._url,
            timeout=_CONNECT_S,
            command_timeout=_COMMAND_S,
            server_settings={"application_name": "mallard-archive"},
        )
        await _migrate(connection)
        return connection


def migrations() -> list[tuple[int, str, str]]:
    """Return the migrations: version, name, SQL."""
    folder = resources.files("mallard_engine.archive") / "migrations"
    names = sorted(it.name for it in folder.iterdir() if it.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text(encoding="utf-8")) for name in names]


async def _migrate(connection: asyncpg.Connection) -> None:
    known = migrations()
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_SCHEMA)
        rows = await connection.fetch("SELECT version FROM mallard_archive.migrations")
        there = {row["version"] for row in rows}
        if there and max(there) > known[-1][0]:
            raise TargetUnavailable(
                f"PostgreSQL: a newer version of Mallard made this archive (migration {max(there)})"
            )
        for version, name, sql in known:
            if version not in there:
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO mallard_archive.migrations (version, name) VALUES ($1, $2)",
                    version,
                    name,
                )
                _log.info("migration applied", migration=name)


def _job_row(it: ArchivedJob) -> tuple[Any, ...]:
    whole = {"job": it.job, "attempts": it.attempts, "explain": it.explain, "need": it.need}
    return (
        it.id, it.market, it.service, it.mall, it.external_id, it.job.driver, it.state, it.reason,
        it.redelivered_as, it.created_at, it.ended_at, it.updated_at, it.archived_at, it.digest,
        _json(whole),
    )  # fmt: skip


def _json(content: Any) -> str:
    """Return JSON that `jsonb` takes: it has no NUL."""
    text = encode_json(content)
    if b"\\u0000" in text:
        text = msgspec.json.encode(_without_nul(msgspec.json.decode(text)))
    return text.decode()


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(it) for it in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(it) for name, it in value.items()}
    return value


def _one_line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())
