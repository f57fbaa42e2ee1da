"""`python -m load_tests.benchmarks.engine.ended_jobs URL [--pack]`: what ended jobs leave in Redis.

For a Redis that something else has filled, such as `mallard demo --bad-day --redis URL`: by kind of
job, the keys of its own and their bytes (MEMORY USAGE), and the same after packing. `--pack` packs
all jobs that have ended, whenever that was.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from mallard_engine.core.model import Job
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records.packed_jobs import PACKED
from mallard_engine.storage.redis_storage import RedisStorage

_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Left:
    """What one job leaves: keys of its own, their bytes, and those of its packed record, or 0."""

    keys: int
    bytes: int
    record: int


def kind_of(job: Job) -> str:
    """Name what makes a record long: the end, the shops, proofs, and how many were asked."""
    shops = f"{len(job.need.stores)} shops" if len(job.need.stores) > 1 else "1 shop"
    proofs = ", proofs" if job.proofs else ""
    asked = ", asked 5 times or more" if len(job.asked) > 4 else ""
    return f"{job.state}, {shops}{proofs}{asked}"


async def left_by(store: RedisStorage, keys: MarketKeys, job: str) -> Left:
    """Measure one job."""
    call, names = store.runner.link.call, (keys.job(job), keys.round(job))
    sizes = [await call("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names]
    there = [size for size in sizes if size]
    return Left(len(there), sum(there), await call("HSTRLEN", keys.job(job), PACKED))


async def ended(store: RedisStorage, market: str) -> AsyncIterator[Job]:
    """Yield the jobs of a market that have ended."""
    call, before = store.runner.link.call, "+"
    key = store.runner.keys[market].key("by_age")
    while page := await call("ZRANGE", key, before, "-", "BYLEX", "REV", "LIMIT", 0, _PAGE):
        for name in page:
            job = await store.jobs.get(name.decode())
            if job.terminal:
                yield job
        before = f"({page[-1].decode()}"


async def look(store: RedisStorage, title: str) -> None:
    """Print what the ended jobs of all markets leave."""
    found: defaultdict[str, list[Left]] = defaultdict(list)
    for market, keys in store.runner.keys.items():
        async for job in ended(store, market):
            left = await left_by(store, keys, job.id)
            for kind in ("all", kind_of(job)):
                found[kind].append(left)
    rows = [
        (
            kind,
            str(len(them)),
            f"{max(it.keys for it in them)}",
            f"{median(it.bytes for it in them):.0f}",
            f"{max(it.bytes for it in them)}",
            f"{median(it.record for it in them):.0f}",
            f"{max(it.record for it in them)}",
        )
        for kind, them in sorted(found.items())
    ]
    header = (title, "jobs", "keys", "bytes", "most", "record", "most")
    for name, *values in (header, *rows):
        print(f"{name:44}", *(f"{value:>7}" for value in values))


async def pack_all(store: RedisStorage) -> None:
    """Pack all jobs that have ended."""
    for market, keys in store.runner.keys.items():
        async for job in ended(store, market):
            await store.runner.link.call("ZADD", keys.key("unpacked"), 0, job.id)
        while (await store.deadlines.pack(market)).is_more:
            pass


async def main() -> None:
    """Measure, pack if asked to, and measure again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the Redis to look at")
    parser.add_argument("--pack", action="store_true", help="pack all ended jobs, and look again")
    args = parser.parse_args()
    policies = {market: MarketPolicy() for market in Places.load(opening_hours=False).markets}
    store = RedisStorage(args.url, policies)
    await store.connect()
    try:
        await look(store, "As found")
        if args.pack:
            await pack_all(store)
            await look(store, "Packed")
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
