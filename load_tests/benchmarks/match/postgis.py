"""PostgreSQL with PostGIS: one prepared statement searches, locks and claims.

A GiST index of the available drivers returns the nearest sixteen by `<->`. The statement claims the
nearest of them that is not locked by another claim. (A single `ORDER BY <-> … FOR UPDATE
SKIP LOCKED` fails on PostgreSQL 15: "attempted to lock invisible tuple".) The columns that a claim
writes are in no index, so it is a heap-only update and leaves no dead index entries.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import asyncpg
import numpy as np
import uvloop

from load_tests.benchmarks.answering import Answer, answer_all, settle
from load_tests.benchmarks.postgres import running_postgres

# On two cores, more connections do not help and fewer leave a core idle.
_CONNECTIONS: Final = 8
_TRIES: Final = 100
_BATCH: Final = 10_000

_TABLE: Final = """
CREATE EXTENSION postgis;
CREATE TABLE drivers (
    id integer PRIMARY KEY,
    place geography(point) NOT NULL,
    available boolean NOT NULL DEFAULT true,
    connected boolean NOT NULL DEFAULT true,
    suspended boolean NOT NULL DEFAULT false,
    cool_until timestamptz NOT NULL DEFAULT '-infinity',
    seen timestamptz NOT NULL DEFAULT now(),
    max_weight_g integer NOT NULL DEFAULT 100000,
    job text
) WITH (fillfactor = 70);
CREATE UNLOGGED TABLE loading (id integer, lat float8, lon float8);
"""
_FILL: Final = """
INSERT INTO drivers (id, place) SELECT id, st_makepoint(lon, lat)::geography FROM loading;
DROP TABLE loading;
CREATE INDEX by_place ON drivers USING gist (place) WHERE available AND connected AND NOT suspended;
"""
MATCH: Final = """
WITH near AS MATERIALIZED (
    SELECT id, place <-> $1::geography AS away FROM drivers
    WHERE available AND connected AND NOT suspended
        AND job IS NULL AND cool_until <= now() AND seen > now() - interval '1 day'
    ORDER BY place <-> $1::geography LIMIT 16
), best AS (
    SELECT drivers.id FROM near JOIN drivers USING (id)
    WHERE available AND connected AND NOT suspended AND job IS NULL AND cool_until <= now()
    ORDER BY near.away LIMIT 1 FOR UPDATE OF drivers SKIP LOCKED
)
UPDATE drivers SET job = $2 FROM best WHERE drivers.id = best.id RETURNING drivers.id
"""


class PostGis:
    """Matches on one PostgreSQL cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool: asyncpg.Pool | None = None
        self._mall = ""

    async def load(self, positions: str, lat: float, lon: float) -> Mapping[str, Any]:
        """Create free drivers at the positions in the file, and set the mall's location."""
        self._pool = pool = await asyncpg.create_pool(
            host=str(self._folder),
            user="postgres",
            database="postgres",
            min_size=_CONNECTIONS,
            max_size=_CONNECTIONS,
        )
        await pool.execute(_TABLE)
        points = np.load(positions).tolist()
        for start in range(0, len(points), _BATCH):
            rows = [(n, *p) for n, p in enumerate(points[start : start + _BATCH], start)]
            await pool.copy_records_to_table("loading", records=rows)
        await pool.execute(_FILL)
        await pool.execute("VACUUM ANALYZE drivers")
        await pool.execute("CHECKPOINT")
        self._mall = f"SRID=4326;POINT({lon} {lat})"
        settle()
        return {
            "drivers": await pool.fetchval("SELECT count(*) FROM drivers WHERE job IS NULL"),
            "versions": {
                "PostgreSQL": await pool.fetchval("SHOW server_version"),
                "PostGIS": await pool.fetchval("SELECT postgis_lib_version()"),
                "asyncpg": version("asyncpg"),
            },
        }

    async def plan(self) -> Mapping[str, Any]:
        """Return the query plan of a match, one line per step."""
        async with self._connections.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                "EXPLAIN (COSTS OFF) "
                + MATCH.replace("$1", f"'{self._mall}'").replace("$2", "'job'")
            )
        return {"plan": [row[0] for row in rows]}

    async def race(self, jobs: int, times: int) -> Mapping[str, Any]:
        """Run `times` races of `jobs` concurrent matches."""
        return {"latencies_ms": [await self._race(jobs) for _ in range(times)]}

    @property
    def _connections(self) -> asyncpg.Pool:
        if self._pool is None:
            raise RuntimeError("nothing is loaded")
        return self._pool

    async def _race(self, jobs: int) -> list[float]:
        started = time.perf_counter()

        async def job(number: int) -> tuple[float, int | None]:
            driver = await self._match(f"job-{number}")
            return (time.perf_counter() - started) * 1000, driver

        found = await asyncio.gather(*(job(number) for number in range(jobs)))
        claimed = [driver for _, driver in found if driver is not None]
        if len(set(claimed)) != len(claimed):
            raise RuntimeError("a driver was claimed twice")
        pool = self._connections
        await pool.execute("UPDATE drivers SET job = NULL WHERE id = any($1::integer[])", claimed)
        return [latency_ms for latency_ms, driver in found if driver is not None]

    async def _match(self, job: str) -> int | None:
        """Find and claim a driver; retry if all sixteen are locked."""
        for _ in range(_TRIES):
            driver: int | None = await self._connections.fetchval(MATCH, self._mall, job)
            if driver is not None:
                return driver
        return None

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()


async def _run(folder: Path) -> None:
    contestant = PostGis(folder)
    answers: Mapping[str, Answer] = {
        "load": contestant.load,
        "race": contestant.race,
        "plan": contestant.plan,
    }
    try:
        await answer_all(answers)
    finally:
        await contestant.close()


def main() -> int:
    """Answer until the input ends."""
    with running_postgres() as folder:
        uvloop.run(_run(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
