"""Packs ended jobs as a node does, so that a test can read them packed."""

from typing import Any

from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records.packed_jobs import BESIDE, PACKED, packed_record
from mallard_protocol.lifecycle import TERMINAL


async def pack_job(redis: Any, keys: MarketKeys, job: str) -> bool:
    """Pack a job and its last round; False: it has not ended, or is packed already."""
    key, of_round = keys.job(job), keys.round(job)
    fields = await redis.hgetall(key)
    if PACKED in fields or fields.get(b"state", b"").decode() not in TERMINAL:
        return False
    packed = packed_record(fields, await redis.get(of_round))
    async with redis.pipeline(transaction=True) as step:
        step.hdel(key, *(name for name in fields if name not in BESIDE))
        step.hset(key, PACKED, packed)
        step.delete(of_round)
        await step.execute()
    return True


async def pack_all(redis: Any, keys: MarketKeys) -> int:
    """Pack all jobs of a market that have ended; return how many."""
    jobs = [name.decode().rpartition(":")[2] async for name in redis.scan_iter(keys.job("*"))]
    return sum([await pack_job(redis, keys, job) for job in jobs])
