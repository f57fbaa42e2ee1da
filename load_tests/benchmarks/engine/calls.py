"""Measures the cost of a call to Redis on the engine's own connection."""

import asyncio
import time
from collections.abc import Sequence

from mallard_engine.storage.client.client import Link
from mallard_engine.storage.keys import MarketKeys


async def call_us(link: Link, command: Sequence[str | bytes], calls: int, at_once: int) -> float:
    """Return the CPU per call in microseconds, with `at_once` calls waiting."""
    started_s = time.process_time()
    if at_once == 1:
        for _ in range(calls):
            await link.call(*command)
    else:
        for _ in range(calls // at_once):
            await asyncio.gather(*(link.call(*command) for _ in range(at_once)))
    used_s = time.process_time() - started_s
    return used_s * 1e6 / (calls if at_once == 1 else calls // at_once * at_once)


async def hot_call(link: Link) -> list[str | bytes]:
    """Return a script call with the size of an offer that is trivial for Redis.

    It has the keys of an offer, arguments of the same size, and a short reply.
    """
    source = "#!lua flags=no-writes\nreturn {'ok', ARGV[3], {ARGV[2]}, 12}"
    sha: bytes = await link.call("SCRIPT", "LOAD", source)
    keys = MarketKeys("bench")
    command: list[str | bytes] = ["EVALSHA", sha, "14"]
    command += [*keys.block, keys.wait("mall"), keys.job("job")]
    command += ["", b"p" * 200, b"a" * 600]
    return command
