"""redis-py's connection pool in a careful configuration: hiredis as parser, no retries."""

import asyncio
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from load_tests.benchmarks.answering import Answer
from load_tests.benchmarks.on_redis import answer_on_redis
from load_tests.benchmarks.redis_statistics import server_version

_CONNECTIONS: Final = 32
# The script, the number of keys and the sizes of the arguments are those of the engine's
# contestant (load_tests/benchmarks/engine/calls.py).
_SCRIPT: Final = "#!lua flags=no-writes\nreturn {'ok', ARGV[3], {ARGV[2]}, 12}"
_KEYS: Final = tuple(f"mallard:{{bench}}:{name}" for name in "abcdefghijklmn")
_ARGUMENTS: Final = ("", b"p" * 200, b"a" * 600)


class RedisPy:
    """Calls through the pool."""

    def __init__(self, socket: Path) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            f"unix://{socket}", max_connections=_CONNECTIONS, retry=Retry(NoBackoff(), 0)
        )
        self._redis = redis.Redis(connection_pool=pool)

    async def call(self, at_once: int, calls: int) -> Mapping[str, Any]:
        """Return the CPU time per call in microseconds, with `at_once` calls waiting."""
        sha = await self._redis.script_load(_SCRIPT)
        run = self._redis.evalsha
        started_s = time.process_time()
        if at_once == 1:
            for _ in range(calls):
                await run(sha, len(_KEYS), *_KEYS, *_ARGUMENTS)
        else:
            for _ in range(calls // at_once):
                await asyncio.gather(
                    *(run(sha, len(_KEYS), *_KEYS, *_ARGUMENTS) for _ in range(at_once))
                )
        used_s = time.process_time() - started_s
        made = calls if at_once == 1 else calls // at_once * at_once
        return {
            "us": used_s * 1e6 / made,
            "versions": {
                "Valkey": server_version(await self._redis.info("server")),
                "redis-py": version("redis"),
                "hiredis": version("hiredis"),
                "uvloop": version("uvloop"),
            },
        }

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The questions that it answers."""
        return {"call": self.call}

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def main() -> int:
    """Answer until the input ends."""
    return answer_on_redis(RedisPy)


if __name__ == "__main__":
    sys.exit(main())
