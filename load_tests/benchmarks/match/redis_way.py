"""The usual hand-written match on Redis: GEOSEARCH, filter in Python, WATCH/MULTI to claim.

A driver is a hash; free drivers are in a GEO set. A search with a fixed radius returns the nearest,
whose records are read in one pipeline and filtered. The first free driver is watched, read again
and claimed in MULTI/EXEC. On a conflict the next driver is tried; after the last one, the search is
repeated.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import WatchError

from load_tests.benchmarks.answering import Answer, settle
from load_tests.benchmarks.on_redis import answer_on_redis
from load_tests.benchmarks.redis_statistics import server_version

_RADIUS_KM: Final = 5
# Tried: reading 16, 32 or 64 records, and 4 to 64 connections. More records suit races, fewer suit
# single jobs.
_NEAREST: Final = 32
_SEARCHES: Final = 100
_CONNECTIONS: Final = 16
_FIELDS: Final = ("state", "connected", "suspended", "cool_until_ms", "seen_ms")
# As with the other contestants, no driver reports again during the benchmark.
_STALE_MS: Final = 86_400_000
_BATCH: Final = 1_000


class RedisWay:
    """Matches on one Redis."""

    def __init__(self, socket: Path) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            f"unix://{socket}",
            max_connections=_CONNECTIONS,
            timeout=60,
            retry=Retry(NoBackoff(), 0),
        )
        # redis-py's types do not say whether replies are decoded.
        self._redis: Any = redis.Redis(connection_pool=pool)
        self._at = (0.0, 0.0)
        self._points: Sequence[tuple[float, float]] = ()

    async def load(self, positions: str, lat: float, lon: float) -> Mapping[str, Any]:
        """Create free drivers at the positions in the file, and set the mall's location."""
        self._at = (lat, lon)
        now_ms = time.time() * 1000
        record = {
            "state": "available",
            "connected": 1,
            "suspended": 0,
            "cool_until_ms": 0,
            "seen_ms": now_ms,
            "vehicle": "car",
            "max_weight_g": 100_000,
        }
        self._points = np.load(positions).tolist()
        for start in range(0, len(self._points), _BATCH):
            async with self._redis.pipeline(transaction=False) as pipe:
                index: list[float | str] = []
                for number, (at_lat, at_lon) in enumerate(
                    self._points[start : start + _BATCH], start
                ):
                    pipe.hset(f"driver:{number}", mapping=record)
                    index += at_lon, at_lat, str(number)
                pipe.geoadd("idle", index)
                await pipe.execute()
        settle()
        return {
            "drivers": await self._redis.zcard("idle"),
            "versions": {
                "Valkey": server_version(await self._redis.info("server")),
                "redis-py": version("redis"),
            },
        }

    async def race(self, jobs: int, times: int) -> Mapping[str, Any]:
        """Run `times` races of `jobs` concurrent matches."""
        return {"latencies_ms": [await self._race(jobs) for _ in range(times)]}

    async def _race(self, jobs: int) -> list[float]:
        started = time.perf_counter()

        async def job(number: int) -> tuple[float, str | None]:
            driver = await self._match(f"job-{number}")
            return (time.perf_counter() - started) * 1000, driver

        found = await asyncio.gather(*(job(number) for number in range(jobs)))
        claimed = [driver for _, driver in found if driver is not None]
        if len(set(claimed)) != len(claimed):
            raise RuntimeError("a driver was claimed twice")
        await self._restore(claimed)
        return [latency_ms for latency_ms, driver in found if driver is not None]

    async def _match(self, job: str) -> str | None:
        """Find and claim a driver; None without a free driver in the radius."""
        lat, lon = self._at
        for _ in range(_SEARCHES):
            near = await self._redis.geosearch(
                "idle",
                longitude=lon,
                latitude=lat,
                radius=_RADIUS_KM,
                unit="km",
                sort="ASC",
                count=_NEAREST,
                withdist=True,
            )
            if not near:
                return None
            async with self._redis.pipeline(transaction=False) as pipe:
                for driver, _ in near:
                    pipe.hmget(f"driver:{driver.decode()}", _FIELDS)
                records = await pipe.execute()
            for (driver, _), record in zip(near, records, strict=True):
                if _is_free(record) and await self._claim(driver.decode(), job):
                    return str(driver.decode())
        return None

    async def _claim(self, driver: str, job: str) -> bool:
        key = f"driver:{driver}"
        async with self._redis.pipeline(transaction=True) as pipe:
            try:
                await pipe.watch(key)
                if not _is_free(await pipe.hmget(key, _FIELDS)):
                    return False
                pipe.multi()
                pipe.hset(key, mapping={"state": "offered", "job": job})
                pipe.zrem("idle", driver)
                await pipe.execute()
            except WatchError:
                return False
            return True

    async def _restore(self, drivers: Sequence[str]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for driver in drivers:
                lat, lon = self._points[int(driver)]
                pipe.hset(f"driver:{driver}", mapping={"state": "available", "job": ""})
                pipe.geoadd("idle", (lon, lat, driver))
            await pipe.execute()

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The questions that it answers."""
        return {"load": self.load, "race": self.race}

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _is_free(record: Sequence[bytes | None]) -> bool:
    """Whether the driver may get an offer now."""
    state, connected, suspended, cool_until_ms, seen_ms = record
    now_ms = time.time() * 1000
    return (
        state == b"available"
        and connected == b"1"
        and suspended == b"0"
        and float(cool_until_ms or 0) <= now_ms
        and now_ms - float(seen_ms or 0) < _STALE_MS
    )


def main() -> int:
    """Answer until the input ends."""
    return answer_on_redis(RedisWay)


if __name__ == "__main__":
    sys.exit(main())
